//! Keys known by their SHA-256: the digest finds the record, and the record is a set of claims.

use aws_lc_rs::digest;

use super::{
    CQA_V1_PREFIX, Entry, KeyId, Record, Table, end, hex, object,
    table::{Span, Text},
};

/// A record: its claims as JSON, and when it ends.
pub struct Sha256Record {
    claims: Span,
    ends_ms: Option<i64>,
}

impl Record for Sha256Record {
    type Id = [u8; 32];

    fn id(name: &str) -> Option<[u8; 32]> {
        hex(name)
    }

    fn read(value: &[u8], text: &mut Text) -> Result<Self, &'static str> {
        let claims = object(value)?;
        let ends_ms = end(&claims)?;
        // Written again: members in one order and without blanks, so that equal records are equal texts.
        let json = serde_json::to_string(&claims).map_err(|_| "the value is no JSON object")?;
        let claims = text.push(&json).ok_or("there are more records than fit in a table")?;
        Ok(Self { claims, ends_ms })
    }

    fn equals(&self, other: &Self, text: &Text) -> bool {
        text.at(self.claims) == text.at(other.claims)
    }
}

impl Table<Sha256Record> {
    /// The record of this key. Which digests are in the table does not show in the time this takes: nobody can choose the digest of a
    /// guess, so a lookup that ends early says nothing about the next guess.
    pub fn find(&self, key: &str) -> Option<Entry> {
        let digest = digest_of(key)?;
        let (record, text) = self.get(&digest)?;
        let claims = object(text.at(record.claims).as_bytes()).ok()?;
        Some(Entry { id: KeyId::of_digest(digest), claims, ends_ms: record.ends_ms })
    }

    /// Whether there is a record of this key, in force or ended.
    pub fn knows(&self, key: &str) -> bool {
        digest_of(key).is_some_and(|digest| self.get(&digest).is_some())
    }
}

/// Keys that say what kind they are belong to that kind alone.
fn digest_of(key: &str) -> Option<[u8; 32]> {
    if key.is_empty() || key.starts_with(CQA_V1_PREFIX) {
        return None;
    }
    digest::digest(&digest::SHA256, key.as_bytes()).as_ref().try_into().ok()
}
