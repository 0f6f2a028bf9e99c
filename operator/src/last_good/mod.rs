//! What was in force, across restarts of every process: sealed Secrets that each replica reads at its start and the leader writes.
//!
//! ```text
//!  LastGood ─► 16 parts ─► JSON ─► gzip ─► seal ─► Secret gatewright-last-good-N     (N by the policy's name)
//! ```
//!
//! Owns those Secrets. A part that cannot be read counts as absent: its policies start from their documents alone. Must never write
//! while not leading, nor hold up whoever has something to keep.

mod pack;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use authz::server::Registry;
use crds::compile::{LastGood, PARTS};
use parking_lot::Mutex;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    identity::{Kept, Store, StoreError},
    leader::Leader,
    seal::Seal,
};

/// Where last good versions are kept. Cheap to clone.
#[derive(Clone)]
pub struct LastGoodStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    state: Mutex<State>,
    wake: Notify,
    metrics: Metrics,
}

/// What is known and what is to do, by part.
#[derive(Default)]
struct State {
    /// How many changes of each part were noted.
    noted: [u64; PARTS],
    /// Parts that are not written yet, the newest of each, with its number of changes.
    pending: BTreeMap<usize, (u64, LastGood)>,
    /// The version of each Secret as it was read or written last.
    versions: BTreeMap<usize, String>,
}

/// Numbers of what is kept.
#[derive(Clone, Default)]
pub struct Metrics {
    writes: Counter,
    failures: Counter,
    unreadable: Counter,
    pending: Gauge,
}

/// Each part is written at most this often.
const PACE: Duration = Duration::from_secs(1);
/// How often it is looked whether this process leads by now.
const LOOK: Duration = Duration::from_secs(1);
/// The wait after the API server did not answer, at the start.
const RETRY: Duration = Duration::from_secs(1);
/// The entry of a Secret.
const ENTRY: &str = "sealed";

fn secret(part: usize) -> String {
    format!("gatewright-last-good-{part}")
}

// === impl LastGoodStore ===

impl LastGoodStore {
    /// Reads what was in force. Waits for the API server: without an answer nobody knows what was.
    pub async fn load(store: Arc<dyn Store>, seal: Arc<Seal>, metrics: Metrics) -> (Self, LastGood) {
        let (mut all, mut state) = (LastGood::default(), State::default());
        for part in 0..PARTS {
            let Some(Kept { data, version }) = read(&*store, part).await else { continue };
            state.versions.insert(part, version);
            let sealed = data.get(ENTRY).map(Vec::as_slice).unwrap_or_default();
            match pack::open(&seal, part, sealed) {
                Ok(kept) => all.merge(kept),
                Err(error) => {
                    metrics.unreadable.inc();
                    warn!(secret = secret(part), %error, "last good versions cannot be read and are forgotten; good policies are not touched by that");
                }
            }
        }
        state.noted = std::array::from_fn(|part| all.part_changes(part));
        let inner = Inner { store, seal, state: Mutex::new(state), wake: Notify::new(), metrics };
        (Self { inner: Arc::new(inner) }, all)
    }

    /// Notes what is in force now. Never waits.
    pub fn keep(&self, all: &LastGood) {
        let mut state = self.inner.state.lock();
        for part in 0..PARTS {
            let changes = all.part_changes(part);
            let Some(noted) = state.noted.get_mut(part).filter(|noted| **noted != changes) else { continue };
            *noted = changes;
            state.pending.insert(part, (changes, all.part(part)));
        }
        self.inner.metrics.pending(&state);
        drop(state);
        self.inner.wake.notify_one();
    }

    /// Writes what was noted, while this process leads. For ever.
    pub async fn run(&self, leader: &Leader) {
        loop {
            let next = Instant::now() + PACE;
            let left = self.pass(leader).await;
            sleep_until(next).await;
            if left {
                sleep(LOOK).await;
            } else {
                self.inner.wake.notified().await;
            }
        }
    }

    /// Writes each part that waits. Whether any still does.
    async fn pass(&self, leader: &Leader) -> bool {
        let inner = &self.inner;
        let may = || leader.guard().is_some_and(|guard| guard.holds());
        let waiting: Vec<usize> = inner.state.lock().pending.keys().copied().collect();
        for part in waiting {
            // Whoever does not lead does not pack either, nor has anything to warn of.
            if !may() {
                return true;
            }
            let (changes, kept, version) = {
                let state = inner.state.lock();
                let Some((changes, kept)) = state.pending.get(&part).cloned() else { continue };
                (changes, kept, state.versions.get(&part).cloned())
            };
            if kept.is_empty() && version.is_none() {
                inner.written(part, changes, None);
                continue;
            }
            let Some(sealed) = inner.packed(part, &kept) else {
                inner.written(part, changes, version);
                continue;
            };
            // Right before the write: the packing may have outlasted the leadership.
            if !may() {
                return true;
            }
            let data = BTreeMap::from([(ENTRY.to_owned(), sealed)]);
            match inner.store.write(&secret(part), data, version).await {
                Ok(written) => {
                    inner.metrics.writes.inc();
                    inner.written(part, changes, Some(written.version));
                }
                Err(error) => {
                    inner.metrics.failures.inc();
                    inner.failed(part, &error).await;
                }
            }
        }
        !inner.state.lock().pending.is_empty()
    }
}

// === impl Inner ===

impl Inner {
    /// What the Secret shall hold. Of a part that does not fit nothing is kept, rather than something older than what was in force.
    fn packed(&self, part: usize, kept: &LastGood) -> Option<Vec<u8>> {
        let failed = |error: pack::PackError| {
            self.metrics.failures.inc();
            warn!(secret = secret(part), %error, "last good versions cannot be kept: a restart would start from the documents alone");
        };
        let packed = pack::seal(&self.seal, part, kept).map_err(failed);
        packed.or_else(|()| pack::seal(&self.seal, part, &LastGood::default()).map_err(failed)).ok()
    }

    /// Done, but for what was noted meanwhile.
    fn written(&self, part: usize, changes: u64, version: Option<String>) {
        let mut state = self.state.lock();
        if state.pending.get(&part).is_some_and(|(noted, _)| *noted == changes) {
            state.pending.remove(&part);
        }
        match version {
            Some(version) => drop(state.versions.insert(part, version)),
            None => drop(state.versions.remove(&part)),
        }
        self.metrics.pending(&state);
    }

    /// The version may be another's, or the Secret gone: the next attempt goes by what is there.
    async fn failed(&self, part: usize, error: &StoreError) {
        warn!(secret = secret(part), %error, "last good versions are not kept yet; trying again");
        let version = self.store.read(&secret(part)).await.map(|found| found.map(|kept| kept.version));
        let mut state = self.state.lock();
        match version {
            Ok(Some(version)) => drop(state.versions.insert(part, version)),
            Ok(None) => drop(state.versions.remove(&part)),
            Err(_) => {}
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        for (name, help, counter) in [
            ("gatewright_last_good_writes", "Sealed Secrets written", &own.writes),
            ("gatewright_last_good_failures", "Sealed Secrets that could not be written", &own.failures),
            ("gatewright_last_good_unreadable", "Sealed Secrets that could not be read at the start", &own.unreadable),
        ] {
            registry.register(name, help, counter.clone());
        }
        let help = "Sealed Secrets that wait to be written, by this replica if it leads";
        registry.register("gatewright_last_good_pending", help, own.pending.clone());
        own
    }

    fn pending(&self, state: &State) {
        self.pending.set(i64::try_from(state.pending.len()).unwrap_or(i64::MAX));
    }
}

async fn read(store: &dyn Store, part: usize) -> Option<Kept> {
    let mut told = None;
    loop {
        match store.read(&secret(part)).await {
            Ok(found) => {
                if told.is_some() {
                    info!(secret = secret(part), "read after all");
                }
                return found;
            }
            Err(error) => {
                if told.as_ref() != Some(&error) {
                    warn!(secret = secret(part), %error, "waiting for what was in force before");
                    told = Some(error);
                }
                sleep(RETRY).await;
            }
        }
    }
}
