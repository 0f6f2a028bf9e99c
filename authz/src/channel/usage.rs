//! What is told about the use of API keys: what is new since the report before, and everything to a new stream.
//!
//! No report is acknowledged. What is told is remembered for some hours, and told again to the next stream: a replica of the operator
//! that fails with what it heard takes nothing with it. Telling twice changes nothing, for the newest use counts.

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval_at},
};

use super::{Shared, wire};
use crate::uses::{REMEMBERED_S, now_s};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

/// Keys of one message.
const KEYS: usize = 4_096;

/// When reports are due, across streams: one that breaks often brings no more of them.
pub(super) struct Telling {
    ticks: Interval,
    /// The next reading of the ledger; 0: everything, for the stream is new.
    from: u32,
}

// === impl Telling ===

impl Telling {
    pub(super) fn new(shared: &Shared) -> Self {
        let every = shared.options.pace.uses;
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, from: 0 }
    }

    /// Whoever hears from now on knows nothing yet.
    pub(super) const fn begin(&mut self) {
        self.from = 0;
    }

    /// Resolves when a report is due.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Sends what is new. `false`: nobody hears.
    pub(super) async fn tell(&mut self, shared: &Shared, answers: &mpsc::Sender<DeltaDiscoveryRequest>) -> bool {
        let ledger = &shared.options.uses;
        let (new, next) = ledger.since(self.from);
        for message in new.messages(KEYS) {
            if answers.send(wire::uses(&shared.options.pod, message)).await.is_err() {
                return false;
            }
        }
        self.from = next;
        ledger.forget_before(now_s().saturating_sub(REMEMBERED_S));
        true
    }
}
