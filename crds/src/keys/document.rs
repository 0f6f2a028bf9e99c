//! A JWK Set document (RFC 7517 section 5) up to its entries. Bounded before it is read; never looks into a key.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, error::Category};

use super::KeySetError;

/// No provider's set comes near a mebibyte.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// More entries than this are no key set but an attempt to keep us busy.
pub const MAX_ENTRIES: usize = 1_000;

/// One element of `keys`, whatever it is.
pub(super) enum Entry {
    /// An object whose members are all different.
    Members(Map<String, Value>),
    /// An object that says a member twice: two readers would see two different keys (RFC 7517 section 4).
    Twice,
    /// Null, a number, text, an array.
    NoObject,
}

#[derive(Deserialize)]
struct Document {
    keys: Entries,
}

enum Entries {
    Read(Vec<Entry>),
    TooMany,
}

struct EntriesVisitor;

struct EntryVisitor;

/// The entries, in order.
pub(super) fn entries(document: &[u8]) -> Result<Vec<Entry>, KeySetError> {
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(KeySetError::TooLarge);
    }
    // JSON is UTF-8, in members that are passed over too. A typed struct would also be read from an array, in the order of its fields.
    let text = str::from_utf8(document).ok().filter(|text| text.trim_ascii_start().starts_with('{'));
    let document: Document =
        serde_json::from_str(text.ok_or(KeySetError::NotJson)?).map_err(|error| match error.classify() {
            Category::Data => KeySetError::NoKeysArray,
            Category::Io | Category::Syntax | Category::Eof => KeySetError::NotJson,
        })?;
    match document.keys {
        Entries::Read(entries) => Ok(entries),
        Entries::TooMany => Err(KeySetError::TooManyKeys),
    }
}

// === impl Entries ===

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = items.next_element()? {
            entries.push(entry);
            if entries.len() > MAX_ENTRIES {
                // The rest is read as far as JSON demands, and kept nowhere.
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Entries::TooMany);
            }
        }
        Ok(Entries::Read(entries))
    }
}

// === impl Entry ===

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Entry, A::Error> {
        let mut map = Map::new();
        let mut twice = false;
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            twice |= map.insert(name, value).is_some();
        }
        Ok(if twice { Entry::Twice } else { Entry::Members(map) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entry, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::NoObject)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }

    fn visit_str<E>(self, _: &str) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }

    fn visit_unit<E>(self) -> Result<Entry, E> {
        Ok(Entry::NoObject)
    }
}
