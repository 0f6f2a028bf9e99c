//! The last good version of each policy: what stays in force while a newer one is rejected.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::documents::{Document, Object, Objects, Place};

/// How many parts a [`LastGood`] is kept in where one place is too small for all of it.
pub const PARTS: usize = 16;

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
    /// The same, by part.
    #[serde(skip)]
    part_changes: [u64; PARTS],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    file: Arc<str>,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Shared with the object it came from.
    document: Document,
}

// === impl LastGood ===

impl LastGood {
    /// How often this changed since it was made or read: whoever writes it down need not compare documents.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The same, of one part, counted from 0.
    pub fn part_changes(&self, part: usize) -> u64 {
        self.part_changes.get(part).copied().unwrap_or_default()
    }

    /// One part: documents are shared, not copied.
    #[must_use]
    pub fn part(&self, part: usize) -> Self {
        let own = self.policies.iter().filter(|(name, _)| part_of(name) == part);
        let policies = own.map(|(name, kept)| (name.clone(), kept.clone())).collect();
        Self { policies, alone: self.alone.clone(), ..Self::default() }
    }

    /// Takes in what is not here yet.
    pub fn merge(&mut self, other: Self) {
        for (name, kept) in other.policies {
            if !self.policies.contains_key(&name) {
                self.changed(&name);
                self.policies.insert(name, kept);
            }
        }
        self.alone = self.alone.take().or(other.alone);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    fn changed(&mut self, name: &str) {
        self.changes += 1;
        if let Some(part) = self.part_changes.get_mut(part_of(name)) {
            *part += 1;
        }
    }

    /// The kept version of an object, if it is of the same object: one that was deleted and made anew, or stands in another file, starts anew.
    pub(super) fn get(&self, object: &Object) -> Option<Object> {
        let same = |kept: &&Kept| kept.uid.as_deref() == object.document.uid() && kept.file == object.place.file;
        let kept = self.policies.get(&object.name).filter(same)?;
        Some(Object { document: kept.document.clone(), ..object.clone() })
    }

    pub(super) fn keep(&mut self, object: &Object) {
        if self
            .policies
            .get(&object.name)
            .is_some_and(|kept| kept.document == object.document && kept.file == object.place.file)
        {
            return;
        }
        let Object { place, document, .. } = object;
        let uid = document.uid().map(str::to_owned);
        let kept = Kept { file: place.file.clone(), line: place.line, uid, document: document.clone() };
        self.policies.insert(object.name.clone(), kept);
        self.changed(&object.name);
    }

    /// Forgets one policy's kept version.
    pub(super) fn forget(&mut self, name: &str) {
        if self.policies.remove(name).is_some() {
            self.changed(name);
        }
    }

    /// Forgets what is deleted. A file that holds an unreadable document may still hold any object that was in it.
    pub(super) fn forget_absent(&mut self, objects: &Objects) {
        let present: HashSet<&str> = objects.policies.iter().map(|object| &*object.name).collect();
        let hiding: HashSet<&str> =
            objects.unreadable.iter().filter(|one| one.hides_object).map(|one| &*one.place.file).collect();
        let gone = |(name, kept): &(&Arc<str>, &Kept)| !present.contains(&***name) && !hiding.contains(&*kept.file);
        let gone: Vec<Arc<str>> = self.policies.iter().filter(gone).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.forget(name));
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

/// FNV-1a: which part a policy is in must be the same in every build.
fn part_of(name: &str) -> usize {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    usize::try_from(hash % PARTS as u64).unwrap_or_default()
}

// === impl Kept ===

impl Kept {
    fn as_object(&self, name: &Arc<str>) -> Object {
        Object {
            kind: crate::v1alpha1::AUTH_POLICY,
            name: name.clone(),
            place: Place { file: self.file.clone(), line: self.line },
            document: self.document.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> Objects {
        let mut objects = Objects::default();
        for name in names {
            let text = format!(
                "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: n}}\nspec: {{}}\n"
            );
            objects.read("f", &text);
        }
        objects
    }

    #[test]
    fn parts_are_all_of_it_and_tell_which_changed() {
        let names: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = objects(&names);
        let mut whole = LastGood::default();
        all.policies.iter().for_each(|one| whole.keep(one));
        let mut merged = LastGood::default();
        for part in 0..PARTS {
            let text = serde_json::to_vec(&whole.part(part)).unwrap();
            merged.merge(serde_json::from_slice(&text).unwrap());
        }
        assert_eq!(merged.policies, whole.policies);
        let changes = |of: &LastGood| (0..PARTS).map(|part| of.part_changes(part)).collect::<Vec<_>>();
        assert_eq!(changes(&whole).iter().sum::<u64>(), 100);
        let before = changes(&whole);
        whole.forget("n/p7");
        whole.forget("n/p7");
        let moved: Vec<usize> = (0..PARTS).filter(|part| changes(&whole)[*part] != before[*part]).collect();
        assert_eq!(moved, [part_of("n/p7")]);
        whole.forget_absent(&objects(&["p1"]));
        assert_eq!(whole.policies.len(), 1);
        assert!(whole.part(part_of("n/p2")).is_empty() || part_of("n/p2") == part_of("n/p1"));
    }

    #[test]
    fn the_part_of_a_name_never_changes() {
        assert_eq!([part_of("n/a"), part_of("n/b"), part_of("shop/api")], [1, 8, 6]);
    }
}
