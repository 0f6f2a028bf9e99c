//! Where leases of open connections are: in this process, or in the store of the policy.

use std::sync::Arc;

use crds::snapshot::SharedStore;
use tokio::time::Instant;

use super::metrics::Metrics;
use crate::{
    limits::{Lease, LeaseAsk, Leased, LocalLeases, Sign},
    shared::SharedStores,
};

/// Leases and what is told of them.
pub(super) struct Connections {
    local: LocalLeases,
    stores: Arc<SharedStores>,
    metrics: Metrics,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(stores: Arc<SharedStores>, metrics: Metrics) -> Self {
        Self { local: LocalLeases::default(), stores, metrics }
    }

    /// Opens one more, if there is room.
    pub(super) async fn open(&self, ask: &LeaseAsk, now_ms: i64, deadline: Instant) -> Leased {
        let lease = Lease { counter: ask.counter, id: fastrand::u64(..) };
        let leased = match &ask.store {
            None => self.local.open(lease, ask.max, now_ms),
            Some(store) => self.stores.open(store, ask.max, lease, deadline).await,
        };
        self.metrics.leased(match leased {
            Leased::Granted(_) => "granted",
            Leased::Full => "full",
            Leased::Unknown => "unknown",
        });
        leased
    }

    /// Takes note of what a proxy tells.
    pub(super) async fn hear(
        &self,
        store: Option<&Arc<SharedStore>>,
        lease: Lease,
        sign: Sign,
        now_ms: i64,
        deadline: Instant,
    ) {
        self.metrics.reported(match sign {
            Sign::Alive => "alive",
            Sign::Ended => "ended",
        });
        match store {
            None => self.local.hear(lease, sign, now_ms),
            Some(store) => self.stores.hear(store, lease, sign, deadline).await,
        }
    }

    /// A report that is about no lease of ours.
    pub(super) fn skipped(&self) {
        self.metrics.reported("skipped");
    }
}
