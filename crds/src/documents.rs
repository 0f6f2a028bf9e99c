//! Text to objects: multi-document YAML or JSON, as `kubectl apply` reads it.
//!
//! Owns identity (kind, namespace, name) and where each object stood. Must never judge a spec, and never lose a document silently:
//! what cannot be read is a [`Unreadable`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod document;
mod memo;
#[cfg(test)]
mod tests;
mod text;
mod unread;
mod values;

pub use document::Document;
pub use memo::Memo;
pub use unread::selection_name;
pub use values::{SecretValues, SharedValues};

use memo::Known;
use text::{parse, split};
use values::Values;

use crate::{
    secret::Secret,
    v1alpha1::{API_VERSION, AUTH_POLICY, DATA_SOURCE},
};

/// Where a document stood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's path as given.
    pub file: Arc<str>,
    /// Its first line, from 1.
    pub line: usize,
}

/// A document that is no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Unreadable {
    /// Where.
    pub place: Place,
    /// Why, in one line.
    pub reason: String,
    /// Whether nobody knows which object this is: it may be any that was in the file before.
    pub hides_object: bool,
    /// Whether it reads well and looks like no object at all, such as a file of another program.
    pub is_stray: bool,
}

/// One AuthPolicy or DataSource, not yet looked into.
#[derive(Debug, Clone)]
pub struct Object {
    /// `AuthPolicy` or `DataSource`.
    pub kind: &'static str,
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Where it stood.
    pub place: Place,
    /// The whole document.
    pub document: Document,
}

/// Everything that was read, in reading order.
#[derive(Debug, Default)]
pub struct Objects {
    /// AuthPolicies.
    pub policies: Vec<Object>,
    /// DataSources.
    pub data_sources: Vec<Object>,
    /// Values of Secrets and ConfigMaps, by kind, `namespace/name` and key.
    references: BTreeMap<(ReferenceKind, String), Arc<Values>>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Documents of other kinds, which are somebody else's: shown, not used.
    pub foreign: Vec<(Place, String)>,
    /// Secrets and ConfigMaps in place of others of their name, which stood before: as with `kubectl apply`, the last one counts.
    pub replaced: Vec<(Place, String)>,
    /// Files that cannot be read, and of which nobody knows what stood there before.
    unknown: BTreeSet<Arc<str>>,
}

/// Our kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// AuthPolicy.
    AuthPolicy,
    /// DataSource.
    DataSource,
}

/// What a reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReferenceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

const GROUP: &str = "gatewright.dev/";

// === impl Objects ===

impl Objects {
    /// Reads one file's text. A document that cannot be read spoils only itself.
    pub fn read(&mut self, file: &str, text: &str) {
        self.read_again(file, text, &mut Memo::default());
    }

    /// The same; what is remembered from the reading before is not parsed again.
    pub fn read_again(&mut self, file: &str, text: &str, memo: &mut Memo) {
        let file: Arc<str> = file.into();
        for (line, chunk) in split(text) {
            let place = Place { file: file.clone(), line };
            let digest = memo::digest(&file, chunk);
            if let Some(known) = memo.find(&digest) {
                self.put_known(&place, known);
                continue;
            }
            match parse(chunk, line) {
                Ok(Value::Null) => {}
                Ok(value) => {
                    if let Some(known) = self.add(&place, &value) {
                        memo.keep(digest, known);
                    }
                }
                Err(reason) => {
                    self.unreadable.push(Unreadable { place, reason, hides_object: true, is_stray: false });
                }
            }
        }
    }

    fn put_known(&mut self, place: &Place, known: Known) {
        match known {
            Known::Object(kind, name, document) => self.share(kind, name, place, document),
            Known::Values(kind, name, values) => {
                let Some(earlier) = self.references.insert((kind, name.to_string()), values) else { return };
                let what = format!("{kind:?} {name} is in {} as well; the one that is read last counts", earlier.file);
                self.replaced.push((place.clone(), what));
            }
        }
    }

    /// Takes in an AuthPolicy or DataSource whose document is kept elsewhere too: nothing is copied, and a compiler that saw the very
    /// same document before does no work. `name`: `namespace/name`.
    pub fn share(&mut self, kind: Kind, name: Arc<str>, place: &Place, document: Document) {
        match kind {
            Kind::AuthPolicy => self.policies.push(Object::of(AUTH_POLICY, name, place, document)),
            Kind::DataSource => self.data_sources.push(Object::of(DATA_SOURCE, name, place, document)),
        }
    }

    /// Takes in what a Secret or ConfigMap of this `namespace/name` holds.
    pub fn put(&mut self, kind: ReferenceKind, name: impl Into<String>, values: SharedValues) {
        self.references.insert((kind, name.into()), values.0);
    }

    /// Forgets what a Secret or ConfigMap of this `namespace/name` holds.
    pub fn take_away(&mut self, kind: ReferenceKind, name: &str) {
        self.references.remove(&(kind, name.to_owned()));
    }

    /// What a Secret or ConfigMap of this `namespace/name` holds.
    pub fn values(&self, kind: ReferenceKind, name: &str) -> Option<SharedValues> {
        self.references.get(&(kind, name.to_owned())).cloned().map(SharedValues)
    }

    /// A referenced value, or `None`.
    pub fn reference(&self, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<&Secret> {
        self.value(kind, namespace, name, key)?.as_ref().ok()
    }

    fn value(&self, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<&Result<Secret, String>> {
        self.references.get(&(kind, format!("{namespace}/{name}")))?.get(key)
    }

    /// Without the policies and data sources, which the snapshot stands for once it is compiled: they are most of the memory.
    #[must_use]
    pub fn without_policies(self) -> Self {
        Self { policies: Vec::new(), data_sources: Vec::new(), ..self }
    }

    /// Whether the referenced object is there at all, or could be.
    pub fn has_object(&self, kind: ReferenceKind, namespace: &str, name: &str) -> bool {
        self.references.contains_key(&(kind, format!("{namespace}/{name}")))
    }

    /// Every Secret, by name.
    pub fn secrets(&self) -> impl Iterator<Item = SecretValues<'_>> {
        self.references.iter().map(SecretValues::new).filter(|one| one.is_secret_under("") && one.is_read())
    }

    /// A whole Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<SecretValues<'_>> {
        let found = self.references.get_key_value(&(ReferenceKind::Secret, format!("{namespace}/{name}")));
        found.map(SecretValues::new).filter(SecretValues::is_read)
    }

    /// The Secrets of a namespace that have all these labels, by name.
    pub fn secrets_with(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<SecretValues<'_>> {
        let prefix = format!("{namespace}/");
        let namespaced = self.references.range((ReferenceKind::Secret, prefix.clone())..).map(SecretValues::new);
        let wanted = |one: &SecretValues<'_>| one.is_read() && one.has_labels(labels);
        namespaced.take_while(|one| one.is_secret_under(&prefix)).filter(wanted).collect()
    }

    /// What is worth remembering of it, if it is one object of a kind that is used.
    fn add(&mut self, place: &Place, value: &Value) -> Option<Known> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            let reason = "no `apiVersion` and `kind`: this is no Kubernetes object".to_owned();
            let is_stray = ["apiVersion", "kind", "metadata"].iter().all(|name| value.get(name).is_none());
            self.unreadable.push(Unreadable { place: place.clone(), reason, hides_object: true, is_stray });
            return None;
        };
        if kind == "List" {
            match value.get("items") {
                Some(Value::Array(items)) => items.iter().for_each(|item| drop(self.add(place, item))),
                _ => self.refuse(place, true, "`items` of this List is no list"),
            }
            return None;
        }
        let Some(name) = text("/metadata/name").filter(|name| !name.is_empty()) else {
            self.refuse(place, true, &format!("`metadata.name` of this {kind} is missing"));
            return None;
        };
        let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
        // What the API server would never hold could pose as another object here: `a/b` of `c` and `a` of `b/c`.
        if !is_dns_name(&name) || !is_dns_name(&namespace) {
            let shown: String =
                format!("{namespace}/{name}").chars().filter(|char| !char.is_control()).take(80).collect();
            let why = format!(
                "{kind} `{shown}`: metadata.name and metadata.namespace are DNS names of lower-case letters, digits, `-` and `.`"
            );
            self.refuse(place, true, &why);
            return None;
        }
        let name: Arc<str> = format!("{namespace}/{name}").into();
        let known = match (version.as_str(), kind.as_str()) {
            (API_VERSION, AUTH_POLICY) => Known::Object(Kind::AuthPolicy, name, Document::new(value)),
            (API_VERSION, DATA_SOURCE) => Known::Object(Kind::DataSource, name, Document::new(value)),
            ("v1", "Secret") => values(ReferenceKind::Secret, place, name, value),
            ("v1", "ConfigMap") => values(ReferenceKind::ConfigMap, place, name, value),
            // A slip of the pen in group or kind must not pass for somebody else's object: the policy it means would be gone.
            (version, kind) if version.starts_with(GROUP) || [AUTH_POLICY, DATA_SOURCE].contains(&kind) => {
                let known = format!("known are {AUTH_POLICY} and {DATA_SOURCE} of {API_VERSION}");
                self.refuse(place, true, &format!("{version} has no kind `{kind}`; {known}"));
                return None;
            }
            (version, kind) => {
                self.foreign.push((place.clone(), format!("{version} {kind} {name}")));
                return None;
            }
        };
        self.put_known(place, known.clone());
        Some(known)
    }

    fn refuse(&mut self, place: &Place, hides_object: bool, reason: &str) {
        self.unreadable.push(Unreadable {
            place: place.clone(),
            reason: reason.to_owned(),
            hides_object,
            is_stray: false,
        });
    }
}

/// `data` of a Secret is base64, and `stringData` wins over it, as in the API server.
fn values(kind: ReferenceKind, place: &Place, name: Arc<str>, value: &Value) -> Known {
    let members = |field: &str| value.get(field).and_then(Value::as_object).into_iter().flatten();
    let (plain, coded) = match kind {
        ReferenceKind::Secret => ("stringData", "data"),
        ReferenceKind::ConfigMap => ("data", "binaryData"),
    };
    let mut values = HashMap::new();
    // The values themselves are never shown: they may be secrets in the wrong field.
    for (key, value) in members(coded) {
        let bytes =
            value.as_str().and_then(|text| STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok());
        let value = bytes.map(Secret::new).ok_or_else(|| format!("`{coded}.{key}` of {name} is not base64"));
        values.insert(key.clone(), value);
    }
    for (key, value) in members(plain) {
        let value = value.as_str().map(|text| Secret::new(text.as_bytes()));
        values.insert(
            key.clone(),
            value.ok_or_else(|| format!("`{plain}.{key}` of {name} is not text; put it in quotes")),
        );
    }
    let labels = members_of(value, "/metadata/labels");
    Known::Values(kind, name, Arc::new(Values::new(place.file.clone(), values, labels)))
}

/// The text members of an object inside a document; others are none that anything could match.
fn members_of(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let members = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| value.as_str().map(|text| (name.clone(), text.to_owned()))).collect()
}

/// RFC 1123 subdomain, as the API server demands.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

// === impl Object ===

impl Object {
    /// The object of a document whose identity is known.
    pub(crate) fn of(kind: &'static str, name: Arc<str>, place: &Place, document: Document) -> Self {
        Self { kind, name, place: place.clone(), document }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}
