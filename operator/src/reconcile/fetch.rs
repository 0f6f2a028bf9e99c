//! The content of referenced Secrets and ConfigMaps: read by name, or by the labels that a policy selects, and nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use crds::{
    documents::{ReferenceKind, SharedValues},
    secret::Secret,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until},
};

use super::{held, slots};
use crate::watch::{Backoff, Call, CallError};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Wanted {
    /// One object.
    Named {
        /// Which kind.
        kind: ReferenceKind,
        /// `namespace/name`.
        name: String,
    },
    /// The Secrets of a namespace with these labels.
    Selected {
        /// The namespace.
        namespace: String,
        /// `name=value,…`, sorted.
        labels: String,
    },
}

/// What one object holds, and which version of it that is.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) values: SharedValues,
    pub(super) version: String,
    pub(super) uid: String,
}

/// What came of a read.
#[derive(Debug)]
pub(super) enum Fetched {
    /// Of a named one; `None`: it is not there.
    Named(ReferenceKind, String, Result<Option<Content>, CallError>),
    /// Of a selection, by name.
    Selected(Wanted, Result<BTreeMap<String, Content>, CallError>),
}

/// Reads in the background, a bounded number at once.
pub(super) struct Fetcher {
    call: Call,
    slots: Arc<Semaphore>,
    rest: Arc<Rest>,
    sender: mpsc::UnboundedSender<Fetched>,
    results: mpsc::UnboundedReceiver<Fetched>,
}

/// A pause for all reads: of a server that takes no call, twenty thousand of them are not asked one by one.
struct Rest {
    state: Mutex<Refusals>,
}

/// How the server has refused of late.
struct Refusals {
    backoff: Backoff,
    /// How many in a row, and since when.
    row: u32,
    since: Instant,
    /// When the rest is over.
    until: Instant,
}

/// Reads at once.
const CONCURRENT: usize = 32;
/// So many refusals in a row within a second are the server's and not that of one broken Secret.
const ROW: (u32, Duration) = (8, Duration::from_secs(1));
/// First and longest rest.
const RESTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Secrets a page of a selection: each may hold a megabyte.
const PAGE: usize = 50;

// === impl Fetcher ===

impl Fetcher {
    pub(super) fn new(call: Call) -> Self {
        let (sender, results) = mpsc::unbounded_channel();
        Self { call, slots: Semaphore::new(CONCURRENT).into(), rest: Rest::new().into(), sender, results }
    }

    /// Reads it after `pause`.
    pub(super) fn fetch(&self, (wanted, pause): (Wanted, Duration)) {
        let (call, slots, sender) = (self.call.clone(), self.slots.clone(), self.sender.clone());
        let rest = self.rest.clone();
        tokio::spawn(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let Ok(_slot) = slots.acquire().await else { return };
            rest.over().await;
            let fetched = match wanted {
                Wanted::Named { kind, name } => {
                    let content = named(&call, kind, &name).await;
                    rest.note(content.as_ref().err());
                    Fetched::Named(kind, name, content)
                }
                Wanted::Selected { ref namespace, ref labels } => {
                    let found = selected(&call, namespace, labels).await;
                    rest.note(found.as_ref().err());
                    Fetched::Selected(wanted, found)
                }
            };
            drop(sender.send(fetched));
        });
    }

    /// The next result. Never ends: this holds a sender.
    pub(super) async fn next(&mut self) -> Fetched {
        match self.results.recv().await {
            Some(fetched) => fetched,
            None => std::future::pending().await,
        }
    }

    /// One more that is there already.
    pub(super) fn ready(&mut self) -> Option<Fetched> {
        self.results.try_recv().ok()
    }
}

// === impl Rest ===

impl Rest {
    fn new() -> Self {
        let (backoff, now) = (Backoff::new(RESTS.0, RESTS.1), Instant::now());
        Self { state: Mutex::new(Refusals { backoff, row: 0, since: now, until: now }) }
    }

    async fn over(&self) {
        let until = self.state.lock().until;
        sleep_until(until).await;
    }

    /// What came of a read. An error that is about what was read keeps nobody else.
    fn note(&self, error: Option<&CallError>) {
        let (now, mut state) = (Instant::now(), self.state.lock());
        let Some(error) = error.filter(|error| error.is_of_server()) else {
            state.backoff.reset();
            state.row = 0;
            return;
        };
        if state.row == 0 || now - state.since > ROW.1 {
            (state.row, state.since) = (0, now);
        }
        state.row += 1;
        // Those that were under way together are one refusal.
        if state.row >= ROW.0 && state.until <= now {
            state.until = now + state.backoff.pause(error.retry_after());
            state.row = 0;
        }
    }
}

async fn named(call: &Call, kind: ReferenceKind, name: &str) -> Result<Option<Content>, CallError> {
    let (namespace, own) = name.split_once('/').unwrap_or(("", name));
    let plural = slots::plural(kind);
    match call.get(&format!("/api/v1/namespaces/{namespace}/{plural}/{own}"), "application/json").await {
        Ok(object) => Ok(Some(content(kind, &object))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn selected(call: &Call, namespace: &str, labels: &str) -> Result<BTreeMap<String, Content>, CallError> {
    let mut found = BTreeMap::new();
    let mut token = String::new();
    loop {
        let selector = crate::watch::encoded(labels);
        let path = format!("/api/v1/namespaces/{namespace}/secrets?limit={PAGE}&labelSelector={selector}{token}");
        let page = call.get(&path, "application/json").await?;
        let items = page.get("items").and_then(Value::as_array);
        let Some(items) = items else { return Err(CallError::Unreadable { what: "the list of Secrets".to_owned() }) };
        for item in items {
            if let Some(name) = held::name(item) {
                found.insert(name.to_string(), content(ReferenceKind::Secret, item));
            }
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str).filter(|next| !next.is_empty()) {
            Some(next) => token = format!("&continue={}", crate::watch::encoded(next)),
            None => return Ok(found),
        }
    }
}

/// The API server checked the base64; were it wrong all the same, the entry is there and unfit, never absent.
pub(super) fn content(kind: ReferenceKind, object: &Value) -> Content {
    let members = |field: &str| object.get(field).and_then(Value::as_object).into_iter().flatten();
    let (plain, coded) = match kind {
        ReferenceKind::Secret => ("stringData", "data"),
        ReferenceKind::ConfigMap => ("data", "binaryData"),
    };
    let coded = members(coded).map(|(key, value)| {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        (key.clone(), bytes.map(Secret::new).ok_or_else(|| format!("the entry `{key}` is not base64")))
    });
    let plain = members(plain).map(|(key, value)| {
        let text = value.as_str().map(|text| Secret::new(text.as_bytes()));
        (key.clone(), text.ok_or_else(|| format!("the entry `{key}` is not text")))
    });
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Content {
        values: SharedValues::new(labels, coded.chain(plain).collect::<Vec<_>>()),
        version: text("/metadata/resourceVersion"),
        uid: text("/metadata/uid"),
    }
}
