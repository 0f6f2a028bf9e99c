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
mod due;
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
    due::Due,
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
    /// Edits are under way: what is not written yet waits for the next [`Reports::statuses`], which soon comes.
    fn hold(&mut self);
    /// The last good versions, when they changed.
    fn last_good(&mut self, last_good: &LastGood);
}

/// Something that happened.
enum Event {
    Objects(Kind, usize, Change),
    Values(ReferenceKind, usize, Change),
}

/// A state costs as much as so many edits of it, and each of them: near enough to begin in time.
const AT_REST: u32 = 10;
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
    /// How long it takes to work out one edit of a state.
    an_edit: Duration,
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
            an_edit: Duration::ZERO,
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
                    statuses.news(Instant::now());
                    false
                }
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    self.store.look(Instant::now())
                }
                () = until(reconcile) => {
                    reconcile = None;
                    match self.reconcile() {
                        Some(true) => statuses.news(Instant::now()),
                        Some(false) => statuses.echo(Instant::now()),
                        None => {}
                    }
                    false
                }
                () = until(statuses.at()) => {
                    if statuses.is_now(Instant::now(), self.store.edits() > 0) && self.statuses() {
                        statuses.done();
                    }
                    false
                }
                Some(_) = watches.join_next() => return "watch",
            };
            if changed {
                reconcile = Some(self.begin());
                if self.store.edits() > 0 && statuses.may_wait() {
                    self.reports.hold();
                }
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

    /// When to begin with the next state: as late as it can be, as what changes meanwhile is part of the one after. Not for each edit of a
    /// thousand, which would take the time of the API server that tells of them.
    fn begin(&self) -> Instant {
        let takes = self.an_edit.saturating_mul(AT_REST + self.store.edits());
        self.sink.begin(takes.min(PACE))
    }

    /// The phases, as far as they can be gone. Whether anything that decides has changed; `None`: statuses have not either.
    fn reconcile(&mut self) -> Option<bool> {
        let (now, edits) = (Instant::now(), self.store.edits());
        for wanted in self.store.wanted(now) {
            self.fetcher.fetch(wanted);
        }
        let Dereferenced { objects, changed } = self.store.dereference(now)?;
        if changed {
            // Milliseconds of work, at most hundreds of them: not on a thread that others wait for.
            let validated = tokio::task::block_in_place(|| validate::validate(&mut self.compiler, objects));
            let (rejected, total) = (validated.rejected(), validated.verdicts().len());
            let number = apply::apply(&self.sink, &validated);
            self.an_edit = (self.an_edit + now.elapsed() / (AT_REST + edits)) / 2;
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
        Some(changed)
    }

    /// Whether they are worked out.
    fn statuses(&mut self) -> bool {
        let Some(applied) = &self.applied else { return true };
        // What data planes said of the state before says nothing of this one: its publication, a moment away, moves the standings, and
        // nobody's status flaps meanwhile.
        if self.sink.published() < applied.number {
            return false;
        }
        let desired = build::build(&applied.validated, &self.store, Some(&self.sink.standings()));
        self.reports.statuses(desired);
        true
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
