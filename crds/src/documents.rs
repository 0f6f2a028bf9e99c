//! Text to objects: multi-document YAML or JSON, as `kubectl apply` reads it.
//!
//! Owns identity (kind, namespace, name) and where each object stood. Must never judge a spec, and never lose a document silently:
//! what cannot be read is a [`Unreadable`].

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

mod values;

pub use values::SecretValues;

use values::Values;

use crate::secret::Secret;

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
    /// `metadata.uid`, if the API server gave it one.
    pub uid: Option<String>,
    /// `metadata.creationTimestamp`, if the API server gave it one; RFC 3339 in UTC, so text order is time order.
    pub created: Option<String>,
    /// `metadata.generation`, if the API server counts it.
    pub generation: Option<i64>,
    /// The whole document.
    pub value: Value,
}

/// Everything that was read, in reading order.
#[derive(Debug, Default)]
pub struct Objects {
    /// AuthPolicies.
    pub policies: Vec<Object>,
    /// DataSources.
    pub data_sources: Vec<Object>,
    /// Values of Secrets and ConfigMaps, by kind, `namespace/name` and key.
    references: BTreeMap<(ReferenceKind, String), Values>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Documents of other kinds, which are somebody else's: shown, not used.
    pub foreign: Vec<(Place, String)>,
}

/// What a reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

const GROUP: &str = "gatewright.dev/";
const VERSION: &str = "gatewright.dev/v1alpha1";

// === impl Objects ===

impl Objects {
    /// Reads one file's text. A document that cannot be read spoils only itself.
    pub fn read(&mut self, file: &str, text: &str) {
        let file: Arc<str> = file.into();
        for (line, chunk) in split(text) {
            let place = Place { file: file.clone(), line };
            match parse(chunk, line) {
                Ok(Value::Null) => {}
                Ok(value) => self.add(&place, value),
                Err(reason) => self.unreadable.push(Unreadable { place, reason }),
            }
        }
    }

    /// A referenced value, or `None`.
    pub fn reference(&self, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<&Secret> {
        self.references.get(&(kind, format!("{namespace}/{name}")))?.entries.get(key)
    }

    /// Whether the referenced object is there at all.
    pub fn has_object(&self, kind: ReferenceKind, namespace: &str, name: &str) -> bool {
        self.references.contains_key(&(kind, format!("{namespace}/{name}")))
    }

    /// Every Secret, by name.
    pub fn secrets(&self) -> impl Iterator<Item = SecretValues<'_>> {
        self.references.iter().map(SecretValues::new).filter(|one| one.is_secret_under(""))
    }

    /// A whole Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<SecretValues<'_>> {
        self.references.get_key_value(&(ReferenceKind::Secret, format!("{namespace}/{name}"))).map(SecretValues::new)
    }

    /// The Secrets of a namespace that have all these labels, by name.
    pub fn secrets_with(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<SecretValues<'_>> {
        let prefix = format!("{namespace}/");
        let namespaced = self.references.range((ReferenceKind::Secret, prefix.clone())..).map(SecretValues::new);
        namespaced.take_while(|one| one.is_secret_under(&prefix)).filter(|one| one.has_labels(labels)).collect()
    }

    fn add(&mut self, place: &Place, value: Value) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            return self.refuse(place, "no `apiVersion` and `kind`: this is no Kubernetes object");
        };
        if kind == "List" {
            let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            return items.into_iter().for_each(|item| self.add(place, item));
        }
        let Some(name) = text("/metadata/name").filter(|name| !name.is_empty()) else {
            return self.refuse(place, &format!("`metadata.name` of this {kind} is missing"));
        };
        let name: Arc<str> = format!("{}/{name}", text("/metadata/namespace").unwrap_or_else(|| "default".to_owned())).into();
        match (version.as_str(), kind.as_str()) {
            (VERSION, "AuthPolicy") => self.policies.push(object("AuthPolicy", name, place, value)),
            (VERSION, "DataSource") => self.data_sources.push(object("DataSource", name, place, value)),
            ("v1", "Secret") => self.add_values(ReferenceKind::Secret, place, &name, &value),
            ("v1", "ConfigMap") => self.add_values(ReferenceKind::ConfigMap, place, &name, &value),
            (version, kind) if version.starts_with(GROUP) => {
                self.refuse(place, &format!("{version} has no kind `{kind}`; known are AuthPolicy and DataSource of {VERSION}"));
            }
            (version, kind) => self.foreign.push((place.clone(), format!("{version} {kind} {name}"))),
        }
    }

    fn refuse(&mut self, place: &Place, reason: &str) {
        self.unreadable.push(Unreadable { place: place.clone(), reason: reason.to_owned() });
    }

    /// `data` of a Secret is base64, and `stringData` wins over it, as in the API server.
    fn add_values(&mut self, kind: ReferenceKind, place: &Place, name: &str, value: &Value) {
        let members = |field: &str| value.get(field).and_then(Value::as_object).into_iter().flatten();
        let (plain, coded) = match kind {
            ReferenceKind::Secret => ("stringData", "data"),
            ReferenceKind::ConfigMap => ("data", "binaryData"),
        };
        let mut values = HashMap::new();
        for (key, value) in members(coded) {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok());
            match bytes {
                Some(bytes) => drop(values.insert(key.clone(), Secret::new(bytes))),
                // The value itself is not shown: it may be a secret in the wrong field.
                None => self.refuse(place, &format!("`{coded}.{key}` of {name} is not base64")),
            }
        }
        for (key, value) in members(plain) {
            match value.as_str() {
                Some(text) => drop(values.insert(key.clone(), Secret::new(text.as_bytes()))),
                None => self.refuse(place, &format!("`{plain}.{key}` of {name} is not text; put it in quotes")),
            }
        }
        self.references.insert((kind, name.to_owned()), Values::new(values, members_of(value, "/metadata/labels")));
    }
}

/// The text members of an object inside a document; others are none that anything could match.
fn members_of(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let members = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| value.as_str().map(|text| (name.clone(), text.to_owned()))).collect()
}

fn object(kind: &'static str, name: Arc<str>, place: &Place, value: Value) -> Object {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Object {
        kind,
        name,
        place: place.clone(),
        uid: text("/metadata/uid"),
        created: text("/metadata/creationTimestamp"),
        generation: value.pointer("/metadata/generation").and_then(Value::as_i64),
        value,
    }
}

/// Cuts at lines that begin with `---`, as kubectl does: a syntax error then ends one document, not the file.
fn split(text: &str) -> Vec<(usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut chunks, mut start, mut first_line, mut offset) = (Vec::new(), 0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if line.starts_with("---") {
            chunks.push((first_line, text.get(start..offset).unwrap_or_default()));
            (start, first_line) = (end, index + 2);
        }
        offset = end;
    }
    chunks.push((first_line, text.get(start..).unwrap_or_default()));
    chunks
}

/// One document as JSON. Line numbers in messages count from the file's first line.
fn parse(chunk: &str, first_line: usize) -> Result<Value, String> {
    if chunk.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let yaml: serde_yaml::Value = serde_yaml::from_str(chunk).map_err(|error| {
        let line = error.location().map_or(first_line, |location| first_line + location.line().saturating_sub(1));
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text);
        format!("line {line}: not valid YAML: {reason}")
    })?;
    to_json(yaml).map_err(|reason| format!("line {first_line}: {reason}"))
}

/// YAML that JSON cannot say is refused rather than bent.
fn to_json(yaml: serde_yaml::Value) -> Result<Value, String> {
    use serde_yaml::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => {
            let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
            let value = whole.or_else(|| number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number));
            value.ok_or_else(|| format!("`{number}` is no number of JSON"))?
        }
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => Value::Object(
            members
                .into_iter()
                .map(|(key, value)| {
                    let key = match key {
                        Yaml::String(key) => key,
                        Yaml::Bool(key) => key.to_string(),
                        Yaml::Number(key) => key.to_string(),
                        _ => return Err("a key is not text".to_owned()),
                    };
                    to_json(value).map(|value| (key, value))
                })
                .collect::<Result<_, _>>()?,
        ),
        Yaml::Tagged(tagged) => return Err(format!("the tag `{}` means nothing here", tagged.tag)),
    })
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Objects {
        let mut objects = Objects::default();
        objects.read("p.yaml", text);
        objects
    }

    #[test]
    fn a_broken_document_spoils_only_itself() {
        let objects = read(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: a, namespace: n}\n---\nkind: [\n--- # next\n\
             apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: b}\n---\n# only a comment\n",
        );
        let names: Vec<_> = objects.policies.iter().map(|one| (&*one.name, one.place.line)).collect();
        assert_eq!(names, [("n/a", 1), ("default/b", 7)]);
        assert_eq!(objects.unreadable.len(), 1);
        assert!(objects.unreadable[0].to_string().starts_with("p.yaml:5: line "), "{}", objects.unreadable[0]);
    }

    #[test]
    fn json_lists_and_other_kinds() {
        let objects = read(
            r#"{"apiVersion":"v1","kind":"List","items":[
                {"apiVersion":"gatewright.dev/v1alpha1","kind":"AuthPolicy","metadata":{"name":"a","generation":3}},
                {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"}},
                {"apiVersion":"gatewright.dev/v1","kind":"AuthPolicy","metadata":{"name":"a"}}]}"#,
        );
        assert_eq!((objects.policies.len(), objects.foreign.len(), objects.unreadable.len()), (1, 1, 1));
        assert_eq!(objects.policies[0].generation, Some(3));
    }

    #[test]
    fn secrets_are_read_and_not_shown() {
        let objects = read(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\ndata: {a: aGVsbG8=, b: '%%'}\nstringData: {c: canary-value, d: 5}\n",
        );
        let value = |key| objects.reference(ReferenceKind::Secret, "n", "s", key).map(|one| one.expose().to_vec());
        assert_eq!((value("a"), value("b"), value("c"), value("d")), (Some(b"hello".to_vec()), None, Some(b"canary-value".to_vec()), None));
        assert!(objects.reference(ReferenceKind::ConfigMap, "n", "s", "a").is_none());
        assert!(objects.reference(ReferenceKind::Secret, "other", "s", "a").is_none());
        assert_eq!(objects.unreadable.len(), 2);
        assert!(!format!("{objects:?}").contains("canary-value"));
    }

    #[test]
    fn yaml_that_is_not_json_is_refused() {
        for text in ["a: 1\na: 2\n", "kind: !secret x\n", "? [a]\n: b\n", "a: .nan\n", "just text\n", "- a\n", "a: &x [*x]\n", "\t- a"] {
            assert_eq!(read(text).unreadable.len(), 1, "{text:?}");
        }
        for text in ["", "---\n---\n", "# c\n", "\u{feff}"] {
            assert!(read(text).unreadable.is_empty(), "{text:?}");
        }
    }
}
