//! The content of referenced Secrets and ConfigMaps: read by name, or by the labels that a policy selects, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use crds::{
    documents::{ReferenceKind, SharedValues},
    secret::Secret,
};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::{held, slots};
use crate::watch::{Call, CallError};

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
    slots: std::sync::Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Fetched>,
    results: mpsc::UnboundedReceiver<Fetched>,
}

/// Reads at once.
const CONCURRENT: usize = 32;
/// Secrets a page of a selection: each may hold a megabyte.
const PAGE: usize = 50;

// === impl Fetcher ===

impl Fetcher {
    pub(super) fn new(call: Call) -> Self {
        let (sender, results) = mpsc::unbounded_channel();
        Self { call, slots: Semaphore::new(CONCURRENT).into(), sender, results }
    }

    /// Reads it after `pause`.
    pub(super) fn fetch(&self, (wanted, pause): (Wanted, Duration)) {
        let (call, slots, sender) = (self.call.clone(), self.slots.clone(), self.sender.clone());
        tokio::spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let Ok(_slot) = slots.acquire().await else { return };
            let fetched = match wanted {
                Wanted::Named { kind, name } => {
                    let content = named(&call, kind, &name).await;
                    Fetched::Named(kind, name, content)
                }
                Wanted::Selected { ref namespace, ref labels } => {
                    let found = selected(&call, namespace, labels).await;
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
fn content(kind: ReferenceKind, object: &Value) -> Content {
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
