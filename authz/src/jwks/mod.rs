//! The key cache: the remote key sets that policies name, fetched ahead of need and kept through outages.
//!
//! Owns every fetch of a key set, its schedule, and the copies on disk. Reads never wait, never take a lock and never cause a
//! fetch; a fetch goes to the configured place, or to the one the issuer's discovery document names, never to one a token names.
//!
//! ```text
//!  sync(wanted) ──► one Slot per key set ──► schedule: fetch at once, then at 80-90 % of max_age; failures back off 1 s … 60 s
//!                        │        ▲
//!  state(id)  ◄── held keys       └── flight: the one running fetch, which callers of refresh(id) share
//!                        │
//!                   data_dir/keys/<sha256 of id>.json
//! ```
//!
//! # How long keys are in force
//!
//! A fetched set is *fresh* for `max_age`, and *stale* but still in force for [`Options::max_stale`] after that; then it is gone
//! until a fetch succeeds. Ages run on the monotonic clock. A set read from disk is stale from the start; its age is taken from
//! the wall clock once, and one that seems to come from the future counts as exactly `max_age` old, so that a clock set back
//! cannot prolong its life.

mod cluster;
mod disk;
mod fetch;
mod flight;
#[cfg(fuzzing)]
pub mod fuzzing;
mod metrics;
mod schedule;
mod slot;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, hash_map::Entry};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crds::snapshot::{KeySetId, KeySetSource};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use self::{
    disk::Store,
    flight::Cause,
    slot::{Shared, Slot},
};
use crate::{
    cluster::Cluster,
    keystore::{KeyState, KeyStore},
    net::{Client, ClientError, Networks},
    trace::Traces,
};

pub use status::{Freshness, KeySetStatus, KeyStatus};

/// What a cache may do and how patient it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where last good keys are kept for a restart; `None`: nowhere. One directory per process.
    pub data_dir: Option<PathBuf>,
    /// Where fetches may lead.
    pub networks: Networks,
    /// The API server whose keys [`KeySetSource::cluster`] means; `None`: none is known.
    pub cluster: Option<Arc<Cluster>>,
    /// The time from the start of one request, discovery or keys, to the last byte of its answer.
    pub fetch_timeout: Duration,
    /// The part of it that connecting may take.
    pub connect_timeout: Duration,
    /// How long keys stay in force after they stopped being fresh, which is `max_age` after their fetch.
    pub max_stale: Duration,
    /// The least time between two fetches of one set for the sake of an unknown `kid`.
    pub unknown_kid_cooldown: Duration,
    /// The most bytes that are read of one answer, after decompression.
    pub max_body: usize,
    /// The longest wait after a first failure; it doubles with each further one, up to `retry_last`.
    pub retry_first: Duration,
    /// The longest wait between two attempts while an issuer is down. Real waits are half of it to all of it.
    pub retry_last: Duration,
    /// Where spans of fetches go.
    pub traces: Traces,
}

/// The remote key sets of the snapshot in force.
pub struct KeyCache {
    shared: Arc<Shared>,
    slots: Slots,
    /// Serialises `sync`; whether there was one before. No reader and no fetch ever takes it.
    synced: Mutex<bool>,
}

/// The current sets. Replaced as a whole by `sync`, so that a reader is one atomic load away from its slot.
type Slots = Arc<ArcSwap<HashMap<KeySetId, Arc<Slot>>>>;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            networks: Networks::default(),
            cluster: None,
            fetch_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            max_stale: Duration::from_hours(24),
            unknown_kid_cooldown: Duration::from_secs(30),
            max_body: 1 << 20,
            retry_first: Duration::from_secs(1),
            retry_last: Duration::from_mins(1),
            traces: Traces::default(),
        }
    }
}

// === impl KeyCache ===

impl KeyCache {
    /// An empty cache whose metrics are in `registry` under their full names. Fails if the proxy variables cannot be used.
    pub fn new(options: Options, registry: &mut Registry) -> Result<Arc<Self>, ClientError> {
        let client = Client::new(options.networks.clone(), options.connect_timeout)?;
        let store = options.data_dir.as_deref().map(|dir| Store::new(dir, options.max_body));
        let slots = Slots::default();
        registry.register_collector(Box::new(metrics::Metrics::new(slots.clone())));
        let shared = Arc::new(Shared::new(options, client, store));
        Ok(Arc::new(Self { shared, slots, synced: Mutex::new(false) }))
    }

    /// Makes the cache hold exactly these sets. Call it inside the tokio runtime that shall fetch.
    ///
    /// When it returns, keys on disk of new sets are in force and their first fetch runs. Sets that stay keep their keys and
    /// their schedule; a new `max_age` counts at once. The task, the fetch and the file of a set that is gone end.
    pub fn sync(self: &Arc<Self>, wanted: Vec<KeySetSource>) {
        let Ok(runtime) = Handle::try_current() else {
            tracing::error!("key sets cannot be fetched: the cache was given its sets outside of a runtime");
            return;
        };
        let mut synced = self.synced.lock();
        let wanted = unique(wanted);
        let before = self.slots.load_full();
        let kept = |slot: &Slot| wanted.get(slot.id()).is_some_and(|source| slot.serves(source));
        before.values().filter(|slot| !kept(slot)).for_each(|slot| slot.end());
        if let Some(store) = &self.shared.store {
            store.tidy(wanted.keys(), !std::mem::replace(&mut *synced, true));
        }
        let mut next = HashMap::with_capacity(wanted.len());
        for (id, source) in wanted {
            let slot = match before.get(&id).filter(|slot| slot.serves(&source)) {
                Some(slot) => {
                    slot.set_max_age(source.max_age);
                    slot.clone()
                }
                None => start(Slot::new(source, self.shared.clone(), runtime.clone())),
            };
            next.insert(id, slot);
        }
        self.slots.store(Arc::new(next));
        self.shared.progress.send_replace(());
    }

    /// Waits for newer keys because of an unknown `kid`: joins the running fetch of that set, or starts the one that the cooldown
    /// allows. Returns when that fetch ended, at once if there is none. Dropping the future leaves the fetch to the others.
    pub async fn refresh(&self, id: &KeySetId) {
        let running = self.slots.load().get(id).and_then(|slot| slot.fetch(Cause::UnknownKid).running());
        if let Some(landing) = running {
            landing.outcome().await;
        }
    }

    /// Resolves when every set was fetched with success at least once; keys from disk do not count. A later `sync` counts too.
    pub async fn fetched_once(&self) {
        let mut progress = self.shared.progress.subscribe();
        while self.slots.load().values().any(|slot| !slot.was_fetched()) {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// The issuers of sets without a first successful fetch, sorted.
    pub fn pending(&self) -> Vec<String> {
        let slots = self.slots.load();
        let pending = slots.values().filter(|slot| !slot.was_fetched()).map(|slot| slot.issuer().to_owned());
        pending.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// What there is to know about every set, by issuer.
    pub fn status(&self) -> Vec<KeySetStatus> {
        let mut all: Vec<_> = self.slots.load().values().map(|slot| slot.status()).collect();
        all.sort_by(|a, b| (&a.issuer, &a.id).cmp(&(&b.issuer, &b.id)));
        all
    }

    /// Starts no more fetches, and waits for the running ones and their files. Keys stay readable, so that checks can finish.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        let mut flights = self.shared.flights.subscribe();
        // An error would mean that the sender, which `shared` owns, is gone.
        let _ = flights.wait_for(|running| *running == 0).await;
    }
}

impl KeyStore for KeyCache {
    fn state(&self, id: &KeySetId) -> KeyState {
        self.slots.load().get(id).map(|slot| slot.state()).unwrap_or_default()
    }
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("KeyCache").field("sets", &self.slots.load().len()).finish_non_exhaustive()
    }
}

/// One source per id. Two policies may share a set and disagree about `max_age`: the shorter one keeps both promises.
fn unique(wanted: Vec<KeySetSource>) -> HashMap<KeySetId, KeySetSource> {
    let mut unique = HashMap::with_capacity(wanted.len());
    for source in wanted {
        match unique.entry(source.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(source);
            }
            Entry::Occupied(mut entry) => {
                let max_age = &mut entry.get_mut().max_age;
                *max_age = source.max_age.min(*max_age);
            }
        }
    }
    unique
}

/// Starts the first fetch before anybody can see the slot: no request finds it with neither keys nor a fetch to wait for.
fn start(slot: Arc<Slot>) -> Arc<Slot> {
    let first = slot.fetch(Cause::Schedule);
    slot.runtime().spawn(schedule::keep_fresh(slot.clone(), first));
    slot
}
