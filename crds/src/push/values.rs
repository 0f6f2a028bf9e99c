//! The entries of one Secret or ConfigMap, on the way to whoever needs them.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::Reference;
use crate::{
    documents::{Objects, ReferenceKind, SharedValues, selection_name},
    secret::Secret,
};

/// One Secret or ConfigMap, cut down to what its receiver needs. Serialising it writes secrets in the clear: only an authenticated and
/// encrypted channel, or a sealed file, may carry the result.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushedValues {
    /// Which kind.
    pub kind: ReferenceKind,
    /// `namespace/name`.
    pub name: String,
    /// Its labels, where somebody selects by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its entries; `Err`: there, and why it cannot be read.
    entries: BTreeMap<String, Entry>,
    /// The sender could not read it: it may be there and hold anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unread: bool,
}

/// A value in base64, or the reason why there is none.
#[derive(Clone, PartialEq, Eq)]
struct Entry(Result<Secret, String>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Wire {
    Value(String),
    Unfit(String),
}

// === impl PushedValues ===

impl PushedValues {
    /// For [`Objects::put`].
    pub fn shared(self) -> SharedValues {
        if self.unread {
            return SharedValues::unread();
        }
        SharedValues::new(self.labels, self.entries.into_iter().map(|(key, entry)| (key, entry.0)))
    }
}

/// Every value that these references read, by kind and name: of each object only the entries that are named, unless somebody reads the
/// whole of it. An object that is not there is left out; one that was not read, or a selection, is told of as that.
pub fn values_for<'r>(
    references: impl IntoIterator<Item = &'r Reference>,
    objects: &Objects,
) -> BTreeMap<(ReferenceKind, String), PushedValues> {
    let mut wanted: BTreeMap<(ReferenceKind, String), Wanted<'_>> = BTreeMap::new();
    for reference in references {
        match reference {
            Reference::Entry { kind, name, key } => {
                wanted.entry((*kind, name.clone())).or_default().keys.insert(key);
            }
            Reference::Secret { name } => {
                wanted.entry((ReferenceKind::Secret, name.clone())).or_default().whole = true;
            }
            Reference::Labelled { namespace, labels } => {
                if objects.is_unlisted(namespace, labels) {
                    wanted.entry((ReferenceKind::Secret, selection_name(namespace, labels))).or_default();
                }
                for secret in objects.secrets_with(namespace, labels) {
                    let one = wanted.entry((ReferenceKind::Secret, secret.name().to_owned())).or_default();
                    (one.whole, one.labels) = (true, true);
                }
            }
        }
    }
    let found = wanted.into_iter().filter_map(|((kind, name), wanted)| {
        let values = objects.values(kind, &name)?;
        let entries = values.entries().filter(|(key, _)| wanted.whole || wanted.keys.contains(key));
        let entries = entries.map(|(key, value)| (key.to_owned(), Entry(value.clone()))).collect();
        let labels = if wanted.labels { values.labels().clone() } else { BTreeMap::new() };
        Some(((kind, name.clone()), PushedValues { kind, name, labels, entries, unread: values.is_unread() }))
    });
    found.collect()
}

#[derive(Default)]
struct Wanted<'r> {
    keys: BTreeSet<&'r str>,
    whole: bool,
    labels: bool,
}

impl std::fmt::Debug for PushedValues {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PushedValues({:?} {}, {} entries)", self.kind, self.name, self.entries.len())
    }
}

// === impl Entry ===

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(value) => Wire::Value(STANDARD.encode(value.expose())),
            Err(reason) => Wire::Unfit(reason.clone()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Value(text) => {
                // The text is not repeated: it is a secret.
                let bytes = STANDARD.decode(text).map_err(|_| D::Error::custom("a value is not base64"))?;
                Ok(Self(Ok(Secret::new(bytes))))
            }
            Wire::Unfit(reason) => Ok(Self(Err(reason))),
        }
    }
}
