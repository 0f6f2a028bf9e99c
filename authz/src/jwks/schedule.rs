//! When a set is fetched without anybody asking. Owns the times; never a request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    Options,
    flight::{Asked, Cause},
    slot::Slot,
};

/// A wait that no clock can add up is as good as this one.
const FAR: Duration = Duration::from_hours(30 * 365 * 24);

/// Fetches a set again and again until it is removed or the cache shuts down. `first` is the fetch its creation started.
pub(super) async fn keep_fresh(slot: Arc<Slot>, first: Asked) {
    tokio::select! {
        biased;
        () = slot.removed.cancelled() => {}
        () = slot.shared.stopping.cancelled() => {}
        () = cycle(&slot, first) => {}
    }
}

async fn cycle(slot: &Arc<Slot>, first: Asked) {
    let mut failures = 0;
    let mut asked = first;
    loop {
        failures = if outcome(slot, asked).await { 0 } else { failures + 1 };
        wait(slot, failures).await;
        asked = slot.fetch(Cause::Schedule);
    }
}

/// The outcome of a fetch of our own. One for an unknown `kid` skips discovery, so it never replaces a scheduled one.
async fn outcome(slot: &Arc<Slot>, mut asked: Asked) -> bool {
    loop {
        match asked {
            Asked::Started(landing) => return landing.outcome().await,
            Asked::Joined(landing) => landing.outcome().await,
            // The slot has ended, and with it this task at its next step.
            Asked::Refused => std::future::pending().await,
        };
        asked = slot.fetch(Cause::Schedule);
    }
}

/// Waits until the next fetch is due; a changed `max_age` moves that moment.
async fn wait(slot: &Arc<Slot>, failures: u32) {
    let since = Instant::now();
    let (share, retry) = (fastrand::f64(), retry_delay(&slot.shared.options, failures, fastrand::f64()));
    loop {
        let delay = match failures {
            0 => refresh_delay(slot.max_age(), share).max(slot.shared.options.retry_first),
            _ => retry,
        };
        let due = since.checked_add(delay).unwrap_or(since + FAR);
        slot.set_next_fetch(due);
        tokio::select! {
            () = sleep_until(due) => return,
            () = slot.max_age_changed.notified() => {}
        }
    }
}

/// 80 to 90 % of `max_age`: early enough for retries, and spread so that sets fetched together part ways. `share` is 0 to 1.
pub(super) fn refresh_delay(max_age: Duration, share: f64) -> Duration {
    scale(max_age, 0.8 + 0.1 * share)
}

/// Half to all of a wait that doubles with every failure after the first.
pub(super) fn retry_delay(options: &Options, failures: u32, share: f64) -> Duration {
    let doubled = options.retry_first.saturating_mul(1 << failures.saturating_sub(1).min(30));
    scale(doubled.min(options.retry_last), 0.5 + 0.5 * share)
}

fn scale(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(FAR)
}
