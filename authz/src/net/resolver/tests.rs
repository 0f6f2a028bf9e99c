//! Questions that are joined, by a resolver that answers when it is let.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// The nth answer, 10.0.0.n, comes once it is let.
#[derive(Debug)]
struct Held {
    asked: AtomicU8,
    answers: Arc<Semaphore>,
}

impl Lookup for Held {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let (nth, answers) = (self.asked.fetch_add(1, Ordering::SeqCst) + 1, self.answers.clone());
        Box::pin(async move {
            answers.acquire().await.map_err(io::Error::other)?.forget();
            Ok(vec![SocketAddr::from(([10, 0, 0, nth], 0))])
        })
    }
}

/// A name whose server is silent takes one question, however many ask and give up; its answer is for who asked before it came.
#[tokio::test(start_paused = true)]
async fn a_silent_name_is_asked_for_once_at_a_time() {
    let held = Arc::new(Held { asked: AtomicU8::new(0), answers: Arc::new(Semaphore::new(0)) });
    let joined = Joined::new(held.clone());
    let ask = || timeout(Duration::from_secs(2), joined.addresses("silent.example".to_owned()));
    for _ in 0..100 {
        assert!(ask().await.is_err(), "nobody answers");
    }
    assert_eq!(held.asked.load(Ordering::SeqCst), 1);
    let other = timeout(Duration::from_secs(2), joined.addresses("other.example".to_owned()));
    assert!(other.await.is_err());
    assert_eq!(held.asked.load(Ordering::SeqCst), 2, "another name is another question");

    // Both waiters get the answer of the question that is under way; the next one asks anew.
    let both = futures_util::future::join(ask(), ask());
    held.answers.add_permits(2);
    let (first, second) = both.await;
    let address = |nth| [SocketAddr::from(([10, 0, 0, nth], 0))];
    assert_eq!(first.unwrap().unwrap(), address(1));
    assert_eq!(second.unwrap().unwrap(), address(1));
    held.answers.add_permits(1);
    assert_eq!(ask().await.unwrap().unwrap(), address(3), "an answer that came is not kept");
}

/// Nobody waits any more when the answer comes: it is for nobody.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_thrown_away() {
    let held = Arc::new(Held { asked: AtomicU8::new(0), answers: Arc::new(Semaphore::new(0)) });
    let joined = Joined::new(held.clone());
    let ask = || joined.addresses("moved.example".to_owned());
    assert!(timeout(Duration::from_secs(2), ask()).await.is_err());
    held.answers.add_permits(1);
    for _ in 0..1000 {
        if joined.flights.lock().is_empty() {
            break;
        }
        yield_now().await;
    }
    assert!(joined.flights.lock().is_empty(), "the question is over");
    held.answers.add_permits(1);
    assert_eq!(ask().await.unwrap(), [SocketAddr::from(([10, 0, 0, 2], 0))]);
}

/// Answers with a panic, once.
#[derive(Debug, Default)]
struct Broken(AtomicU8);

impl Lookup for Broken {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let nth = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert!(nth > 0, "the panic of this test");
            Ok(vec![SocketAddr::from(([10, 0, 0, nth], 0))])
        })
    }
}

#[tokio::test]
async fn a_panic_ends_the_question_and_the_next_one_is_asked() {
    let joined = Joined::new(Arc::new(Broken::default()));
    assert!(joined.addresses("a.example".to_owned()).await.is_err());
    assert_eq!(joined.addresses("a.example".to_owned()).await.unwrap(), [SocketAddr::from(([10, 0, 0, 1], 0))]);
}
