//! Events on transitions, for `kubectl describe`. Losing one loses nothing but a line.
//!
//! Owns their way to the API server, beside that of statuses. Must never hold up a status.

use std::{sync::Arc, time::Duration};

use crds::documents::Kind;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder},
};
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use super::{
    Gate,
    document::{condition, word},
};
use crate::{
    api::{self, answer},
    reconcile::{Desired, kind},
};

/// A condition that changed its mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which kind of object.
    pub kind: Kind,
    /// `namespace/name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it is good news.
    pub good: bool,
    /// The condition's type.
    pub condition: &'static str,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person: as much of it as an Event holds.
    pub message: String,
}

/// Where Events go.
#[tonic::async_trait]
pub trait EventSink: Send + Sync {
    /// Publishes one. A failure is logged and forgotten.
    async fn publish(&self, transition: &Transition);
}

/// The API server's Events.
pub struct KubeEvents(Recorder);

/// Where Events are left, and when each was. Cheap to clone.
#[derive(Clone)]
pub(super) struct News(mpsc::Sender<(Instant, Transition)>);

/// The task that publishes them, one after the other.
pub(super) struct Teller {
    sink: Arc<dyn EventSink>,
    gate: Arc<dyn Gate>,
    news: mpsc::Receiver<(Instant, Transition)>,
}

/// Events that may wait; more are left out.
const WAITING: usize = 512;
/// One that waited longer is left out: it may not be true any more.
const LATE: Duration = Duration::from_mins(1);

// === impl KubeEvents ===

impl KubeEvents {
    /// Reports as this instance.
    pub fn new(client: Client, instance: &str) -> Self {
        Self(api::recorder(client, instance))
    }
}

#[tonic::async_trait]
impl EventSink for KubeEvents {
    async fn publish(&self, transition: &Transition) {
        let event = Event {
            type_: if transition.good { EventType::Normal } else { EventType::Warning },
            reason: transition.reason.clone(),
            note: Some(transition.message.clone()),
            action: transition.condition.to_owned(),
            secondary: None,
        };
        let (namespace, name) = transition.name.split_once('/').unwrap_or_default();
        let reference = ObjectReference {
            api_version: Some(crds::v1alpha1::API_VERSION.to_owned()),
            kind: Some(kind(transition.kind).to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(transition.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = answer(self.0.publish(&event, &reference)).await {
            debug!(error = error.text(), "an Event could not be written");
        }
    }
}

/// A place for Events, and the task that publishes them while `gate` is open.
pub(super) fn queue(sink: Arc<dyn EventSink>, gate: Arc<dyn Gate>) -> (News, Teller) {
    let (sender, news) = mpsc::channel(WAITING);
    (News(sender), Teller { sink, gate, news })
}

// === impl News ===

impl News {
    /// Never waits.
    pub(super) fn tell(&self, transition: Transition) {
        if self.0.try_send((Instant::now(), transition)).is_err() {
            debug!("an Event was left out");
        }
    }
}

// === impl Teller ===

impl Teller {
    /// Publishes for as long as somebody tells.
    pub(super) async fn run(mut self) {
        while let Some((since, transition)) = self.news.recv().await {
            if since.elapsed() < LATE && self.gate.may_write() {
                self.sink.publish(&transition).await;
            }
        }
    }
}

/// What is new in what shall be said. A condition on its way is no news: only where it arrives.
pub(super) fn transitions(desired: &Desired) -> Vec<Transition> {
    let news = desired.conditions.iter().filter(|said| {
        let before = condition(&desired.observed.status, said.kind);
        let text = |name: &str| before.and_then(|before| before.get(name)).and_then(serde_json::Value::as_str);
        let same = text("status") == Some(word(said.status)) && text("reason") == Some(&*said.reason);
        !same && said.status.is_some() && said.reason != "Reconciling" && said.reason != "Lagging"
    });
    news.map(|said| Transition {
        kind: desired.kind,
        name: desired.name.to_string(),
        uid: desired.observed.uid.clone(),
        good: said.status == Some(true),
        condition: said.kind,
        reason: said.reason.clone(),
        message: api::note(&said.message),
    })
    .collect()
}
