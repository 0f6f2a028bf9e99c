//! The last good version of each policy: what stays in force while a newer one is rejected.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::documents::{Object, Objects, Place};

/// Accepted documents by `namespace/name`. Holds no Secret: those are read anew, so that a deleted one ends at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LastGood {
    policies: BTreeMap<Arc<str>, Kept>,
    /// The policy that answered for every host when every document could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alone: Option<Arc<str>>,
    /// Changes since this was made or read.
    #[serde(skip)]
    changes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    file: Arc<str>,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Shared with the object it came from.
    document: Arc<Value>,
}

// === impl LastGood ===

impl LastGood {
    /// How often this changed since it was made or read: whoever writes it down need not compare documents.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The kept version of an object, if it is of the same object: one that was deleted and made anew, or stands in another file, starts anew.
    pub(super) fn get(&self, object: &Object) -> Option<Object> {
        let same = |kept: &&Kept| kept.uid == object.uid && kept.file == object.place.file;
        let kept = self.policies.get(&object.name).filter(same)?;
        Some(Object { place: object.place.clone(), value: kept.document.clone(), ..object.clone() })
    }

    pub(super) fn keep(&mut self, object: &Object) {
        if self
            .policies
            .get(&object.name)
            .is_some_and(|kept| kept.document == object.value && kept.file == object.place.file)
        {
            return;
        }
        let Object { place, uid, value, .. } = object;
        let kept = Kept { file: place.file.clone(), line: place.line, uid: uid.clone(), document: value.clone() };
        self.policies.insert(object.name.clone(), kept);
        self.changes += 1;
    }

    /// Forgets one policy's kept version.
    pub(super) fn forget(&mut self, name: &str) {
        self.changes += u64::from(self.policies.remove(name).is_some());
    }

    /// Forgets what is deleted. A file that holds an unreadable document may still hold any object that was in it.
    pub(super) fn forget_absent(&mut self, objects: &Objects) {
        let present: HashSet<&str> = objects.policies.iter().map(|object| &*object.name).collect();
        let hiding: HashSet<&str> =
            objects.unreadable.iter().filter(|one| one.hides_object).map(|one| &*one.place.file).collect();
        let before = self.policies.len();
        self.policies.retain(|name, kept| present.contains(&**name) || hiding.contains(&*kept.file));
        self.changes += u64::from(self.policies.len() != before);
    }

    /// The policy that was alone when every document could be read.
    pub(super) fn alone(&self) -> Option<&Arc<str>> {
        self.alone.as_ref()
    }

    pub(super) fn set_alone(&mut self, alone: Option<Arc<str>>) {
        self.changes += u64::from(self.alone != alone);
        self.alone = alone;
    }

    /// The kept version of this name, wherever its document stands.
    pub(super) fn by_name(&self, name: &Arc<str>) -> Option<Object> {
        self.policies.get(name).map(|kept| kept.as_object(name))
    }

    /// What is kept beside the objects of these names, as objects.
    pub(super) fn beside(&self, known: &HashSet<&str>) -> impl Iterator<Item = Object> {
        self.policies.iter().filter(|(name, _)| !known.contains(&***name)).map(|(name, kept)| kept.as_object(name))
    }
}

// === impl Kept ===

impl Kept {
    fn as_object(&self, name: &Arc<str>) -> Object {
        Object {
            kind: crate::v1alpha1::AUTH_POLICY,
            name: name.clone(),
            place: Place { file: self.file.clone(), line: self.line },
            uid: self.uid.clone(),
            created: self.document.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned),
            generation: self.document.pointer("/metadata/generation").and_then(Value::as_i64),
            value: self.document.clone(),
        }
    }
}
