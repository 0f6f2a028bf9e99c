//! Counters that several processes share: a server of the Redis protocol.
//!
//! Owns one connection for each store, whoever counts in it, and the scripts that count. A count costs one round trip and never more than
//! its time: a store that is down or slow is found out by a few requests, and from then on by the connection's own task alone (see
//! `link`), so that requests are told at once. What a failure means is the policy's to say. A store sees digests: no person, no address,
//! no code. It is trusted to count, and for nothing else: what it answers is checked, and bounded.

mod dial;
mod error;
mod leases;
mod link;
mod metrics;
mod scripts;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crds::snapshot::SharedStore;
use moka::sync::Cache;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use self::{link::Link, metrics::Metrics};
use crate::{
    factors::{Attempt, Redeemed},
    limits::{Tallied, Tally},
    net::Networks,
};

/// Stores that are connected to at once.
const MAX_STORES: u64 = 1024;
/// A store that no policy asks any more, such as one under an old password.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// The stores of all policies. Connections are made by the first count, and kept.
pub struct SharedStores {
    networks: Networks,
    links: Cache<[u8; 32], Arc<Link>>,
    metrics: Metrics,
}

// === impl SharedStores ===

impl SharedStores {
    /// No connection yet. Connections are made where `networks` permits: over TLS as https, else as http, and through no proxy, which
    /// would not speak this protocol.
    pub fn new(networks: Networks, registry: &mut Registry) -> Arc<Self> {
        let links = Cache::builder().max_capacity(MAX_STORES).time_to_idle(FORGET_AFTER).build();
        Arc::new(Self { networks, links, metrics: Metrics::register(registry) })
    }

    /// Counts, or looks. `None`: it could not be found out by the store's own time or by `deadline`.
    pub async fn count(&self, tally: &Tally, now_ms: i64, deadline: Instant) -> Tallied {
        let call = scripts::tally(tally);
        let kind = if tally.take { "count" } else { "look" };
        self.run(&tally.store, kind, deadline, &call, |reply| scripts::tallied(tally, &reply, now_ms)).await
    }

    /// Uses a code up, or counts a failure, for everybody who asks this store.
    pub async fn redeem(
        &self,
        store: &Arc<SharedStore>,
        attempt: &Attempt,
        now_ms: i64,
        deadline: Instant,
    ) -> Option<Redeemed> {
        let call = scripts::redeem(store, attempt);
        self.run(store, "code", deadline, &call, |reply| scripts::redeemed(&reply, now_ms)).await
    }

    async fn run<T>(
        &self,
        store: &Arc<SharedStore>,
        kind: &'static str,
        deadline: Instant,
        call: &scripts::Call,
        read: impl FnOnce(redis::Value) -> Option<T>,
    ) -> Option<T> {
        // Nothing is dialled before somebody counts: a policy without traffic costs no connection.
        let link = self
            .links
            .get_with(store.id, || Arc::new(Link::start(store.clone(), self.networks.clone(), self.metrics.clone())));
        let begun = Instant::now();
        let answer = link.run(call, deadline).await.and_then(|reply| read(reply).ok_or(error::StoreError::Content));
        self.metrics.called(kind, answer.as_ref().map_or_else(error::StoreError::label, |_| "ok"), begun.elapsed());
        answer.ok()
    }
}

impl std::fmt::Debug for SharedStores {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SharedStores").field("stores", &self.links.entry_count()).finish_non_exhaustive()
    }
}
