//! Answers that their peers do not take: so many at once.
//!
//! Owns the count. A peer that never opens its window can have a thousand of them on each connection, and each holds memory until it is
//! taken. A few of a connection are free, so that somebody who takes his answers never meets what others leave; beyond those, all
//! connections share a number of places. A call without one is reset, which a proxy takes for a refusal. Must never know what is answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tracing::warn;

/// Of each connection. Answers that are made together leave together.
const FREE: usize = 64;
/// Beyond those, of all connections together: of a few kilobytes each.
const SHARED: usize = 4096;

/// The places that connections share. A clone is the same.
#[derive(Clone, Default)]
struct Places(Arc<Shared>);

#[derive(Default)]
struct Shared {
    taken: AtomicUsize,
    /// Whether the log says that there was none.
    is_told: AtomicBool,
}

/// Strangers have places of their own: however many they take, a proxy that proved itself finds one.
#[derive(Clone, Default)]
pub(super) struct Untaken {
    proven: Places,
    strangers: Places,
}

/// The answers of one connection.
pub(super) struct Answers {
    now: AtomicUsize,
    places: Places,
}

/// How one answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// As one of those that are free.
    Free,
    /// In a place that is shared.
    Placed,
}

/// A connection has more answers than are free, and no other place is left.
#[derive(Debug, thiserror::Error)]
#[error("too many answers that nobody takes")]
pub(super) struct NoPlace;

// === impl Places ===

impl Places {
    fn enter(&self) -> Result<(), NoPlace> {
        let Shared { taken, is_told } = &*self.0;
        if taken.fetch_add(1, Ordering::Relaxed) < SHARED {
            return Ok(());
        }
        self.leave();
        // Once: it would be said for every call of an attack.
        if !is_told.swap(true, Ordering::Relaxed) {
            warn!(
                places = SHARED,
                "peers do not take their answers: further calls of theirs are reset, from now on without a word"
            );
        }
        Err(NoPlace)
    }

    fn leave(&self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Untaken ===

impl Untaken {
    /// For one more connection, of such a peer.
    pub(super) fn connection(&self, is_proven: bool) -> Answers {
        let places = if is_proven { &self.proven } else { &self.strangers };
        Answers { now: AtomicUsize::new(0), places: places.clone() }
    }
}

// === impl Answers ===

impl Answers {
    /// There is one more; [`Self::leave`] is owed for it.
    pub(super) fn enter(&self) -> Result<Kept, NoPlace> {
        if self.now.fetch_add(1, Ordering::Relaxed) < FREE {
            return Ok(Kept::Free);
        }
        self.places.enter().map(|()| Kept::Placed).inspect_err(|_| {
            self.now.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// One that was kept like this has been taken, or given up.
    pub(super) fn leave(&self, kept: Kept) {
        self.now.fetch_sub(1, Ordering::Relaxed);
        if kept == Kept::Placed {
            self.places.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_answers_does_not_meet_what_others_leave() {
        let untaken = Untaken::default();
        let (greedy, other, proven) = (untaken.connection(false), untaken.connection(false), untaken.connection(true));
        let kept: Vec<Kept> = (0..FREE + SHARED).map(|_| greedy.enter().unwrap()).collect();
        assert_eq!(kept.iter().filter(|kept| **kept == Kept::Placed).count(), SHARED);
        assert!(greedy.enter().is_err(), "more than there are places");
        assert!((0..FREE).all(|_| other.enter().unwrap() == Kept::Free));
        assert!(other.enter().is_err());
        assert!((0..FREE + SHARED).all(|_| proven.enter().is_ok()), "who proved himself has places of his own");
        greedy.leave(Kept::Placed);
        assert_eq!(other.enter().unwrap(), Kept::Placed);
        other.leave(Kept::Placed);
        kept.iter().rev().skip(1).for_each(|kept| greedy.leave(*kept));
        assert_eq!(untaken.strangers.0.taken.load(Ordering::Relaxed), 0);
        assert_eq!(greedy.now.load(Ordering::Relaxed), 0);
    }
}
