//! Keys of the form `cqa.v1.<32 hex digits>.<52 characters of lower-case base32>`: the id finds the record, and the record holds an
//! HMAC-SHA256 of the rest under a pepper. Every failure looks the same and takes the same time.

use std::fmt;

use aws_lc_rs::{
    digest::{Context, SHA256},
    hmac,
};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value};

use super::{
    Entry, KeyId, Record, Table, end, hex, object,
    table::{Span, Text},
};
use crate::secret::Secret;

/// How every key of this form begins.
pub const PREFIX: &str = "cqa.v1.";
/// 32 bytes in base32.
const SECRET_CHARACTERS: usize = 52;

/// A record: the HMAC, whose key it is, and when it ends.
pub struct CqaV1Record {
    hash: [u8; 32],
    user: Span,
    ends_ms: Option<i64>,
}

/// The keys of the HMAC, in order of trial.
pub struct Peppers {
    keys: Box<[hmac::Key]>,
    missing: bool,
    version: u64,
}

impl Record for CqaV1Record {
    type Id = [u8; 16];

    fn id(name: &str) -> Option<[u8; 16]> {
        hex(name)
    }

    fn read(value: &[u8], text: &mut Text) -> Result<Self, &'static str> {
        let record = object(value)?;
        let hash = record.get("hash").and_then(Value::as_str).and_then(|text| hex(&text.to_ascii_lowercase()));
        let hash = hash.ok_or("`hash` is not 64 hex digits")?;
        let user =
            record.get("user").and_then(Value::as_str).filter(|user| !user.is_empty()).ok_or("`user` is not text")?;
        // A misspelt one would make a key live for ever.
        if !record.contains_key("expires_at") || !record.contains_key("revoked_at") {
            return Err("`expires_at` or `revoked_at` is missing; write null for never");
        }
        let ends_ms = end(&record)?;
        let user = text.push(user).ok_or("there are more records than fit in a table")?;
        Ok(Self { hash, user, ends_ms })
    }

    fn equals(&self, other: &Self, text: &Text) -> bool {
        self.hash == other.hash && self.ends_ms == other.ends_ms && text.at(self.user) == text.at(other.user)
    }
}

impl Table<CqaV1Record> {
    /// The record of this key. Whether the id is unknown or the secret wrong shows neither in the answer nor in the time.
    pub fn find(&self, peppers: &Peppers, key: &str) -> Option<Entry> {
        let (id, secret) = parse(key)?;
        let found = self.get(&id);
        let hash = found.map_or([0; 32], |(record, _)| record.hash);
        let good = peppers.verify(secret.as_bytes(), &hash);
        let (record, text) = found.filter(|_| good)?;
        let user = Value::from(text.at(record.user));
        let claims = Map::from_iter([("sub".to_owned(), user.clone()), ("user".to_owned(), user)]);
        Some(Entry { id: KeyId::of_cqa_v1(id), claims, ends_ms: record.ends_ms })
    }
}

/// Id and secret of a text in exactly this form: one text for one key.
fn parse(key: &str) -> Option<([u8; 16], &str)> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('.')?;
    let is_base32 =
        secret.len() == SECRET_CHARACTERS && secret.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    if is_base32 { Some((hex(id)?, secret)) } else { None }
}

// === impl Peppers ===

impl Peppers {
    /// From those that are there; `missing`: others should be.
    pub fn new(peppers: &[Secret], missing: bool) -> Self {
        let mut context = Context::new(&SHA256);
        for pepper in peppers {
            context.update(&(pepper.expose().len() as u64).to_be_bytes());
            context.update(pepper.expose());
        }
        let version = crate::digest::short(context.finish().as_ref());
        let keys = peppers.iter().map(|pepper| hmac::Key::new(hmac::HMAC_SHA256, pepper.expose())).collect();
        Self { keys, missing, version }
    }

    /// Every pepper is tried, whichever fits.
    fn verify(&self, secret: &[u8], hash: &[u8; 32]) -> bool {
        self.keys.iter().fold(false, |good, pepper| hmac::verify(pepper, secret, hash).is_ok() | good)
    }

    /// Whether a pepper should be there and is not: a key that fails may be good under that one.
    pub const fn lack(&self) -> bool {
        self.missing
    }

    /// Changes whenever they do. Not shown: with it, a guessed pepper could be confirmed.
    pub const fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Peppers")
            .field("keys", &self.keys.len())
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl Serialize for Peppers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Peppers", 2)?;
        shown.serialize_field("keys", &self.keys.len())?;
        shown.serialize_field("missing", &self.missing)?;
        shown.end()
    }
}
