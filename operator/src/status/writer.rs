//! The task that writes. It always has the newest wish of each object, and forgets older ones.

use std::{
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

use super::{EventSink, Gate, Wanted, document, events};
use crate::{
    reconcile::Desired,
    trouble::Troubles,
    watch::{Call, CallError},
};

/// Our name as a manager of fields.
pub(super) const MANAGER: &str = "gatewright-operator";
/// Writes under way at once. Few: an API server that writes statuses as fast as it can tells late of the edits that they are about.
const CONCURRENT: usize = 2;
/// Somebody who writes other words into our fields is answered at most this often.
const AGAIN: Duration = Duration::from_secs(10);
/// How soon what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether this process may write now.
const LOOK: Duration = Duration::from_millis(500);

/// Where wishes are left.
#[derive(Clone)]
pub struct Statuses {
    wanted: watch::Sender<Arc<Wanted>>,
}

/// The task.
pub struct Writer {
    call: Call,
    gate: Arc<dyn Gate>,
    events: Arc<dyn EventSink>,
    troubles: Troubles,
    wanted: watch::Receiver<Arc<Wanted>>,
    /// What was written last, and when: until the watch shows it, it is not written again.
    written: BTreeMap<(Kind, Arc<str>), Written>,
}

struct Written {
    uid: String,
    status: Value,
    at: Instant,
    failed: bool,
}

// === impl Statuses ===

impl Statuses {
    /// A place for wishes, and the task that fulfils them.
    pub fn new(call: Call, gate: Arc<dyn Gate>, events: Arc<dyn EventSink>, troubles: Troubles) -> (Self, Writer) {
        let (sender, wanted) = watch::channel(Arc::default());
        (Self { wanted: sender }, Writer { call, gate, events, troubles, wanted, written: BTreeMap::new() })
    }

    /// Replaces every wish.
    pub fn wish(&self, desired: Vec<Desired>) {
        let wanted = desired.into_iter().map(|one| ((one.kind, one.name.clone()), one)).collect();
        self.wanted.send_replace(Arc::new(wanted));
    }
}

// === impl Writer ===

impl Writer {
    /// Writes for as long as anybody wishes.
    pub async fn run(mut self) {
        loop {
            let more = if self.gate.may_write() {
                let wanted = self.wanted.borrow_and_update().clone();
                self.pass(&wanted).await
            } else {
                // What another leader writes meanwhile is not ours to remember.
                self.written.clear();
                true
            };
            let pause = if more { LOOK } else { RETRY * 30 };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// One pass over all wishes. Whether anything is left to do.
    async fn pass(&mut self, wanted: &Arc<Wanted>) -> bool {
        self.written.retain(|key, _| wanted.contains_key(key));
        let (now, mut left) = (Instant::now(), false);
        let mut writes = JoinSet::new();
        let mut due: Vec<(&(Kind, Arc<str>), Value)> = Vec::new();
        for (key, desired) in wanted.iter() {
            let Some(status) = document::status(desired, Timestamp::now()) else { continue };
            match self.written.get(key) {
                Some(written) if !Self::is_due(written, desired, &status, now) => left = true,
                _ => due.push((key, status)),
            }
        }
        let mut results = HashMap::new();
        for (key, status) in due {
            while writes.len() >= CONCURRENT {
                self.note(&mut results, writes.join_next().await);
            }
            // Before each: a pass over thousands may outlast the lease, and what it says may be old.
            if !self.gate.may_write() || self.wanted.has_changed().unwrap_or(true) {
                left = true;
                break;
            }
            let Some(desired) = wanted.get(key).cloned() else { continue };
            let (call, events) = (self.call.clone(), self.events.clone());
            writes.spawn(async move { (write(&call, &*events, &desired, &status).await, desired, status) });
        }
        while !writes.is_empty() {
            self.note(&mut results, writes.join_next().await);
        }
        for (key, (uid, status, failed)) in results {
            left |= failed;
            self.written.insert(key, Written { uid, status, at: Instant::now(), failed });
        }
        left
    }

    /// What became of a write.
    fn note(
        &self,
        results: &mut HashMap<(Kind, Arc<str>), (String, Value, bool)>,
        done: Option<Result<Result3, tokio::task::JoinError>>,
    ) {
        let Some(Ok((result, desired, status))) = done else { return };
        self.troubles.status(&result);
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
        results.insert((desired.kind, desired.name.clone()), (desired.observed.uid.clone(), status, failed));
    }

    /// Whether a wish that was written before is written again.
    fn is_due(written: &Written, desired: &Desired, status: &Value, now: Instant) -> bool {
        if written.uid != desired.observed.uid || !same_but_times(&written.status, status) {
            return !written.failed || now - written.at >= RETRY;
        }
        now - written.at >= if written.failed { RETRY } else { AGAIN }
    }
}

type Result3 = (Result<(), CallError>, Desired, Value);

async fn write(call: &Call, events: &dyn EventSink, desired: &Desired, status: &Value) -> Result<(), CallError> {
    let (namespace, name) = desired.name.split_once('/').unwrap_or_default();
    let plural = match desired.kind {
        Kind::AuthPolicy => "authpolicies",
        Kind::DataSource => "datasources",
    };
    let path = format!(
        "/apis/gatewright.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}/status?fieldManager={MANAGER}&force=true"
    );
    let body = json!({
        "apiVersion": crds::v1alpha1::API_VERSION,
        "kind": events::kind(desired.kind),
        // API servers compare no uid in a status: an object that was made anew is told this for a moment, and its own with the next pass.
        "metadata": {"name": name, "namespace": namespace},
        "status": status,
    });
    call.patch(&path, "application/apply-patch+yaml", &body).await?;
    for transition in events::transitions(desired) {
        events.publish(&transition).await;
    }
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
