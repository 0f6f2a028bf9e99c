//! Asks the services, keeps what they say, and bounds both.
//!
//! Owns who is asked when: one flight per question, however many requests wait for it, and it belongs to none of them; at most so many
//! questions at once and in a second for each endpoint. Answers are kept by the digest of the question, in bounded memory, never past
//! the end that they name. Failures are not kept: the next request asks again.

mod flight;
mod gate;
mod grpc;
mod metrics;
mod perform;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, sync::Cache};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::runtime::Handle;

use self::{
    flight::{Flight, FlightId, Landing, millis, now_ms},
    gate::Gate,
    metrics::Metrics,
};
use super::{Ask, AskId, Kept, RemoteStore, Reply, transport::Transport};
use crate::{cluster::Cluster, net::Networks, trace::Traces};

/// Endpoints that are bounded at once. One that is forgotten starts with a full bucket.
const MAX_GATES: u64 = 65_536;

/// Between two attempts to renew one answer: a server that is down is not asked by every request.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// How far two clocks may part while an answer is kept without one of them having been set.
const DRIFT: Duration = Duration::from_secs(2);

/// How much is asked, and how much is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where questions may lead.
    pub networks: Networks,
    /// The API server that is asked about ServiceAccount tokens; `None`: none is known.
    pub cluster: Option<Arc<Cluster>>,
    /// Questions a second that one endpoint is asked, and as many in one burst.
    pub calls_per_second: u32,
    /// Questions that one endpoint is asked at once.
    pub calls_at_once: usize,
    /// Memory for answers, in bytes (estimated).
    pub max_bytes: u64,
    /// Where spans of questions go.
    pub traces: Traces,
}

/// Answers of services, and the means to get more.
pub struct RemoteCache {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    kept: Cache<AskId, Entry>,
    flights: Mutex<HashMap<FlightId, Landing>>,
    gates: Cache<[u8; 32], Arc<Gate>>,
    /// What was asked for again a moment ago, whatever came of it.
    renewals: Cache<AskId, ()>,
    options: Options,
    metrics: Metrics,
    /// Where flights run: not on the runtime of the request which happened to ask.
    runtime: Handle,
}

/// An answer and how long it lives from the moment it is kept, on a clock that nobody sets.
#[derive(Clone)]
struct Entry {
    kept: Arc<Kept>,
    life: Duration,
    since: Instant,
}

struct Life;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            networks: Networks::default(),
            cluster: None,
            calls_per_second: 500,
            calls_at_once: 128,
            max_bytes: 32 << 20,
            traces: Traces::default(),
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(kept: Arc<Kept>, life: Duration) -> Self {
        Self { kept, life, since: Instant::now() }
    }

    /// Whether both clocks say that it holds. The cache's own stands still in a suspend: by the other one, which readers compare, the answer
    /// may be over. That one can be set back: then whatever is made of the answer would live longer than it.
    fn holds(&self, now_ms: i64) -> bool {
        let left = self.life.saturating_sub(self.since.elapsed()).saturating_add(DRIFT);
        (1..=millis(left)).contains(&self.kept.until_ms.saturating_sub(now_ms))
    }
}

// === impl Shared ===

impl Shared {
    /// The answer that is kept, if it holds now.
    fn held(&self, id: &AskId) -> Option<Arc<Kept>> {
        self.kept.get(id).filter(|entry| entry.holds(now_ms())).map(|entry| entry.kept)
    }
}

// === impl RemoteCache ===

impl RemoteCache {
    /// An empty cache whose metrics are in `registry` under their full names. `runtime` does the asking.
    pub fn new(options: Options, registry: &mut Registry, runtime: Handle) -> Arc<Self> {
        let shared = Shared {
            transport: Transport::new(options.networks.clone()),
            kept: Cache::builder().max_capacity(options.max_bytes).weigher(weight).expire_after(Life).build(),
            flights: Mutex::default(),
            gates: Cache::builder().max_capacity(MAX_GATES).build(),
            renewals: Cache::builder().max_capacity(MAX_GATES).time_to_live(RENEWAL_PAUSE).build(),
            options,
            metrics: Metrics::register(registry),
            runtime,
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// The answer to a question: joins the flight of the same question, or starts one if the endpoint's bounds allow. Dropping the
    /// future leaves the flight to the others and to whoever asks next.
    pub async fn ask(&self, ask: &Arc<Ask>) -> Arc<Kept> {
        match Flight::board(&self.shared, ask) {
            Ok(landing) => landing.answer().await,
            Err(busy) => busy,
        }
    }

    /// Asks again for what is still good, and waits for nothing: who used it has it already. Not more often than every few seconds.
    pub fn renew(&self, ask: &Arc<Ask>) {
        let first = self.shared.renewals.entry(ask.id).or_insert(()).is_fresh();
        if first {
            // A service that is asked enough already is asked later.
            let _ = Flight::renew(&self.shared, ask);
        }
    }

    /// Asks services with the same clients, for whoever needs more than an answer about a request.
    pub fn transport(&self) -> &Transport {
        &self.shared.transport
    }
}

impl RemoteStore for RemoteCache {
    fn kept(&self, id: &AskId) -> Option<Arc<Kept>> {
        self.shared.held(id)
    }
}

impl std::fmt::Debug for RemoteCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RemoteCache").field("kept", &self.shared.kept.entry_count()).finish_non_exhaustive()
    }
}

/// The answer of somebody who waited until his deadline and not longer.
pub fn late() -> Arc<Kept> {
    failed("the service has not answered in time")
}

fn failed(why: &'static str) -> Arc<Kept> {
    Arc::new(Kept { reply: Reply::Failed(why), until_ms: i64::MIN })
}

// === impl Life ===

impl Expiry<AskId, Entry> for Life {
    fn expire_after_create(&self, _: &AskId, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.life)
    }

    fn expire_after_update(&self, _: &AskId, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.life)
    }
}

/// An estimate that grows with what a service can make grow.
fn weight(_: &AskId, entry: &Entry) -> u32 {
    const FIXED: usize = 256;
    let names = |all: &Option<Vec<Box<str>>>| all.iter().flatten().map(|one| one.len() + 32).sum::<usize>();
    let own = match &entry.kept.reply {
        Reply::Good(good) => good.claims.iter().map(|(name, value)| name.len() + 64 + size(value)).sum(),
        Reply::Standing(standing) => names(&standing.roles) + names(&standing.scopes),
        Reply::Issued(issued) => issued.authorization.expose().len(),
        Reply::Refused(_) | Reply::Expired | Reply::Owner(_) | Reply::Failed(_) => 0,
    };
    u32::try_from(FIXED + own).unwrap_or(u32::MAX)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 32 + members.iter().map(|(name, value)| 64 + name.len() + size(value)).sum::<usize>(),
    }
}
