//! The entries of one Secret or ConfigMap, and a digest that tells whether any of them changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest::{Context, SHA256};

use super::ReferenceKind;
use crate::secret::Secret;

/// What one object holds.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub(super) file: Arc<str>,
    /// A value that cannot be read is a mistake of whoever refers to it, not of the file.
    /// In order of names: a table of a hundred thousand keys takes half of what a map would.
    entries: Box<[Entry]>,
    labels: BTreeMap<String, String>,
    /// It was not read: whatever it holds, if it is there, is none of the entries.
    pub(super) unread: bool,
    /// Made when somebody asks: most objects are read by single keys.
    digest: OnceLock<[u8; 32]>,
}

/// Why an object is unread, in a sentence about it.
pub(super) const UNREAD: &str = "could not be read";

/// A name, and the value or why it cannot be read.
type Entry = (Box<str>, Result<Secret, String>);

/// What a Secret or ConfigMap holds, shared by every policy set it is part of unchanged.
#[derive(Debug, Clone)]
pub struct SharedValues(pub(super) Arc<Values>);

/// A whole Secret.
#[derive(Debug, Clone, Copy)]
pub struct SecretValues<'a> {
    kind: ReferenceKind,
    name: &'a str,
    values: &'a Values,
}

// === impl Values ===

impl Values {
    pub(super) fn new(
        file: Arc<str>,
        entries: HashMap<String, Result<Secret, String>>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let mut entries: Box<[Entry]> = entries.into_iter().map(|(key, value)| (key.into_boxed_str(), value)).collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self { file, entries, labels, unread: false, digest: OnceLock::new() }
    }

    /// The entry of this name.
    pub(super) fn get(&self, key: &str) -> Option<&Result<Secret, String>> {
        let at = self.entries.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }
}

// === impl SharedValues ===

impl SharedValues {
    /// Labels and entries; an entry that is there and cannot be read has a reason instead of a value.
    pub fn new(
        labels: BTreeMap<String, String>,
        entries: impl IntoIterator<Item = (String, Result<Secret, String>)>,
    ) -> Self {
        Self(Arc::new(Values::new("".into(), entries.into_iter().collect(), labels)))
    }

    /// Of what was not read.
    pub fn unread() -> Self {
        let nothing = Values::new("".into(), HashMap::new(), BTreeMap::new());
        Self(Arc::new(Values { unread: true, ..nothing }))
    }

    /// Whether it was not read.
    pub fn is_unread(&self) -> bool {
        self.0.unread
    }

    /// The labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.0.labels
    }

    /// The entries, in order of names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Result<Secret, String>)> {
        self.0.entries.iter().map(|(key, value)| (&**key, value))
    }
}

// === impl SecretValues ===

impl<'a> SecretValues<'a> {
    pub(super) fn new(((kind, name), values): (&'a (ReferenceKind, String), &'a Arc<Values>)) -> Self {
        Self { kind: *kind, name, values }
    }

    /// `namespace/name`.
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its entries, in order of names; `None`: one that is there and cannot be read.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Option<&'a Secret>)> {
        self.values.entries.iter().map(|(key, value)| (&**key, value.as_ref().ok()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.values.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256 over names and values, whatever their order.
    pub fn digest(&self) -> [u8; 32] {
        *self.values.digest.get_or_init(|| {
            let mut context = Context::new(&SHA256);
            for part in self.entries().flat_map(|(key, value)| [Some(key.as_bytes()), value.map(Secret::expose)]) {
                // Lengths first: no two different sets of entries write the same bytes. No value has the length of an unreadable one.
                context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
                context.update(part.unwrap_or_default());
            }
            crate::digest::finish(context)
        })
    }

    pub(super) const fn is_read(&self) -> bool {
        !self.values.unread
    }

    pub(super) fn is_secret_under(&self, prefix: &str) -> bool {
        self.kind == ReferenceKind::Secret && self.name.starts_with(prefix)
    }

    pub(super) fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(name, value)| self.values.labels.get(name) == Some(value))
    }
}
