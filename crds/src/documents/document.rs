//! One document in one piece of text: a tenth of what its parsed form takes.
//!
//! Owns the few members that are asked for whenever a policy set is compiled; for all others the text is parsed again, which only a
//! document that changed needs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// A document of the API, shared by everybody who holds it. Two are equal if they say the same.
#[derive(Clone)]
pub struct Document(Arc<Inner>);

struct Inner {
    text: Box<RawValue>,
    uid: Option<Box<str>>,
    created: Option<Box<str>>,
    generation: Option<i64>,
    workload_labels: Option<BTreeMap<String, String>>,
}

// === impl Document ===

impl Document {
    /// Members are put in order of their names.
    pub fn new(value: &Value) -> Self {
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str).map(Box::from);
        let labels = value.pointer("/spec/workloadSelector/matchLabels").and_then(Value::as_object);
        let label = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        Self(Arc::new(Inner {
            // Every value can be written. If not, this is no object, and refused wherever one is looked for.
            text: to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            uid: text("/metadata/uid"),
            created: text("/metadata/creationTimestamp"),
            generation: value.pointer("/metadata/generation").and_then(Value::as_i64),
            workload_labels: labels.map(|labels| labels.iter().filter_map(label).collect()),
        }))
    }

    /// The whole of it.
    pub fn value(&self) -> Value {
        // What was written can be read, but for what nests deeper than any document that is accepted: that is no object then.
        serde_json::from_str(self.0.text.get()).unwrap_or_default()
    }

    /// `metadata.uid`, if the API server gave it one.
    pub fn uid(&self) -> Option<&str> {
        self.0.uid.as_deref()
    }

    /// `metadata.creationTimestamp`, if the API server gave it one; RFC 3339 in UTC, so text order is time order.
    pub fn created(&self) -> Option<&str> {
        self.0.created.as_deref()
    }

    /// `metadata.generation`, if the API server counts it.
    pub fn generation(&self) -> Option<i64> {
        self.0.generation
    }

    /// Labels of the workloads that receive this policy; `None`: the operator's own authz.
    pub fn workload_labels(&self) -> Option<&BTreeMap<String, String>> {
        self.0.workload_labels.as_ref()
    }
}

#[cfg(test)]
impl Document {
    /// Where it lies: two that lie in one place are one.
    pub(super) fn place(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        // Mostly it is the very same document: then nothing is compared.
        Arc::ptr_eq(&self.0, &other.0) || self.0.text.get() == other.0.text.get()
    }
}

impl Eq for Document {}

impl fmt::Debug for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.text.get())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::new(&value))
    }
}
