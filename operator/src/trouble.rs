//! Troubles that are no policy's own: a kind that cannot be read, an object that makes no sense, a status that cannot be written.
//!
//! Each is a metric with bounded labels, and an Event: at the object where there is one, else at our own pod, where
//! `kubectl describe` shows it. Never part of readiness: what was in force is served on, and a replica that is taken away for an API
//! server's sake helps nobody. Must never hold up whoever has a trouble, nor say anything twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use authz::server::Registry;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Api, Client,
    runtime::events::{Event, EventType, Recorder},
};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

use crate::{
    api::{self, PATIENCE},
    watch::CallError,
};

/// Where troubles are told. Cheap to clone.
#[derive(Clone)]
pub struct Troubles {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    /// Sources of each kind that cannot be read at the moment.
    sources: Mutex<BTreeMap<&'static str, BTreeSet<usize>>>,
    /// Fields that the definition of each kind lacks, as they were told last.
    lacks: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
    news: mpsc::Sender<News>,
}

/// The task that writes Events.
pub struct Teller {
    client: Client,
    recorder: Recorder,
    namespace: String,
    pod: String,
    news: mpsc::Receiver<News>,
}

/// What an Event shall say.
struct News {
    /// `None`: it is about us.
    object: Option<ObjectReference>,
    good: bool,
    reason: &'static str,
    action: &'static str,
    note: String,
}

#[derive(Clone, Default)]
struct Metrics {
    failures: Family<Failure, Counter>,
    unread: Family<Kind, Gauge>,
    statuses: Family<Outcome, Counter>,
    lacks: Family<Kind, Gauge>,
    leading: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Events that may wait; more are left out, as the metrics and the log have them.
const WAITING: usize = 64;
/// Fields that are named.
const NAMED: usize = 10;

// === impl Troubles ===

impl Troubles {
    /// Events are about this pod of ours, where nothing else is to blame. The task must be run.
    pub fn new(client: Client, namespace: &str, pod: &str, registry: &mut Registry) -> (Self, Teller) {
        let (news, receiver) = mpsc::channel(WAITING);
        let metrics = Metrics::register(registry);
        let recorder = api::recorder(client.clone(), pod);
        let teller = Teller { client, recorder, namespace: namespace.to_owned(), pod: pod.to_owned(), news: receiver };
        let inner = Inner { metrics, sources: Mutex::default(), lacks: Mutex::default(), news };
        (Self { inner: Arc::new(inner) }, teller)
    }

    /// Sources of this kind are going to be followed: its series are there before its first trouble.
    pub fn followed(&self, kind: &'static str) {
        self.inner.metrics.failures.get_or_create(&Failure { kind, cause: "unreachable" }).inc_by(0);
        self.inner.metrics.unread.get_or_create(&Kind { kind }).inc_by(0);
    }

    /// A call for a list or a watch of this kind failed.
    pub fn failed(&self, kind: &'static str, cause: &'static str) {
        self.inner.metrics.failures.get_or_create(&Failure { kind, cause }).inc();
    }

    /// A source of this kind cannot be read (`Some`: why), or can again.
    pub fn source(&self, kind: &'static str, source: usize, why: Option<&str>) {
        {
            let mut sources = self.inner.sources.lock();
            let troubled = sources.entry(kind).or_default();
            let _: bool = if why.is_some() { troubled.insert(source) } else { troubled.remove(&source) };
            let count = i64::try_from(troubled.len()).unwrap_or(i64::MAX);
            self.inner.metrics.unread.get_or_create(&Kind { kind }).set(count);
        }
        let (reason, note) = match why {
            Some(why) => ("CannotRead", format!("{kind} cannot be read, and what is in force stays: {why}")),
            None => ("CanRead", format!("{kind} can be read again")),
        };
        self.tell(News { object: None, good: why.is_none(), reason, action: "Watch", note });
    }

    /// The cluster's definition of this kind lacks these fields of ours, or none.
    pub fn definition(&self, kind: &'static str, lacks: &BTreeSet<String>) {
        self.inner.metrics.lacks.get_or_create(&Kind { kind }).set(i64::try_from(lacks.len()).unwrap_or(i64::MAX));
        {
            let mut told = self.inner.lacks.lock();
            let told = told.entry(kind).or_default();
            if told == lacks {
                return;
            }
            told.clone_from(lacks);
        }
        let (good, reason, note) = if lacks.is_empty() {
            (true, "DefinitionComplete", format!("the definition of {kind} has every field again"))
        } else {
            let named: Vec<&str> = lacks.iter().take(NAMED).map(String::as_str).collect();
            let more = lacks.len() - named.len();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = named.join(", ");
            let note = format!(
                "the definition of {kind} is older than the operator, and what policies say in these fields is dropped before it is seen: \
                 {names}{rest}; upgrade the chart gatewright-crds"
            );
            warn!("{note}");
            (false, "DefinitionOlder", note)
        };
        self.tell(News { object: None, good, reason, action: "Read", note });
    }

    /// An object (`namespace/name`) of ours makes no sense, and its last version stays.
    pub fn malformed(&self, kind: &str, name: &str, why: &str) {
        let (namespace, name) = name.split_once('/').unwrap_or_default();
        let object = ObjectReference {
            api_version: Some(crds::v1alpha1::API_VERSION.to_owned()),
            kind: Some(kind.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        let note = format!("it cannot be read, and its last version stays in force: {why}");
        self.tell(News { object: Some(object), good: false, reason: "Malformed", action: "Read", note });
    }

    /// What became of the writing of a status.
    pub fn status(&self, result: &Result<(), CallError>) {
        let outcome = result.as_ref().map_or_else(CallError::cause, |()| "written");
        self.inner.metrics.statuses.get_or_create(&Outcome { outcome }).inc();
    }

    /// Whether this replica leads.
    pub fn leading(&self, leads: bool) {
        self.inner.metrics.leading.set(i64::from(leads));
    }

    fn tell(&self, news: News) {
        if self.inner.news.try_send(news).is_err() {
            debug!("an Event was left out");
        }
    }
}

// === impl Teller ===

impl Teller {
    /// Writes Events for as long as somebody tells. One that cannot be written is lost.
    pub async fn run(mut self) {
        while let Some(news) = self.news.recv().await {
            let event = Event {
                type_: if news.good { EventType::Normal } else { EventType::Warning },
                reason: news.reason.to_owned(),
                note: Some(api::note(&news.note)),
                action: news.action.to_owned(),
                secondary: None,
            };
            let written = async {
                let object = match news.object {
                    Some(object) => object,
                    None => self.pod().await,
                };
                self.recorder.publish(&event, &object).await
            };
            match timeout(PATIENCE, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an Event could not be written"),
                Err(_) => debug!("an Event could not be written in time"),
            }
        }
    }

    /// Ourselves. Without the uid `kubectl describe` would not find the Event.
    async fn pod(&self) -> ObjectReference {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = api.get_metadata(&self.pod).await.ok().and_then(|pod| pod.metadata.uid);
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.pod.clone()),
            uid,
            ..ObjectReference::default()
        }
    }
}

// === impl Metrics ===

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        own.statuses.get_or_create(&Outcome { outcome: "written" }).inc_by(0);
        let help = "Lists and watches that failed, by kind and cause";
        registry.register("gatewright_watch_failures", help, own.failures.clone());
        let help = "Sources (a kind in a namespace, or everywhere) that cannot be read at the moment";
        registry.register("gatewright_watch_unread", help, own.unread.clone());
        let help = "Statuses written, and those that could not be";
        registry.register("gatewright_status_writes", help, own.statuses.clone());
        let help = "Fields that the definition of a kind lacks: what is written into them is dropped";
        registry.register("gatewright_definition_lacks_fields", help, own.lacks.clone());
        registry.register("gatewright_leading", "Whether this replica leads", own.leading.clone());
        own
    }
}
