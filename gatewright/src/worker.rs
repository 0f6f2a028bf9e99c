//! A thread for work that takes long and leaves much behind: reading documents and compiling them.
//!
//! No thread that answers checks is held up by it, and its memory is that of one thread: what an edit leaves is what the next one uses.

use std::{
    io,
    sync::mpsc::{self, Sender},
    thread,
};

use tokio::{runtime::Handle, sync::oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// Takes jobs, one after the other. The thread ends when all clones are gone.
#[derive(Clone)]
pub(crate) struct Worker(Sender<Job>);

/// A job that panicked: its thread is gone, and who has nobody to work must end.
#[derive(Debug, thiserror::Error)]
#[error("the thread that compiles policies ended; please report this with the panic message above")]
pub(crate) struct Gone;

// === impl Worker ===

impl Worker {
    /// Starts the thread. Must be called in a runtime, whose context its jobs have.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let runtime = Handle::current();
        thread::Builder::new().name("policies".to_owned()).spawn(move || {
            let _context = runtime.enter();
            todo.iter().for_each(|job| job());
        })?;
        Ok(Self(jobs))
    }

    /// Does it there.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Gone> {
        let (done, result) = oneshot::channel();
        // Whoever no longer waits wants no result.
        let job = Box::new(move || drop(done.send(job())));
        self.0.send(job).map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_are_done_in_order_on_one_thread_that_has_the_runtime() {
        let worker = Worker::start().unwrap();
        let first = worker.run(|| thread::current().id()).await.unwrap();
        let second = worker.run(|| (thread::current().id(), Handle::try_current().is_ok())).await.unwrap();
        assert_eq!((first, true), second);
        assert_ne!(first, thread::current().id());
    }

    #[tokio::test]
    async fn a_panic_is_told_now_and_later() {
        let worker = Worker::start().unwrap();
        assert!(worker.run(|| panic!("on purpose")).await.is_err());
        assert!(worker.run(|| ()).await.is_err());
    }
}
