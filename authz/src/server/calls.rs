//! The calls of one connection: each is run where it arrived, and becomes a task of its own only if it has to wait.
//!
//! Owns the order of that. A task for each call costs a queue and a wake, and the connection would be woken by every answer and send
//! it by a system call of its own; so all that arrived together is answered together. Must never know what a call is.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hyper::rt::Executor;
use parking_lot::Mutex;
use tracing::error;

/// How long a connection may run its own calls at a time. What is left then is given to whichever thread is free: a thousand
/// signatures that came by one connection are verified by all of them.
const TURN: Duration = Duration::from_micros(250);

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the calls of a connection.
#[derive(Clone, Default)]
pub(super) struct Calls {
    arrived: Arc<Mutex<Vec<Call>>>,
}

// === impl Calls ===

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        self.arrived.lock().push(Box::pin(call));
    }
}

impl Calls {
    /// Runs what has arrived. False if nothing had.
    pub(super) fn run(&self) -> bool {
        let arrived = mem::take(&mut *self.arrived.lock());
        let is_any = !arrived.is_empty();
        let began = Instant::now();
        for (index, mut call) in arrived.into_iter().enumerate() {
            // Not woken by what it waits for: as a task it is looked at once more, and woken from then on.
            if index > 0 && began.elapsed() > TURN || begin(&mut call).is_pending() {
                tokio::spawn(call);
            }
        }
        is_any
    }
}

/// A panic is a bug of ours: it ends this call, whose stream is reset as it is dropped, and no other of the connection.
fn begin(call: &mut Call) -> Poll<()> {
    let first = AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    catch_unwind(first).unwrap_or_else(|_| {
        error!("a call panicked and was reset; please report this with the panic message above");
        Poll::Ready(())
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_waits_goes_on_by_itself_and_holds_nobody_up() {
        let calls = Calls::default();
        assert!(!calls.run());
        let ((tell, told), (done, is_done)) = (oneshot::channel::<u8>(), oneshot::channel());
        calls.execute(async move { done.send(told.await).unwrap() });
        let (other, is_other_done) = oneshot::channel();
        calls.execute(async move { other.send(()).unwrap() });
        assert!(calls.run());
        is_other_done.await.unwrap();
        tell.send(7).unwrap();
        assert_eq!(is_done.await.unwrap(), Ok(7));
        assert!(!calls.run());
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_call_only() {
        let (calls, held) = (Calls::default(), Arc::new(()));
        let in_call = held.clone();
        calls.execute(async move { panic!("the panic of this test, with {} holders", Arc::strong_count(&in_call)) });
        let (other, is_other_done) = oneshot::channel();
        calls.execute(async move { other.send(()).unwrap() });
        assert!(calls.run());
        is_other_done.await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1, "what the call held is given back");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_takes_long_is_shared_between_threads() {
        let (calls, here) = (Calls::default(), std::thread::current().id());
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..4 {
            let tell = tell.clone();
            calls.execute(async move {
                let began = Instant::now();
                while began.elapsed() <= TURN {
                    std::hint::spin_loop();
                }
                tell.send(std::thread::current().id()).unwrap();
            });
        }
        drop(tell);
        assert!(calls.run());
        let ran = tokio::task::spawn_blocking(move || told.iter().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(ran.len(), 4);
        assert_eq!(ran.first(), Some(&here), "the first is run where it arrived");
        assert!(ran.iter().any(|thread| *thread != here));
    }
}
