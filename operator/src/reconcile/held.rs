//! One object as it was read: cut down to what decides, so that a status or a label that changes is no change.

use std::sync::Arc;

use crds::{
    compile,
    documents::{Document, Kind, Object, Objects, Place},
    push::Reference,
};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Observed;

/// An AuthPolicy or DataSource.
pub(super) struct Held {
    /// The newest version.
    pub(super) newest: Document,
    /// The version that is compiled: the newest whose references were all read once.
    pub(super) ready: Option<Document>,
    /// What the newest version refers to.
    pub(super) references: Arc<[Reference]>,
    /// What the version that is compiled refers to.
    pub(super) before: Arc<[Reference]>,
    /// Since when the newest is waited for.
    pub(super) since: Instant,
    /// Its status.
    pub(super) observed: Observed,
}

/// Why an object cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Which file messages name.
pub(super) const PLACE: &str = "cluster";

/// `namespace/name` of any object.
pub(super) fn name(object: &Value) -> Option<Arc<str>> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some(format!("{}/{}", text("/metadata/namespace")?, text("/metadata/name")?).into())
}

/// The kind, as objects spell it.
pub(crate) const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::AuthPolicy => crds::v1alpha1::AUTH_POLICY,
        Kind::DataSource => crds::v1alpha1::DATA_SOURCE,
    }
}

/// The kind, as paths spell it.
pub(crate) const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::AuthPolicy => "authpolicies",
        Kind::DataSource => "datasources",
    }
}

/// What decides of an object: its identity, its age and its spec.
pub(super) fn essence(kind: Kind, object: &Value) -> Result<Value, Unreadable> {
    let kind = self::kind(kind);
    let metadata = object.get("metadata").and_then(Value::as_object).ok_or(Unreadable)?;
    let kept = ["name", "namespace", "uid", "generation", "creationTimestamp"];
    let metadata: Map<String, Value> =
        kept.into_iter().filter_map(|name| Some((name.to_owned(), metadata.get(name)?.clone()))).collect();
    if !metadata.get("uid").is_some_and(Value::is_string) {
        // Without it, an object made anew could not be told from the one before.
        return Err(Unreadable);
    }
    let mut essence = Map::new();
    // Items of a list may come without these.
    essence.insert("apiVersion".to_owned(), crds::v1alpha1::API_VERSION.into());
    essence.insert("kind".to_owned(), kind.into());
    essence.insert("metadata".to_owned(), metadata.into());
    // Whatever else the object holds at the top is not hidden: unknown fields are errors.
    let top = object.as_object().into_iter().flatten();
    let rest = top.filter(|(name, _)| !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()));
    essence.extend(rest.map(|(name, value)| (name.clone(), value.clone())));
    Ok(Value::Object(essence))
}

// === impl Held ===

impl Held {
    pub(super) fn new(kind: Kind, name: &Arc<str>, newest: Document, observed: Observed, now: Instant) -> Self {
        let references = references(kind, name, &newest);
        Self { newest, ready: None, references, before: [].into(), since: now, observed }
    }

    /// What is named. The version in force keeps its values while the newer one waits for its own.
    pub(super) fn named(&self) -> impl Iterator<Item = &Reference> {
        let before = if Arc::ptr_eq(&self.before, &self.references) { &[][..] } else { &self.before };
        self.references.iter().chain(before)
    }

    /// The newest version is compiled from now on.
    pub(super) fn take(&mut self) {
        self.ready = Some(self.newest.clone());
        self.before = self.references.clone();
    }

    /// A newer version of the same object, or a new object of the same name. Whether what decides changed.
    pub(super) fn update(
        &mut self,
        kind: Kind,
        name: &Arc<str>,
        newest: Document,
        observed: Observed,
        now: Instant,
    ) -> bool {
        self.observed = observed;
        if self.newest == newest {
            return false;
        }
        if self.newest.uid() != newest.uid() {
            // Another object: nothing of the one before it holds.
            (self.ready, self.before) = (None, [].into());
        }
        self.newest = newest;
        self.references = references(kind, name, &self.newest);
        self.since = now;
        true
    }
}

fn references(kind: Kind, name: &Arc<str>, document: &Document) -> Arc<[Reference]> {
    if kind != Kind::AuthPolicy {
        return [].into();
    }
    let mut objects = Objects::default();
    objects.share(kind, name.clone(), &place(), document.clone());
    let mut references: Vec<Reference> =
        objects.policies.iter().flat_map(|object: &Object| compile::references(object)).collect();
    references.sort();
    references.dedup();
    references.into()
}

pub(super) fn place() -> Place {
    Place { file: PLACE.into(), line: 0 }
}
