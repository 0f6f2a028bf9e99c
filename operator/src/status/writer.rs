//! The task that writes. It always has the newest wish of each object, and forgets older ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crds::documents::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use super::{
    EventSink, Gate, Wanted, document,
    events::{self, News},
    pace::Pace,
};
use crate::{
    api::MANAGER,
    reconcile::{Desired, kind, plural},
    trouble::Troubles,
    watch::{Backoff, Call, CallError},
};

/// Writes under way at once. Few: an API server that writes statuses as fast as it can tells late of the edits that they are about.
const CONCURRENT: usize = 2;
/// Writes in a row that fail because of the server, after which the others are not tried for a while.
const REFUSED: usize = 8;
/// Somebody who writes other words into our fields is answered at most this often.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether this process may write now, and whether anything that waits is due.
const LOOK: Duration = Duration::from_millis(500);
/// The same when nothing waits.
const IDLE: Duration = Duration::from_secs(30);
/// First and longest pause while the server takes nothing at all.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Of an object.
type Key = (Kind, Arc<str>);

/// Where wishes are left.
#[derive(Clone)]
pub struct Statuses {
    wishes: watch::Sender<Wishes>,
}

/// Every wish, and whether they wait for newer ones.
#[derive(Clone, Default)]
struct Wishes {
    wanted: Arc<Wanted>,
    held: bool,
}

/// The task.
pub struct Writer {
    call: Call,
    gate: Arc<dyn Gate>,
    events: Arc<dyn EventSink>,
    troubles: Troubles,
    wishes: watch::Receiver<Wishes>,
    /// What was written last, and when: until the watch shows it, it is not written again.
    written: BTreeMap<Key, Written>,
    /// Between passes while the server takes nothing.
    backoff: Backoff,
}

struct Written {
    uid: String,
    status: Value,
    at: Instant,
    failed: bool,
    pace: Pace,
}

/// What a pass left.
enum Left {
    /// Nothing.
    Nothing,
    /// Something that is not due yet, or failed.
    Something,
    /// The server takes nothing from anybody, and may have asked for a pause.
    Away(Option<Duration>),
}

/// What became of the writes of a pass.
#[derive(Default)]
struct Results {
    done: HashMap<Key, Outcome>,
    /// Failures of the server in a row, and the longest pause it asked for.
    refused: usize,
    asked: Option<Duration>,
}

/// A write that ended.
struct Done {
    result: Result<(), CallError>,
    desired: Desired,
    status: Value,
}

struct Outcome {
    uid: String,
    status: Value,
    failed: bool,
    /// The pause that the server asked for.
    asked: Option<Duration>,
}

// === impl Statuses ===

impl Statuses {
    /// A place for wishes, and the task that fulfils them.
    pub fn new(call: Call, gate: Arc<dyn Gate>, events: Arc<dyn EventSink>, troubles: Troubles) -> (Self, Writer) {
        let (sender, wishes) = watch::channel(Wishes::default());
        let (written, backoff) = (BTreeMap::new(), Backoff::new(PAUSES.0, PAUSES.1));
        (Self { wishes: sender }, Writer { call, gate, events, troubles, wishes, written, backoff })
    }

    /// Replaces every wish.
    pub fn wish(&self, desired: Vec<Desired>) {
        let wanted: Wanted = desired.into_iter().map(|one| ((one.kind, one.name.clone()), one)).collect();
        self.wishes.send_replace(Wishes { wanted: Arc::new(wanted), held: false });
    }

    /// No write begins before the next [`Self::wish`].
    pub fn hold(&self) {
        self.wishes.send_if_modified(|wishes| !std::mem::replace(&mut wishes.held, true));
    }
}

// === impl Writer ===

impl Writer {
    /// Writes for as long as anybody wishes, and tells of it beside: an Event that hangs holds up no status.
    pub async fn run(self) {
        let (news, teller) = events::queue(self.events.clone(), self.gate.clone());
        tokio::select! {
            () = self.statuses(&news) => {}
            () = teller.run() => {}
        }
    }

    async fn statuses(mut self, news: &News) {
        loop {
            let left = if self.gate.may_write() {
                let wishes = self.wishes.borrow_and_update().clone();
                if wishes.held { Left::Nothing } else { self.pass(&wishes.wanted, news).await }
            } else {
                // What another leader writes meanwhile is not ours to remember.
                self.written.clear();
                Left::Something
            };
            let pause = match left {
                Left::Nothing => IDLE,
                Left::Something => LOOK,
                Left::Away(asked) => {
                    // Whatever is wished meanwhile: nobody would take it.
                    sleep(self.backoff.pause(asked)).await;
                    continue;
                }
            };
            self.backoff.reset();
            tokio::select! {
                changed = self.wishes.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// One pass over all wishes.
    async fn pass(&mut self, wanted: &Arc<Wanted>, news: &News) -> Left {
        self.written.retain(|key, _| wanted.contains_key(key));
        let (due, mut left) = self.due(wanted);
        let mut writes = JoinSet::new();
        let mut results = Results::default();
        for (key, status) in due {
            while writes.len() >= CONCURRENT {
                self.note(&mut results, writes.join_next().await);
            }
            // Before each: a pass over thousands may outlast the lease and the server's patience, and what it says may be old.
            if results.refused >= REFUSED || !self.gate.may_write() || self.wishes.has_changed().unwrap_or(true) {
                left = true;
                break;
            }
            let Some(desired) = wanted.get(&key).cloned() else { continue };
            let (call, news) = (self.call.clone(), news.clone());
            writes.spawn(async move {
                let result = write(&call, &news, &desired, &status).await;
                Done { result, desired, status }
            });
        }
        while !writes.is_empty() {
            self.note(&mut results, writes.join_next().await);
        }
        let (refused, asked) = (results.refused, results.asked);
        for (key, outcome) in results.done {
            left |= outcome.failed;
            self.remember(key, outcome);
        }
        match (refused >= REFUSED, left) {
            (true, _) => Left::Away(asked),
            (false, true) => Left::Something,
            (false, false) => Left::Nothing,
        }
    }

    /// What is to be written now, and whether anything has to wait. The newest edit first: whoever made it alone may be looking.
    fn due(&self, wanted: &Wanted) -> (Vec<(Key, Value)>, bool) {
        let (now, mut due, mut waits) = (Instant::now(), Vec::new(), false);
        for (key, desired) in wanted {
            let Some(status) = document::status(desired, Timestamp::now()) else { continue };
            match self.written.get(key) {
                Some(written) if !written.is_due(desired, &status, now) => waits = true,
                _ => due.push((key.clone(), status)),
            }
        }
        due.sort_by_key(|(key, _)| Reverse(wanted.get(key).map(|desired| desired.since)));
        (due, waits)
    }

    /// What became of a write.
    fn note(&self, results: &mut Results, done: Option<Result<Done, tokio::task::JoinError>>) {
        let Some(Ok(Done { result, desired, status })) = done else { return };
        self.troubles.status(&result);
        let asked = result.as_ref().err().and_then(CallError::retry_after);
        match &result {
            Err(error) if error.is_of_server() => {
                results.refused += 1;
                results.asked = results.asked.max(asked);
            }
            Ok(()) | Err(_) => results.refused = 0,
        }
        let failed = match &result {
            Ok(()) => false,
            // Gone, or another object by now: the watch will say so.
            Err(error) if matches!(error.status(), Some(404 | 409)) => {
                debug!(object = &*desired.name, %error, "a status was not written");
                false
            }
            Err(error) => {
                warn!(object = &*desired.name, %error, "a status could not be written");
                true
            }
        };
        let outcome = Outcome { uid: desired.observed.uid.clone(), status, failed, asked };
        results.done.insert((desired.kind, desired.name.clone()), outcome);
    }

    fn remember(&mut self, key: Key, outcome: Outcome) {
        let Outcome { uid, status, failed, asked } = outcome;
        let at = Instant::now();
        // Whoever deletes an object and makes it anew does not make it a new budget.
        let mut pace = self.written.remove(&key).map_or_else(|| Pace::new(at), |written| written.pace);
        if failed {
            pace.failed(at, asked);
        } else {
            pace.wrote(at);
        }
        self.written.insert(key, Written { uid, status, at, failed, pace });
    }
}

// === impl Written ===

impl Written {
    /// Whether a wish that was written before is written again.
    fn is_due(&self, desired: &Desired, status: &Value, now: Instant) -> bool {
        let news = self.uid != desired.observed.uid || !same_but_times(&self.status, status);
        self.pace.may(now) && (news || self.failed || now - self.at >= AGAIN)
    }
}

async fn write(call: &Call, news: &News, desired: &Desired, status: &Value) -> Result<(), CallError> {
    let (namespace, name) = desired.name.split_once('/').unwrap_or_default();
    let plural = plural(desired.kind);
    let path = format!(
        "/apis/gatewright.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}/status?fieldManager={MANAGER}&force=true"
    );
    let body = json!({
        "apiVersion": crds::v1alpha1::API_VERSION,
        "kind": kind(desired.kind),
        // API servers compare no uid in a status: an object that was made anew is told this for a moment, and its own with the next pass.
        "metadata": {"name": name, "namespace": namespace},
        "status": status,
    });
    call.patch(&path, "application/apply-patch+yaml", &body).await?;
    events::transitions(desired).into_iter().for_each(|transition| news.tell(transition));
    Ok(())
}

fn same_but_times(one: &Value, other: &Value) -> bool {
    let without = |status: &Value| {
        let mut status = status.clone();
        for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(members) = condition.as_object_mut() {
                members.remove("lastTransitionTime");
            }
        }
        status
    };
    without(one) == without(other)
}
