//! When the status of one object may be written again. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::watch::Backoff;

/// Writes that an object may cause at once: some edits one after the other, each on its way and then there.
const BURST: u32 = 10;
/// After those, one in so long, whatever flaps.
const EVERY: Duration = Duration::from_secs(3);
/// First and longest pause after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What the writes so far leave to one object.
#[derive(Debug)]
pub(super) struct Pace {
    backoff: Backoff,
    /// After a failure.
    not_before: Instant,
    /// Each write moves it by [`EVERY`]; it may be ahead by [`BURST`] of them.
    spent: Instant,
}

// === impl Pace ===

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { backoff: Backoff::new(PAUSES.0, PAUSES.1), not_before: now, spent: now }
    }

    /// Whether it may be written now.
    pub(super) fn may(&self, now: Instant) -> bool {
        now >= self.not_before && self.spent <= now + EVERY * (BURST - 1)
    }

    /// It was written, or need not be.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.backoff.reset();
        self.spent = self.spent.max(now) + EVERY;
    }

    /// It was not written, and the server may have asked for a pause.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        self.not_before = now + self.backoff.pause(asked);
    }
}
