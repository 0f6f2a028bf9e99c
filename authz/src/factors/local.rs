//! Used codes and failures in this process.
//!
//! A holder has a lock of its own, so that of many attempts at once exactly as many count as there are. Memory is bounded, at some 16 MiB
//! when full: who was not seen for longest is forgotten first. Only who holds a good token gets here, so that a stranger forgets nobody.

use std::sync::{Arc, Mutex, PoisonError};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{Attempt, FAILURE_WINDOW_MS, Holder, MAX_FAILURES, Redeemed};

const MOST_HOLDERS: u64 = 65_536;

/// What this process has seen; each replica has its own.
#[derive(Debug)]
pub struct LocalFactors {
    holders: Cache<Holder, Arc<Mutex<State>>>,
}

/// One holder.
#[derive(Debug, Default)]
struct State {
    /// The newest step whose code was used. Older ones are refused with it: nobody types the code before last on purpose.
    used: Option<u64>,
    /// The one before it.
    before: Option<u64>,
    failures: u32,
    /// When the first of them was.
    since_ms: i64,
}

// === impl LocalFactors ===

impl Default for LocalFactors {
    fn default() -> Self {
        Self::new(MOST_HOLDERS)
    }
}

impl LocalFactors {
    /// A store of at most this many holders.
    pub fn new(most: u64) -> Self {
        Self { holders: Cache::builder().max_capacity(most).eviction_policy(EvictionPolicy::lru()).build() }
    }

    /// Uses a code up, or counts a failure.
    pub fn redeem(&self, attempt: &Attempt, now_ms: i64) -> Redeemed {
        let state = self.holders.get_with(attempt.holder, Arc::default);
        // A panic between two words of a state leaves it as good as before.
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.redeem(attempt.step, now_ms)
    }

    /// The code that was accepted last opened nothing after all, and is unused again. A newer one keeps it used.
    pub fn give_back(&self, attempt: &Attempt) {
        let Some(state) = self.holders.get(&attempt.holder) else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.step.is_some() && state.used == attempt.step {
            state.used = state.before;
        }
    }
}

// === impl State ===

impl State {
    fn redeem(&mut self, step: Option<u64>, now_ms: i64) -> Redeemed {
        // A clock that was set back by more than that must not lock anybody out until it catches up.
        if now_ms.abs_diff(self.since_ms) >= FAILURE_WINDOW_MS.unsigned_abs() {
            self.failures = 0;
        }
        if self.failures >= MAX_FAILURES {
            return Redeemed::Locked { until_ms: self.since_ms.saturating_add(FAILURE_WINDOW_MS) };
        }
        match step {
            Some(step) if self.used.is_none_or(|used| step > used) => {
                self.before = self.used.replace(step);
                Redeemed::Accepted
            }
            _ => {
                if self.failures == 0 {
                    self.since_ms = now_ms;
                }
                self.failures += 1;
                Redeemed::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn attempt(name: &str, step: Option<u64>) -> Attempt {
        Attempt { holder: Holder::of("n/totp", name), step }
    }

    #[test]
    fn a_code_is_good_once_and_none_before_it() {
        let store = LocalFactors::default();
        for (step, expected) in [
            (10, Redeemed::Accepted),
            (10, Redeemed::Refused),
            (9, Redeemed::Refused),
            (11, Redeemed::Accepted),
            (11, Redeemed::Refused),
        ] {
            assert_eq!(store.redeem(&attempt("alice", Some(step)), NOW), expected, "{step}");
        }
        assert_eq!(store.redeem(&attempt("bob", Some(10)), NOW), Redeemed::Accepted, "somebody else's code");
    }

    #[test]
    fn a_code_that_opened_nothing_is_good_again_and_no_other() {
        let store = LocalFactors::default();
        let redeem = |step| store.redeem(&attempt("alice", Some(step)), NOW);
        assert_eq!(redeem(10), Redeemed::Accepted);
        assert_eq!(redeem(11), Redeemed::Accepted);
        for step in [None, Some(9), Some(10), Some(12)] {
            store.give_back(&attempt("alice", step));
        }
        store.give_back(&attempt("bob", Some(11)));
        assert_eq!(redeem(11), Redeemed::Refused, "only its own step gives it back");
        store.give_back(&attempt("alice", Some(11)));
        assert_eq!(redeem(10), Redeemed::Refused, "one that was used before stays used");
        assert_eq!(redeem(11), Redeemed::Accepted);
        assert_eq!(redeem(11), Redeemed::Refused);
    }

    #[test]
    fn after_five_wrong_codes_not_even_a_right_one_is_looked_at() {
        let store = LocalFactors::default();
        for number in 0..5 {
            assert_eq!(store.redeem(&attempt("alice", None), NOW + number), Redeemed::Refused, "{number}");
        }
        let locked = Redeemed::Locked { until_ms: NOW + 300_000 };
        for (step, later) in [(None, 5), (Some(1), 6), (Some(1), 299_999)] {
            assert_eq!(store.redeem(&attempt("alice", step), NOW + later), locked, "{later}");
        }
        assert_eq!(store.redeem(&attempt("bob", Some(1)), NOW), Redeemed::Accepted, "nobody locks out another");
        assert_eq!(store.redeem(&attempt("alice", Some(1)), NOW + 300_000), Redeemed::Accepted);
        assert_eq!(store.redeem(&attempt("alice", None), NOW - 3_600_000), Redeemed::Refused, "a clock set back");
    }

    #[test]
    fn of_many_at_once_one_is_good_and_five_are_wrong() {
        let store = LocalFactors::default();
        let count = |name: &str, step: Option<u64>, wanted: Redeemed| -> usize {
            thread::scope(|scope| {
                let one = || (0..100).filter(|_| store.redeem(&attempt(name, step), NOW) == wanted).count();
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            })
        };
        assert_eq!(count("alice", Some(1), Redeemed::Accepted), 1);
        assert_eq!(count("bob", None, Redeemed::Refused), 5);
    }

    #[test]
    fn many_holders_do_not_grow_without_bound() {
        let store = LocalFactors::new(1000);
        for number in 0..10_000 {
            store.redeem(&attempt(&number.to_string(), Some(1)), NOW);
        }
        store.holders.run_pending_tasks();
        assert!(store.holders.entry_count() <= 1000, "{}", store.holders.entry_count());
        assert_eq!(store.redeem(&attempt("9999", Some(1)), NOW), Redeemed::Refused, "the newest is kept");
    }
}
