//! One key set: its keys, its clock, and what is known about its source.
//!
//! Owns everything about one set. Slots share no lock, and no lock here is held across a wait or over IO.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use crds::{
    keys::KeySet,
    origin::Origin,
    snapshot::{Authorities, KeySetId, KeySetSource},
};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Options, cluster,
    disk::{Gate, Record, Restored, Store},
    fetch::{self, FetchError, Fetched, Plan},
    flight::{Cause, Landing},
};
use crate::{
    keystore::KeyState,
    net::{Client, ClientError, Manner},
};

/// What all slots of a cache use.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) client: Client,
    pub(super) store: Option<Store>,
    /// Set once: no flight starts any more.
    pub(super) stopping: CancellationToken,
    /// Told of every first success and every `sync`.
    pub(super) progress: watch::Sender<()>,
    /// How many flights run, their files included.
    pub(super) flights: watch::Sender<usize>,
    /// Where the cooldowns count from: an `Instant` does not fit into an atomic.
    epoch: Instant,
}

/// See the module.
pub(super) struct Slot {
    source: KeySetSource,
    pub(super) shared: Arc<Shared>,
    /// Believes the authorities that the policy names; an error where those cannot be used, and then nobody is asked.
    pub(super) client: Result<Client, ClientError>,
    runtime: Handle,
    max_age_ms: AtomicU64,
    pub(super) max_age_changed: Notify,
    /// Told of every failure: the schedule looks whether anybody tries again.
    pub(super) failed: Notify,
    /// Set when the set is no longer wanted: its flight is cut off.
    pub(super) removed: CancellationToken,
    held: ArcSwapOption<Held>,
    pub(super) in_flight: AtomicBool,
    /// In microseconds since the epoch.
    cooldown_until: AtomicU64,
    failing: AtomicBool,
    fetched: AtomicBool,
    pub(super) counts: Counts,
    pub(super) control: Mutex<Control>,
    gate: Arc<Gate>,
}

/// Keys with their age.
pub(super) struct Held {
    pub(super) set: Arc<KeySet>,
    /// Whose they are, where that is learnt.
    issuer: Option<Arc<str>>,
    at: Instant,
    age_then: Duration,
    /// From disk: never fresh.
    restored: bool,
}

/// What the metrics count.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) ok: AtomicU64,
    pub(super) error: AtomicU64,
    pub(super) unknown_kid: AtomicU64,
    pub(super) unsaved: AtomicU64,
    /// In seconds since 1970; 0 before the first.
    pub(super) last_success: AtomicU64,
}

/// What flights and the schedule tell each other and the status.
#[derive(Default)]
pub(super) struct Control {
    pub(super) running: Option<Landing>,
    pub(super) last_error: Option<FetchError>,
    pub(super) next_fetch: Option<Instant>,
    /// Where the last good keys were, where that was found by discovery.
    pub(super) known: Option<Url>,
    pinned: Option<Origin>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(options: Options, client: Client, store: Option<Store>) -> Self {
        Self {
            options,
            client,
            store,
            stopping: CancellationToken::new(),
            progress: watch::Sender::new(()),
            flights: watch::Sender::new(0),
            epoch: Instant::now(),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

// === impl Held ===

impl Held {
    /// How old the keys are.
    pub(super) fn age(&self) -> Duration {
        self.age_then.saturating_add(self.at.elapsed())
    }
}

// === impl Slot ===

impl Slot {
    /// A set with whatever the disk has of it.
    pub(super) fn new(source: KeySetSource, shared: Arc<Shared>, runtime: Handle) -> Arc<Self> {
        let restored = shared.store.as_ref().and_then(|store| store.load(&source, SystemTime::now()));
        let restored = restored.filter(|one| !source.cluster || is_of_cluster(one, &shared));
        let (held, known) = restored.map_or((None, None), |restored| {
            let Restored { set, issuer, age, .. } = restored;
            let issuer = source.cluster.then_some(issuer);
            let held = Held { set: Arc::new(set), issuer, at: Instant::now(), age_then: age, restored: true };
            (Some(Arc::new(held)), source.jwks_uri.is_none().then_some(restored.location))
        });
        let client = client(&source.authorities, &shared);
        Arc::new(Self {
            client,
            max_age_ms: AtomicU64::new(millis(source.max_age)),
            source,
            shared,
            runtime,
            max_age_changed: Notify::new(),
            failed: Notify::new(),
            removed: CancellationToken::new(),
            held: ArcSwapOption::new(held),
            in_flight: AtomicBool::new(false),
            cooldown_until: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            fetched: AtomicBool::new(false),
            counts: Counts::default(),
            control: Mutex::new(Control { known, ..Control::default() }),
            gate: Arc::default(),
        })
    }

    /// Whether this slot is for that source; its `max_age` may differ.
    pub(super) fn serves(&self, source: &KeySetSource) -> bool {
        let KeySetSource { id, issuer, jwks_uri, max_age: _, authorities, cluster } = &self.source;
        let same = *id == source.id && *issuer == source.issuer && *jwks_uri == source.jwks_uri;
        same && *authorities == source.authorities && *cluster == source.cluster
    }

    /// The state for a decision: three atomic loads, in an order that never hides a fetch from somebody who could wait for it.
    pub(super) fn state(&self) -> KeyState {
        // A flight sets `in_flight` before the cooldown and publishes keys before it clears `in_flight`. Read the other way
        // around: an elapsed cooldown was allowed to start one; else a running one is seen; else its keys are.
        let cooled = self.cooled_down();
        let in_flight = self.in_flight.load(Ordering::SeqCst);
        let (keys, issuer) = self.in_force(|held| (held.set.clone(), held.issuer.clone())).unzip();
        let refreshable = in_flight || (cooled && keys.is_some());
        KeyState { refreshable, keys, failing: self.is_failing(), issuer: issuer.flatten() }
    }

    /// The keys, unless they are older than `max_age` and `max_stale` together.
    pub(super) fn keys_in_force(&self) -> Option<Arc<KeySet>> {
        self.in_force(|held| held.set.clone())
    }

    fn in_force<T>(&self, read: impl FnOnce(&Held) -> T) -> Option<T> {
        let held = self.held.load();
        let held = held.as_ref()?;
        let limit = self.max_age().saturating_add(self.shared.options.max_stale);
        (held.age() < limit).then(|| read(held))
    }

    fn cooled_down(&self) -> bool {
        self.shared.now_us() >= self.cooldown_until.load(Ordering::SeqCst)
    }

    /// Whether an unknown `kid` is worth a fetch now. Without any keys it is not: that set is being retried anyway.
    pub(super) fn may_ask_for_kid(&self) -> bool {
        self.cooled_down() && self.keys_in_force().is_some()
    }

    pub(super) fn begin_cooldown(&self) {
        let cooldown = u64::try_from(self.shared.options.unknown_kid_cooldown.as_micros()).unwrap_or(u64::MAX);
        self.cooldown_until.store(self.shared.now_us().saturating_add(cooldown), Ordering::SeqCst);
    }

    /// One attempt at newer keys.
    pub(super) async fn attempt(&self, cause: Cause) -> Result<Fetched, FetchError> {
        let options = &self.shared.options;
        if self.source.cluster {
            return cluster::attempt(options).await;
        }
        fetch::attempt(self.client.as_ref(), options, self.plan(cause)).await
    }

    /// Where the next flight looks.
    fn plan(&self, cause: Cause) -> Plan {
        let control = self.control.lock();
        Plan {
            issuer: self.source.issuer.clone(),
            configured: self.source.jwks_uri.clone(),
            known: control.known.clone(),
            pinned: control.pinned.clone(),
            rediscover: cause == Cause::Schedule,
        }
    }

    /// Puts fetched keys in force; what to write to disk.
    pub(super) fn accept(&self, fetched: Fetched) -> Record {
        let Fetched { set, body, location, issuer, discovered, warning } = fetched;
        let named = issuer.clone().unwrap_or_else(|| self.source.issuer.clone());
        let held = Held { set: Arc::new(set), issuer, at: Instant::now(), age_then: Duration::ZERO, restored: false };
        self.held.store(Some(Arc::new(held)));
        self.failing.store(false, Ordering::Release);
        let now = SystemTime::now();
        self.counts.ok.fetch_add(1, Ordering::Relaxed);
        self.counts.last_success.store(disk_time(now), Ordering::Relaxed);
        let record = Record::new(&self.source, &named, &location, now, body, self.gate.ticket());
        self.note(warning.as_ref());
        if self.source.jwks_uri.is_none() {
            let mut control = self.control.lock();
            // Only a location that has proved itself is pinned: a provider may correct one that never worked.
            if discovered {
                control.pinned = Origin::of_url(&location);
            }
            control.known = Some(location);
        }
        if !self.fetched.swap(true, Ordering::AcqRel) {
            self.shared.progress.send_replace(());
        }
        record
    }

    /// Keeps what is in force and says why nothing newer is.
    pub(super) fn reject(&self, error: &FetchError) {
        if self.removed.is_cancelled() {
            return;
        }
        self.failing.store(true, Ordering::Release);
        self.counts.error.fetch_add(1, Ordering::Relaxed);
        self.note(Some(error));
        self.failed.notify_one();
    }

    /// Remembers the newest error, and logs each change of it once: a retry a minute must not fill the log.
    fn note(&self, error: Option<&FetchError>) {
        let before = std::mem::replace(&mut self.control.lock().last_error, error.cloned());
        if before.as_ref() == error {
            return;
        }
        let (issuer, in_force) = (&*self.source.issuer, self.keys_in_force().is_some());
        if let Some(error) = error {
            tracing::warn!(issuer, %error, keys_in_force = in_force, "key set not up to date");
        } else {
            tracing::info!(issuer, "key set up to date again");
        }
    }

    /// Writes the file. A failure costs the restart, not the process.
    pub(super) async fn save(&self, record: Record) {
        let Some(store) = self.shared.store.clone() else { return };
        let gate = self.gate.clone();
        let written = self.runtime.spawn_blocking(move || store.save(&record, &gate)).await;
        if let Ok(Err(error)) = written {
            self.counts.unsaved.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(issuer = &*self.source.issuer, %error, "keys are in force but were not saved for a restart; check the data directory");
        }
    }

    /// Ends the slot: its flight is cut off, and its file is not written again.
    pub(super) fn end(&self) {
        self.gate.shut();
        self.removed.cancel();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.removed.is_cancelled() || self.shared.stopping.is_cancelled()
    }

    pub(super) fn set_max_age(&self, max_age: Duration) {
        if self.max_age_ms.swap(millis(max_age), Ordering::AcqRel) != millis(max_age) {
            self.max_age_changed.notify_one();
        }
    }

    pub(super) fn set_next_fetch(&self, due: Instant) {
        self.control.lock().next_fetch = Some(due);
    }

    /// The keys whatever their age, and whether they are fresh.
    pub(super) fn held(&self) -> Option<(Arc<Held>, bool)> {
        let held = self.held.load_full()?;
        let fresh = !held.restored && held.age() < self.max_age();
        Some((held, fresh))
    }

    pub(super) fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms.load(Ordering::Acquire))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    pub(super) fn was_fetched(&self) -> bool {
        self.fetched.load(Ordering::Acquire)
    }

    pub(super) fn id(&self) -> &KeySetId {
        &self.source.id
    }

    pub(super) fn issuer(&self) -> &str {
        &self.source.issuer
    }

    pub(super) fn jwks_uri(&self) -> Option<&str> {
        self.source.jwks_uri.as_deref()
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// Keys that were saved are another cluster's if they came from another server.
fn is_of_cluster(restored: &Restored, shared: &Shared) -> bool {
    shared.options.cluster.as_ref().is_some_and(|own| own.url(cluster::KEYS) == restored.location)
}

fn client(authorities: &Authorities, shared: &Shared) -> Result<Client, ClientError> {
    match authorities {
        Authorities::System => Ok(shared.client.clone()),
        Authorities::Missing => Err(ClientError::Certificates),
        Authorities::Own(bundle) => {
            let manner = Manner { authorities: Some(bundle.pem()), ..Manner::default() };
            let (networks, timeout) = (shared.options.networks.clone(), shared.options.connect_timeout);
            Client::with(networks, timeout, &manner)
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn disk_time(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
