//! What is in force, to every data plane: tables of resources, streams, acknowledgements.
//!
//! ```text
//!  publish ─► (coalesced) ─► Published ─► Table of an audience ─► Diff ─► stream ─► authz
//!                                                                          │
//!  standings ◄─ clients ◄───────────────────────── ack, nack, reports ◄────┘
//! ```
//!
//! Owns who gets what, in which order, and what each has in force. Sends nothing before the first publication, nothing under an unknown
//! leadership, and nothing to a peer that did not prove itself. Must never read the API, nor wait for one stream on behalf of another.

mod audiences;
mod clients;
mod metrics;
mod outgoing;
mod relay;
mod serve;
mod service;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod usage;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use authz::{server::Registry, uses::Ledger};
use crds::{
    documents::Objects,
    push::{Name, Pushed, SigningKeys, Trust},
    v1alpha1::SigningAlgorithm,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use clients::{IssuerReport, Proxies, Standing, Standings};
pub use relay::Replicas;
pub use serve::serve;
pub use service::Service;

use self::{
    audiences::Audiences,
    clients::{Clients, Tallies},
    metrics::Metrics,
    table::{Encoded, Published, Signing},
};
use crate::identity::Proofs;

/// Who may ask for what.
#[derive(Clone)]
pub struct Options {
    /// The operator's own namespace.
    pub namespace: String,
    /// The ServiceAccount there that gets every policy which selects no workload.
    pub account: String,
    /// The operator's own ServiceAccount: replicas report to their leader.
    pub operator_account: String,
    /// What is known about other workloads.
    pub proofs: Arc<dyn Proofs>,
    /// Least time between two publications.
    pub pace: Duration,
    /// How often other replicas tell their leader of the use of API keys.
    pub uses: Duration,
}

/// The push side. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    inner: Arc<Inner>,
}

/// What was handed over and not published yet, and its number.
#[derive(Default)]
struct Pending {
    number: u64,
    state: Option<(Vec<Pushed>, Arc<Objects>)>,
    /// The earliest moment of the next publication.
    next: Option<Instant>,
    /// The newest signing keys, published or not.
    signing: Option<Signing>,
}

/// What the streams share.
struct Inner {
    options: Options,
    epoch: watch::Receiver<u64>,
    highest: watch::Sender<u64>,
    pending: Mutex<Pending>,
    done: AtomicU64,
    wake: Notify,
    published: watch::Sender<Arc<Published>>,
    trust: watch::Sender<Option<Arc<Encoded>>>,
    /// Algorithms of own keys that policies need.
    needed: watch::Sender<BTreeSet<SigningAlgorithm>>,
    audiences: Audiences,
    clients: Arc<Clients>,
    /// What other replicas know, by pod, and which stream told it.
    reported: Mutex<HashMap<String, (u64, Tallies)>>,
    /// Whether a proxy ever proved itself to data planes of our own.
    proved: AtomicBool,
    /// When API keys were used last, as data planes and other replicas tell.
    uses: Ledger,
    metrics: Metrics,
    streams: AtomicU64,
    ends: CancellationToken,
}

/// Ten a second.
pub const PACE: Duration = Duration::from_millis(100);
/// Every minute.
pub const USES_PACE: Duration = Duration::from_mins(1);

// === impl Push ===

impl Push {
    /// Nothing is published yet. `epoch`: the leadership that is sent with every change; 0: unknown, and nothing is sent.
    pub fn new(options: Options, epoch: watch::Receiver<u64>, registry: &mut Registry) -> Self {
        let uses = Ledger::default();
        uses.register(registry);
        let inner = Inner {
            options,
            epoch,
            highest: watch::Sender::new(0),
            pending: Mutex::default(),
            done: AtomicU64::new(0),
            wake: Notify::new(),
            published: watch::Sender::new(Arc::default()),
            trust: watch::Sender::new(None),
            needed: watch::Sender::default(),
            audiences: Audiences::default(),
            clients: Clients::new(),
            reported: Mutex::default(),
            proved: AtomicBool::new(false),
            uses,
            metrics: Metrics::register(registry),
            streams: AtomicU64::new(0),
            ends: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The newest state. Never blocks; what is not sent yet is replaced. Returns its number: 1, 2, ….
    pub fn publish(&self, pushed: Vec<Pushed>, objects: Arc<Objects>) -> u64 {
        let needed: BTreeSet<_> = pushed.iter().flat_map(|one| one.own_keys.iter().copied()).collect();
        self.inner.needed.send_if_modified(|before| {
            let other = *before != needed;
            *before = needed;
            other
        });
        let mut pending = self.inner.pending.lock();
        pending.number += 1;
        pending.state = Some((pushed, objects));
        self.inner.wake.notify_one();
        pending.number
    }

    /// The number of the state that [`Push::standings`] speaks of.
    pub fn published(&self) -> u64 {
        self.inner.done.load(Ordering::Acquire)
    }

    /// When to begin with a state that takes so long to work out, so that it is done just when one is published.
    pub fn begin(&self, takes: Duration) -> Instant {
        let (now, pending) = (Instant::now(), self.inner.pending.lock());
        let next = pending.next.map_or(now, |next| next.max(now));
        let in_time = next.checked_sub(takes).unwrap_or(next);
        // What waits is replaced if there is the time.
        if pending.state.is_some() && in_time < now { in_time + self.inner.options.pace } else { in_time }
    }

    /// The CA certificates that data planes shall believe.
    pub fn trust(&self, authorities: Arc<str>) {
        let encoded = Encoded::new(Name::Trust, &Trust { authorities });
        self.inner.trust.send_if_modified(|current| {
            let new = *current != encoded;
            *current = encoded;
            new
        });
    }

    /// Keys of our own that sign tokens: our own data planes get them. Never blocks.
    pub fn sign(&self, keys: &SigningKeys) {
        self.inner.pending.lock().signing = Signing::new(keys);
        self.inner.wake.notify_one();
    }

    /// Algorithms that policies have tokens signed with by keys of our own.
    pub fn needed_keys(&self) -> watch::Receiver<BTreeSet<SigningAlgorithm>> {
        self.inner.needed.subscribe()
    }

    /// How far each policy has come.
    pub fn standings(&self) -> Standings {
        let published = self.inner.published.borrow().clone();
        let mut tallies = self.inner.clients.tallies(&published, &self.inner.audiences);
        self.inner.reported.lock().values().for_each(|(_, theirs)| tallies.merge(theirs));
        tallies.remember(&published, &self.inner.proved);
        tallies.standings()
    }

    /// Moves when an answer, a report, a connection or a publication changed a standing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.clients.changes()
    }

    /// The highest leadership that any of the operator's own data planes has seen.
    pub fn highest_epoch(&self) -> watch::Receiver<u64> {
        self.inner.highest.subscribe()
    }

    /// Ends every stream, and says so: data planes go to another replica at once.
    pub fn end(&self) {
        self.inner.ends.cancel();
    }

    /// The gRPC service. Its listener must give it the certificates of its peers: see [`serve`].
    pub fn service(&self) -> Service {
        Service::new(self.inner.clone())
    }

    /// Publishes what [`Push::publish`] was given: the first after silence at once, then one per `pace`. For ever.
    pub async fn run(&self) {
        let inner = &self.inner;
        loop {
            inner.wake.notified().await;
            let (number, state, signing) = {
                let mut pending = inner.pending.lock();
                if pending.state.is_some() {
                    pending.next = Some(Instant::now() + inner.options.pace);
                }
                (pending.number, pending.state.take(), pending.signing.clone())
            };
            let before = inner.published.borrow().clone();
            let published = match state {
                Some((pushed, objects)) => Published::next(&before, pushed, objects),
                // Keys alone are nothing before there are policies.
                None if before.counter > 0 && before.signing != signing => Published::again(&before),
                None => continue,
            };
            let next = Instant::now() + inner.options.pace;
            inner.pending.lock().next = Some(next);
            let published = Arc::new(published.signed(signing));
            // Worked out once, before a thousand streams ask.
            inner.audiences.advance(&published);
            inner.published.send_replace(published);
            inner.done.store(number, Ordering::Release);
            inner.metrics.publications.inc();
            inner.clients.moved();
            sleep_until(next).await;
        }
    }
}

impl Inner {
    /// What the streams of this replica tell.
    fn tallies(&self) -> Tallies {
        let published = self.published.borrow().clone();
        self.clients.tallies(&published, &self.audiences)
    }

    /// Whether the data planes of this account are our own.
    fn is_own(&self, namespace: &str, account: &str) -> bool {
        namespace == self.options.namespace && account == self.options.account
    }

    /// A data plane of ours has seen this leadership.
    fn saw(&self, epoch: u64) {
        self.highest.send_if_modified(|highest| {
            let higher = epoch > *highest;
            *highest = epoch.max(*highest);
            higher
        });
    }

    /// A number no other stream has.
    fn stream_id(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }
}
