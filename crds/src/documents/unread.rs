//! What is named and was not read: it may be there and hold anything, so nobody may take it for absent.
//!
//! Owns three kinds of it: objects that an API server did not show, selections that it did not list, and whatever may stand in a file
//! that cannot be read and never was.

use std::collections::{BTreeMap, HashSet};

use super::{Objects, ReferenceKind, SharedValues, values::UNREAD};

/// The name under which a selection that was not listed is kept: no object has an `=` in its name.
pub fn selection_name(namespace: &str, labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{namespace}/{}", labels.join(","))
}

impl Objects {
    /// Notes that this Secret or ConfigMap (`namespace/name`), or this selection of Secrets ([`selection_name`]), was not read.
    pub fn put_unread(&mut self, kind: ReferenceKind, name: impl Into<String>) {
        self.put(kind, name, SharedValues::unread());
    }

    /// Whether the Secrets of a namespace with these labels are not all known.
    pub fn is_unlisted(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let name = (ReferenceKind::Secret, selection_name(namespace, labels));
        self.references.get(&name).is_some_and(|values| values.unread)
    }

    /// Why nobody knows what this object holds, or whether it is there at all.
    pub fn unread(&self, kind: ReferenceKind, namespace: &str, name: &str) -> Option<String> {
        match self.references.get(&(kind, format!("{namespace}/{name}"))) {
            Some(values) => values.unread.then(|| UNREAD.to_owned()),
            None => self.unknown.first().map(|file| format!("may stand in {file}, which cannot be read")),
        }
    }

    /// Why a referenced value is there, or could be, and cannot be read.
    pub fn unfit(&self, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<String> {
        let found = self.value(kind, namespace, name, key);
        found.and_then(|value| value.as_ref().err().cloned()).or_else(|| self.unread(kind, namespace, name))
    }

    /// To be called before the first compile of a process, which has no earlier reading: what stands in a file that cannot be read is
    /// unknown then, and not absent.
    pub fn begins(&mut self) {
        let hiding = self.unreadable.iter().filter(|one| one.hides_object && !one.is_stray);
        self.unknown = hiding.map(|one| one.place.file.clone()).collect();
    }

    /// Takes over Secrets and ConfigMaps of an earlier reading that stood in a file which holds an unreadable document now: a syntax
    /// error deletes nothing.
    pub fn carry_over(&mut self, earlier: &Self) {
        let hiding = self.hiding();
        let unknown = earlier.unknown.iter().filter(|file| hiding.contains(&***file)).cloned().collect();
        let hidden = earlier.references.iter().filter(|(_, referent)| hiding.contains(&*referent.file));
        let hidden: Vec<_> = hidden.map(|(key, referent)| (key.clone(), referent.clone())).collect();
        for (key, referent) in hidden {
            self.references.entry(key).or_insert(referent);
        }
        self.unknown = unknown;
    }

    /// Files with a document of which nobody knows what object it is.
    fn hiding(&self) -> HashSet<&str> {
        self.unreadable.iter().filter(|one| one.hides_object).map(|one| &*one.place.file).collect()
    }
}
