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
        failures = wait(slot, failures).await;
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

/// Waits until the next fetch is due; the failures before it. A changed `max_age` moves that moment, and so does a fetch for an unknown
/// `kid` that failed meanwhile: until somebody tries again, such tokens are our failure. The next one then comes after a cooldown at the
/// earliest, and so do those after it: whoever names unknown keys of an issuer that fails must not cause more fetches than of one that is well.
async fn wait(slot: &Arc<Slot>, mut failures: u32) -> u32 {
    let (mut since, mut on_demand) = (Instant::now(), false);
    let cooldown = slot.shared.options.unknown_kid_cooldown;
    let (share, spread) = (fastrand::f64(), fastrand::f64());
    loop {
        let delay = match failures {
            0 => refresh_delay(slot.max_age(), share).max(slot.shared.options.retry_first),
            _ if on_demand => retry_delay(&slot.shared.options, failures, spread).max(cooldown),
            _ => retry_delay(&slot.shared.options, failures, spread),
        };
        let due = since.checked_add(delay).unwrap_or(since + FAR);
        slot.set_next_fetch(due);
        tokio::select! {
            () = sleep_until(due) => return failures,
            () = slot.max_age_changed.notified() => {}
            () = slot.failed.notified() => {
                // It may be one of our own, which is counted, or one that was made good since.
                // The first one alone: those who name unknown keys must not put off the next fetch, which looks for them anew.
                if failures == 0 && slot.is_failing() {
                    (failures, since, on_demand) = (slow(&slot.shared.options), Instant::now(), true);
                }
            }
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

/// So many failures that every further wait is a cooldown or longer, if the longest wait allows it.
fn slow(options: &Options) -> u32 {
    (1..=31).find(|failures| retry_delay(options, *failures, 0.0) >= options.unknown_kid_cooldown).unwrap_or(31)
}

fn scale(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(FAR)
}
