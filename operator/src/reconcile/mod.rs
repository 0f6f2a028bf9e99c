//! Objects of the cluster into force, in five phases.
//!
//! ```text
//!  dereference ─► validate ─► build ─► apply ─► status
//!  (what is read,  (the compile  (what each   (to every   (leader only)
//!   and what for)   of `check`)   status says) data plane)
//! ```
//!
//! Owns the order of the phases and the one loop that runs them: hosts are shared out among all policies, so there is no reconciling one
//! of them alone. Nothing is applied before everything that is watched was read once; one slow or broken object holds up only itself.

mod apply;
mod build;
mod dereference;
mod fetch;
mod held;
mod listing;
#[cfg(test)]
mod reads;
mod slots;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use std::time::Duration;

use authz::server::{Pending, PublishMetrics};
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::{Kind, ReferenceKind},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use apply::Sink;
pub use build::{Desired, Observed, Said};
pub(crate) use held::{kind, plural};

use self::{
    dereference::{Dereferenced, Store},
    fetch::Fetcher,
    validate::Validated,
};
use crate::{
    push::PACE,
    trouble::Troubles,
    watch::{Call, Change, Patience, Source, Told, follow},
};

/// What to watch, and how to compile it.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Namespaces of policies; empty: all of them.
    pub namespaces: Vec<String>,
    /// Namespaces whose Secrets and ConfigMaps are watched; empty: those of policies. Values elsewhere are read every 30 s.
    pub values: Vec<String>,
    /// How policies are compiled.
    pub options: Options,
    /// How long watches may be silent.
    pub patience: Patience,
}

/// Where statuses go, and where last good versions are kept.
pub trait Reports: Send {
    /// What each object's status shall say. Called whenever any of it may have changed; never waits.
    fn statuses(&mut self, desired: Vec<Desired>);
    /// The last good versions, when they changed.
    fn last_good(&mut self, last_good: &LastGood);
}

/// Something that happened.
enum Event {
    Objects(Kind, usize, Change),
    Values(ReferenceKind, usize, Change),
}

/// Statuses are worked out once nothing has changed for the first, and at the latest after the second: acknowledgements of a thousand
/// data planes are one change, and edits of a thousand policies are not each told to be on their way.
const STATUS_PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How often what waits for a reference is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Changes that may wait for the loop; then watches wait for it, and pages of a list do not pile up.
const WAITING: usize = 256;

/// The loop and what it keeps.
pub struct Reconciler<S, R> {
    store: Store,
    compiler: Compiler,
    sink: S,
    reports: R,
    fetcher: Fetcher,
    metrics: PublishMetrics,
    troubles: Troubles,
    /// Keeps readiness down until the first state was applied.
    starting: Option<Pending>,
    applied: Option<Applied>,
    kept: u64,
    /// When the next state may be worked out: the data planes take none earlier, and working it out for each edit of a thousand would
    /// take the time of the API server that tells of them.
    next: Instant,
}

/// Something that is done a while after the last reason for it, and in any case a longer while after the first.
#[derive(Default)]
struct Due {
    first: Option<Instant>,
    at: Option<Instant>,
}

/// The newest state that was handed to the data planes.
struct Applied {
    validated: Validated,
    number: u64,
}

/// What is watched.
const KINDS: [Kind; 2] = [Kind::AuthPolicy, Kind::DataSource];
const VALUES: [ReferenceKind; 2] = [ReferenceKind::Secret, ReferenceKind::ConfigMap];

// === impl Reconciler ===

impl<S: Sink, R: Reports> Reconciler<S, R> {
    /// Starts from the last good versions of before.
    pub fn new(
        call: Call,
        scope: &Scope,
        last_good: LastGood,
        sink: S,
        reports: R,
        (metrics, troubles): (PublishMetrics, Troubles),
        starting: Pending,
    ) -> Self {
        let mut store = Store::new(scope.namespaces.len().max(1), scope.watched_values().to_vec());
        store.keep(&crds::compile::references_of_last_good(&last_good));
        Self {
            store,
            compiler: Compiler::new(scope.options.clone(), last_good),
            sink,
            reports,
            fetcher: Fetcher::new(call),
            metrics,
            troubles,
            starting: Some(starting),
            applied: None,
            kept: 0,
            next: Instant::now(),
        }
    }

    /// Runs until a watch ends, which is a bug: whoever called ends with it.
    pub async fn run(mut self, call: Call, scope: &Scope, mut standings: watch::Receiver<u64>) -> &'static str {
        let (told, mut events) = mpsc::channel(WAITING);
        let mut watches = watches(&call, scope, &self.troubles, &told);
        let (mut look, mut statuses, mut reconcile) = (Instant::now() + LOOK, Due::default(), None);
        loop {
            let changed = tokio::select! {
                Some(event) = events.recv() => {
                    self.take(event);
                    while let Ok(event) = events.try_recv() {
                        self.take(event);
                    }
                    true
                }
                fetched = self.fetcher.next() => {
                    self.store.fetched(fetched);
                    while let Some(fetched) = self.fetcher.ready() {
                        self.store.fetched(fetched);
                    }
                    true
                }
                moved = standings.changed() => {
                    if moved.is_err() {
                        return "push";
                    }
                    statuses.touch(Instant::now());
                    false
                }
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    self.store.look(Instant::now())
                }
                () = until(reconcile) => {
                    reconcile = None;
                    if self.reconcile() {
                        statuses.touch(Instant::now());
                    }
                    false
                }
                () = until(statuses.at) => {
                    statuses = Due::default();
                    self.statuses();
                    false
                }
                Some(_) = watches.join_next() => return "watch",
            };
            if changed {
                reconcile.get_or_insert(self.next);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Objects(kind, source, change) => {
                self.note(held::plural(kind), source, &change);
                self.store.objects(kind, source, change);
                for (kind, name) in std::mem::take(&mut self.store.malformed) {
                    self.troubles.malformed(held::kind(kind), &name, "it has no metadata.uid");
                }
            }
            Event::Values(kind, source, change) => {
                self.note(slots::plural(kind), source, &change);
                self.store.values(kind, source, change);
            }
        }
    }

    fn note(&self, kind: &'static str, source: usize, change: &Change) {
        match change {
            Change::Trouble(why) => self.troubles.source(kind, source, Some(why)),
            Change::Well => self.troubles.source(kind, source, None),
            Change::Begins | Change::Put(_) | Change::Gone(_) | Change::Ends => {}
        }
    }

    /// The phases, as far as they can be gone. Whether statuses may have changed.
    fn reconcile(&mut self) -> bool {
        let now = Instant::now();
        for wanted in self.store.wanted(now) {
            self.fetcher.fetch(wanted);
        }
        let Some(Dereferenced { objects, changed }) = self.store.dereference(now) else { return false };
        if changed {
            self.next = now + PACE;
            // Milliseconds of work, at most hundreds of them: not on a thread that others wait for.
            let validated = tokio::task::block_in_place(|| validate::validate(&mut self.compiler, objects));
            let (rejected, total) = (validated.rejected(), validated.verdicts().len());
            let number = apply::apply(&self.sink, &validated);
            self.metrics.published(total - rejected, rejected, self.store.unreadable());
            let refused = validated.pushed().iter().filter(|one| !one.newest);
            self.store.keep(refused.flat_map(|one| &one.references));
            self.applied = Some(Applied { validated, number });
            let changes = self.compiler.last_good().changes();
            if self.kept != changes {
                self.kept = changes;
                self.reports.last_good(self.compiler.last_good());
            }
            self.starting = None;
        }
        true
    }

    fn statuses(&mut self) {
        let Some(applied) = &self.applied else { return };
        // What data planes said of the state before says nothing of this one: its publication, a moment away, moves the standings, and
        // nobody's status flaps meanwhile.
        if self.sink.published() < applied.number {
            return;
        }
        let desired = build::build(&applied.validated, &self.store, Some(&self.sink.standings()));
        self.reports.statuses(desired);
    }
}

// === impl Due ===

impl Due {
    fn touch(&mut self, now: Instant) {
        let first = *self.first.get_or_insert(now);
        self.at = Some((now + STATUS_PACE.0).min(first + STATUS_PACE.1));
    }
}

impl Scope {
    fn watched_values(&self) -> &[String] {
        if self.values.is_empty() { &self.namespaces } else { &self.values }
    }
}

/// The beginnings of paths: one for each namespace, or one for all.
fn places(namespaces: &[String]) -> Vec<String> {
    if namespaces.is_empty() {
        return vec![String::new()];
    }
    namespaces.iter().map(|namespace| format!("/namespaces/{namespace}")).collect()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// One watch a kind and namespace, each a task of its own: a slow one holds up no other.
fn watches(call: &Call, scope: &Scope, troubles: &Troubles, told: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for (index, place) in places(&scope.namespaces).iter().enumerate() {
        for kind in KINDS {
            let plural = held::plural(kind);
            let path = format!("/apis/gatewright.dev/v1alpha1{place}/{plural}");
            let source = Source { kind: plural, path, metadata_only: false };
            let told = Told::new(told.clone(), move |change| Event::Objects(kind, index, change));
            watches.spawn(follow(call.clone(), source, scope.patience, troubles.clone(), told));
        }
    }
    for (index, place) in places(scope.watched_values()).iter().enumerate() {
        for kind in VALUES {
            let plural = slots::plural(kind);
            let path = format!("/api/v1{place}/{plural}");
            let source = Source { kind: plural, path, metadata_only: true };
            let told = Told::new(told.clone(), move |change| Event::Values(kind, index, change));
            watches.spawn(follow(call.clone(), source, scope.patience, troubles.clone(), told));
        }
    }
    watches
}
