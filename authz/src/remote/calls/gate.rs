//! The bounds of one endpoint: so many questions at once, so many in a second. Whoever is over is told at once and waits for nothing.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A failing service is told of this often.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// One endpoint.
pub(super) struct Gate {
    at_once: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
    told: Mutex<Option<Instant>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(per_second: u32, at_once: usize) -> Self {
        let bucket = Bucket { tokens: f64::from(per_second), at: Instant::now() };
        Self { at_once: Arc::new(Semaphore::new(at_once)), bucket: Mutex::new(bucket), told: Mutex::new(None) }
    }

    /// The right to ask once, until it is dropped.
    pub(super) fn enter(&self, per_second: u32) -> Option<OwnedSemaphorePermit> {
        let permit = self.at_once.clone().try_acquire_owned().ok()?;
        self.bucket.lock().take(f64::from(per_second)).then_some(permit)
    }

    /// Whether a failure is worth a line in the log.
    pub(super) fn is_news(&self) -> bool {
        let mut told = self.told.lock();
        let news = told.is_none_or(|last| last.elapsed() >= TELL_AGAIN);
        if news {
            *told = Some(Instant::now());
        }
        news
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, per_second: f64) -> bool {
        let now = Instant::now();
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(per_second.max(1.0));
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}
