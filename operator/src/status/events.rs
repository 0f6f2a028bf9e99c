//! Events on transitions, for `kubectl describe`. Losing one loses nothing but a line.

use crds::documents::Kind;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder},
};
use tracing::debug;

use super::document::{condition, word};
use crate::{
    api,
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
    /// Why, for a person.
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
            note: Some(api::note(&transition.message)),
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
        if let Err(error) = self.0.publish(&event, &reference).await {
            debug!(%error, "an Event could not be written");
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
        message: said.message.clone(),
    })
    .collect()
}
