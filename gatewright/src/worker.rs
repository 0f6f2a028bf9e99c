//! Threads for work that takes long and leaves much behind: reading documents and compiling them.
//!
//! No thread that answers checks is held up by it, and each job has a thread of its own: what it needed only for a while goes back to
//! the system with it.

use std::thread;

use tokio::{runtime::Handle, sync::oneshot};

/// Whoever waits for a job that cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    /// It panicked.
    #[error("policies could not be compiled; please report this with the panic message above")]
    Panic,
    /// There is no thread for it.
    #[error("no thread for compiling policies: {0}; raise the limit of processes")]
    Thread(#[from] std::io::Error),
}

/// Does it on a thread of its own, in the context of this runtime.
pub(crate) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Gone> {
    let (done, result) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name("policies".to_owned()).spawn(move || {
        let _context = runtime.enter();
        // Whoever no longer waits wants no result.
        drop(done.send(job()));
    })?;
    result.await.map_err(|_| Gone::Panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_has_a_thread_of_its_own_and_the_runtime() {
        let (there, in_runtime) = run(|| (thread::current().id(), Handle::try_current().is_ok())).await.unwrap();
        assert!(in_runtime);
        assert_ne!(there, thread::current().id());
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        assert!(matches!(run(|| panic!("on purpose")).await, Err(Gone::Panic)));
    }
}
