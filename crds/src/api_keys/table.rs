//! The table: one map of small fixed-size records, and one text that holds what is of any length. No allocation per key.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::documents::SecretValues;

/// A kind of record.
pub trait Record: Sized {
    /// What it is found by.
    type Id: Eq + Hash + Copy;

    /// The id that an entry's name is.
    fn id(name: &str) -> Option<Self::Id>;

    /// Reads an entry's value; text of any length goes to `text`.
    ///
    /// # Errors
    ///
    /// Fixed words about what is wrong; never the value.
    fn read(value: &[u8], text: &mut Text) -> Result<Self, &'static str>;

    /// Whether both say the same.
    fn equals(&self, other: &Self, text: &Text) -> bool;
}

/// Records of one kind, found by id in constant time.
pub struct Table<R: Record> {
    records: HashMap<R::Id, R>,
    text: Text,
    skipped: Box<[Skipped]>,
    version: u64,
}

/// Texts of all records, end to end.
#[derive(Default)]
pub struct Text {
    all: String,
}

/// Where one record's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// Entries of one Secret that are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// `namespace/name` of the Secret.
    pub secret: Arc<str>,
    /// How many.
    pub count: usize,
    /// Why the first of them is none, in order of names; fixed words.
    pub reason: &'static str,
}

// === impl Table ===

impl<R: Record> Table<R> {
    /// Reads all entries of these Secrets.
    pub fn new(secrets: &[SecretValues<'_>], digest: &[u8; 32]) -> Self {
        let mut records: HashMap<R::Id, R> = HashMap::with_capacity(secrets.iter().map(SecretValues::len).sum());
        // Texts are parts of the values: as much room at once leaves no outgrown copies behind.
        let room = secrets.iter().flat_map(|secret| secret.entries()).filter_map(|(_, value)| value);
        let mut text = Text { all: String::with_capacity(room.map(|value| value.expose().len()).sum()) };
        let (mut skipped, mut conflicting) = (Vec::new(), HashSet::new());
        for secret in secrets {
            let mut bad: Option<Skipped> = None;
            // In order of names, so that the same Secrets always tell the same.
            for (name, value) in secret.entries() {
                let length = text.all.len();
                let read = R::id(name).ok_or("its name is not the lower-case hex digits of this kind").and_then(|id| {
                    let value = value.ok_or("its value cannot be read: `data` is base64, and `stringData` is text")?;
                    let record = R::read(value.expose(), &mut text)?;
                    match records.get(&id) {
                        Some(known) if !known.equals(&record, &text) => {
                            conflicting.insert(id);
                            Err("another Secret says something else about the same key")
                        }
                        _ => Ok((id, record)),
                    }
                });
                match read {
                    Ok((id, record)) => drop(records.insert(id, record)),
                    Err(reason) => {
                        text.all.truncate(length);
                        let bad = bad.get_or_insert_with(|| Skipped { secret: secret.name().into(), count: 0, reason });
                        bad.count += 1;
                    }
                }
            }
            skipped.extend(bad);
        }
        // Which of two is right is not ours to guess: one of them may be the revoked one.
        for id in &conflicting {
            records.remove(id);
        }
        records.shrink_to_fit();
        text.all.shrink_to_fit();
        let version = crate::digest::short(digest);
        Self { records, text, skipped: skipped.into(), version }
    }

    /// What the digest of a set of Secrets is: names and contents.
    pub fn digest(secrets: &[SecretValues<'_>]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for secret in secrets {
            context.update(&(secret.name().len() as u64).to_be_bytes());
            context.update(secret.name().as_bytes());
            context.update(&secret.digest());
        }
        crate::digest::finish(context)
    }

    /// The record of this id, and the text it points into.
    pub fn get(&self, id: &R::Id) -> Option<(&R, &Text)> {
        self.records.get(id).map(|record| (record, &self.text))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was left out, one entry a Secret.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Changes whenever a Secret does.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Bytes it takes, roughly.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        // A map of this size has one control byte a slot.
        self.records.capacity() * 8 / 7 * (size_of::<(R::Id, R)>() + 1) + self.text.all.capacity()
    }
}

impl<R: Record> fmt::Debug for Table<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Table").field("records", &self.len()).finish_non_exhaustive()
    }
}

impl<R: Record> Serialize for Table<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Table", 1)?;
        shown.serialize_field("records", &self.len())?;
        shown.end()
    }
}

// === impl Text ===

impl Text {
    /// Appends a text; none fits past 4 GiB.
    pub(super) fn push(&mut self, text: &str) -> Option<Span> {
        let span = Span { start: u32::try_from(self.all.len()).ok()?, length: u32::try_from(text.len()).ok()? };
        self.all.push_str(text);
        Some(span)
    }

    /// The text at a place; empty where there is none.
    pub(super) fn at(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.all.get(start..start + span.length as usize).unwrap_or_default()
    }
}
