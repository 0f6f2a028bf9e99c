//! The sealed copies follow what is in force. Owns when they are written; how is `files`' business.

use std::sync::Arc;

use tokio::sync::watch;

use super::Shared;

/// Something that changes, of which the newest is to be kept.
struct Newest<T> {
    values: watch::Receiver<Option<T>>,
    is_due: bool,
}

// === impl Newest ===

impl<T: Clone> Newest<T> {
    fn of(sender: &watch::Sender<Option<T>>) -> Self {
        Self { values: sender.subscribe(), is_due: false }
    }

    /// Waits for a change.
    async fn changed(&mut self) {
        match self.values.changed().await {
            Ok(()) => self.is_due = true,
            // Nothing will ever change again.
            Err(_) => std::future::pending().await,
        }
    }

    /// The newest value, if it was not kept yet. Looks by itself: of two that change at once, a wait for either sees one.
    fn take(&mut self) -> Option<T> {
        self.is_due |= self.values.has_changed().unwrap_or(false);
        self.values.borrow_and_update().clone().filter(|_| self.is_due)
    }
}

/// Writes what is newest; what a slow disk cannot follow is left out, and what fails is tried again.
pub(super) async fn keep(shared: &Shared) {
    let (mut state, mut identity) = (Newest::of(&shared.copy), Newest::of(&shared.credentials));
    loop {
        let is_due = state.is_due || identity.is_due;
        tokio::select! {
            () = state.changed() => {}
            () = identity.changed() => {}
            () = tokio::time::sleep(shared.options.pace.rewrite), if is_due => {}
        }
        if !shared.files.is_used() || !shared.files.has_key() {
            continue;
        }
        let (copy, credentials, files): (_, Option<Arc<_>>, _) = (state.take(), identity.take(), shared.files.clone());
        let written = tokio::task::spawn_blocking(move || {
            // Both are tried: an older state is worse than none.
            let kept = copy.map_or(Ok(()), |copy| files.keep_state(&copy));
            credentials.map_or(Ok(()), |credentials| files.keep_identity(&credentials)).and(kept)
        });
        match written.await {
            Ok(Ok(())) => (state.is_due, identity.is_due) = (false, false),
            Ok(Err(error)) => {
                shared.metrics.not_kept.inc();
                tracing::warn!(%error, "what is in force could not be kept: a restart would wait for the operator");
            }
            Err(_) => drop(shared.metrics.not_kept.inc()),
        }
        tokio::time::sleep(shared.options.pace.write).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_change_at_once_both_are_kept() {
        let (left, right) = (watch::Sender::new(None), watch::Sender::new(None));
        let (mut one, mut other) = (Newest::of(&left), Newest::of(&right));
        assert_eq!((one.take(), other.take()), (None, None));
        left.send_replace(Some(1));
        right.send_replace(Some(2));
        // What the wait for the other would have seen is not lost, and what nobody waited for neither.
        one.changed().await;
        assert_eq!((one.take(), other.take()), (Some(1), Some(2)));
        // Until they are written they are due.
        assert_eq!((one.take(), other.take()), (Some(1), Some(2)));
        (one.is_due, other.is_due) = (false, false);
        assert_eq!((one.take(), other.take()), (None, None));
        right.send_replace(Some(3));
        assert_eq!((one.take(), other.take()), (None, Some(3)));
    }
}
