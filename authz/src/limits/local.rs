//! Counters in this process: a window per key that begins with its first request.
//!
//! Windows, not a leaky bucket (GCRA, as the crate `governor` has it): a bucket of 100 per 60 s lets one more in every 0.6 s, so that
//! the 101st request of a burst passes if the burst took that long, and there is no moment at which it is full again to put into
//! `X-RateLimit-Reset`. A window is what the headers describe and what clients of the applications were written for. It lets up to twice
//! the rate through around its end.
//!
//! A counter is one word, changed by compare-and-swap: exact, and no lock is shared by different keys. Memory is bounded, at some
//! 26 MiB for each kind of key when full: who has not been seen for longest is forgotten first, and nobody earlier, so that no timer
//! ends a count. Addresses, which strangers can have many of, cannot push out the counters of persons.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{LimitKey, LimitStore, Subject, Taken};

/// Counters of each kind: addresses, everything else.
const MOST_KEYS: u64 = 65_536;
/// Bits of a word that count; the others say when the window began. 44 bits of milliseconds last until the year 2527.
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const START_MASK: u64 = u64::MAX >> COUNT_BITS;

/// Counters of this process; each replica has its own.
#[derive(Debug)]
pub struct LocalLimits {
    addresses: Cache<LimitKey, Arc<Counter>>,
    others: Cache<LimitKey, Arc<Counter>>,
}

/// When a window began, and its count.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

/// A window as it stands at some moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: u64,
    count: u64,
}

// === impl LocalLimits ===

impl Default for LocalLimits {
    fn default() -> Self {
        Self::new(MOST_KEYS)
    }
}

impl LocalLimits {
    /// A store of at most this many addresses and as many other keys.
    pub fn new(most_keys: u64) -> Self {
        let cache = || Cache::builder().max_capacity(most_keys).eviction_policy(EvictionPolicy::lru()).build();
        Self { addresses: cache(), others: cache() }
    }

    fn of(&self, subject: &Subject) -> &Cache<LimitKey, Arc<Counter>> {
        match subject {
            Subject::Address(_) => &self.addresses,
            Subject::Everybody | Subject::Unknown | Subject::Principal(_) => &self.others,
        }
    }

    /// How many counters there are, once what waits to be forgotten is.
    #[cfg(test)]
    pub(super) fn counted(&self) -> u64 {
        self.addresses.run_pending_tasks();
        self.others.run_pending_tasks();
        self.addresses.entry_count() + self.others.entry_count()
    }
}

impl LimitStore for LocalLimits {
    fn take(&self, key: LimitKey, rate: u32, window: Duration, now_ms: i64) -> Taken {
        let counters = self.of(&key.subject);
        let counter = counters.get(&key).unwrap_or_else(|| {
            // Of several threads that come here with one key, one makes the counter and all get it.
            counters.get_with(key, Arc::default)
        });
        counter.take(rate.into(), window, now_ms)
    }

    fn look(&self, key: &LimitKey, rate: u32, window: Duration, now_ms: i64) -> Taken {
        let word = self.of(&key.subject).get(key).map_or(0, |counter| counter.0.load(Ordering::Relaxed));
        let now = instant(now_ms);
        let seen = Window::at(word, window, now);
        seen.taken(seen.count < u64::from(rate), rate.into(), window)
    }
}

// === impl Counter ===

impl Counter {
    /// Relaxed is enough: the word alone is the state, and nothing else is published with it.
    fn take(&self, rate: u64, window: Duration, now_ms: i64) -> Taken {
        let rate = rate.min(COUNT_MASK);
        let now = instant(now_ms);
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let seen = Window::at(word, window, now);
            if seen.count >= rate {
                return seen.taken(false, rate, window);
            }
            let next = Window { count: seen.count + 1, ..seen };
            match self.0.compare_exchange_weak(word, next.word(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next.taken(true, rate, window),
                Err(newer) => word = newer,
            }
        }
    }
}

// === impl Window ===

impl Window {
    /// The window of a word at some moment: its own, or a new one where its own is over. A moment before its start is another thread's
    /// slightly older clock, and belongs to it; one that lies a whole window before is a clock that was set back, and must not lock
    /// anybody out until it catches up.
    fn at(word: u64, window: Duration, now: u64) -> Self {
        let (start, count) = (word >> COUNT_BITS, word & COUNT_MASK);
        let length = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        if count == 0 || now.abs_diff(start) >= length { Self { start: now, count: 0 } } else { Self { start, count } }
    }

    const fn word(self) -> u64 {
        (self.start << COUNT_BITS) | self.count
    }

    fn taken(self, allowed: bool, rate: u64, window: Duration) -> Taken {
        let end = self.start.saturating_add(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        Taken {
            allowed,
            remaining: u32::try_from(rate.saturating_sub(self.count)).unwrap_or(u32::MAX),
            resets_ms: i64::try_from(end).unwrap_or(i64::MAX),
        }
    }
}

/// A clock before the epoch, or past what a word holds, is as good as any other that stands still.
fn instant(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(0).min(START_MASK)
}
