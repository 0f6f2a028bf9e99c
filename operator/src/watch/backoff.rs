//! Pauses between attempts: doubled, capped, with jitter, so that a thousand clients do not come back at once.

use std::time::Duration;

/// The next pause. Resets when something worked.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    cap: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Begins with `first`, and never exceeds `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { next: first, first, cap }
    }

    /// How long to wait now: half to all of the current pause, and not less than the server asked for.
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.cap);
        pause.max(asked.unwrap_or_default().min(self.cap))
    }

    /// Something worked.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}
