//! Answers that their peers do not take, and calls that their peers do not end after the answer: so many at once.
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

/// The answers of one connection. A clone is the same.
#[derive(Clone)]
pub(super) struct Answers(Arc<Own>);

struct Own {
    now: AtomicUsize,
    places: Places,
}

/// The place of one answer, or of a call whose end is waited for; given back on drop.
pub(super) struct Place {
    answers: Answers,
    /// Not one of those that are free.
    is_shared: bool,
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
        Answers(Arc::new(Own { now: AtomicUsize::new(0), places: places.clone() }))
    }
}

// === impl Answers ===

impl Answers {
    /// There is one more.
    pub(super) fn enter(&self) -> Result<Place, NoPlace> {
        let is_shared = self.0.now.fetch_add(1, Ordering::Relaxed) >= FREE;
        if is_shared && let Err(none) = self.0.places.enter() {
            self.0.now.fetch_sub(1, Ordering::Relaxed);
            return Err(none);
        }
        Ok(Place { answers: self.clone(), is_shared })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.answers.0.now.fetch_sub(1, Ordering::Relaxed);
        if self.is_shared {
            self.answers.0.places.leave();
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
        let mut kept: Vec<Place> = (0..FREE + SHARED).map(|_| greedy.enter().unwrap()).collect();
        assert_eq!(kept.iter().filter(|place| place.is_shared).count(), SHARED);
        assert!(greedy.enter().is_err(), "more than there are places");
        let free: Vec<Place> = (0..FREE).map(|_| other.enter().unwrap()).collect();
        assert!(free.iter().all(|place| !place.is_shared));
        assert!(other.enter().is_err());
        let own: Vec<Place> = (0..FREE + SHARED).map(|_| proven.enter().unwrap()).collect();
        assert_eq!(own.len(), FREE + SHARED, "who proved himself has places of his own");
        kept.pop();
        assert!(other.enter().unwrap().is_shared);
        drop(kept);
        assert_eq!(untaken.strangers.0.taken.load(Ordering::Relaxed), 0);
        assert_eq!(greedy.0.now.load(Ordering::Relaxed), 0);
    }
}
