//! A set of keys and the choice among them.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    MAX_DOCUMENT_BYTES, MAX_ENTRIES, VerifyingKey,
    document::{self, Entry},
    jwk,
};
use crate::algorithm::Algorithm;

/// How many usable keys are kept. The rest is skipped, and said to be.
pub const MAX_KEYS: usize = 100;

/// How many keys a token may make us try.
pub const MAX_CANDIDATES: usize = 4;

/// The usable keys of one document, and what became of the others. Shows public facts only.
pub struct KeySet {
    keys: Box<[VerifyingKey]>,
    skipped: Box<[SkippedKey]>,
    version: u64,
}

/// An entry that verifies nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedKey {
    /// Its position in the document, from 0.
    pub index: usize,
    /// Its `kid`, if it has a usable one.
    pub kid: Option<Box<str>>,
    /// Fixed words.
    pub reason: &'static str,
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Longer than [`MAX_DOCUMENT_BYTES`].
    #[error(
        "the key set is larger than {MAX_DOCUMENT_BYTES} bytes; check that the address or reference is that of a JWK Set"
    )]
    TooLarge,
    /// Not a JSON object.
    #[error("the key set is not a JSON object; it must be a JWK Set as in RFC 7517 section 5")]
    NotJson,
    /// `keys` is missing, there twice, or not an array.
    #[error("the key set has no array `keys`, or has it twice; a single JWK must be wrapped as {{\"keys\": [...]}}")]
    NoKeysArray,
    /// More than [`MAX_ENTRIES`] entries.
    #[error("the key set has more than {MAX_ENTRIES} entries; publish only keys that are in use")]
    TooManyKeys,
    /// Every entry was skipped, or there is none. `reason` is that of the first.
    #[error(
        "the key set has no key that can verify a signature ({reason}); it needs an RSA key of 2048 bits or more, an EC key on \
         P-256, P-384 or P-521, or an Ed25519 key, public and for signatures"
    )]
    NoUsableKey {
        /// Why the first entry was skipped, or that there is none.
        reason: &'static str,
    },
}

/// The keys that may have signed a token.
#[derive(Debug)]
pub enum Candidates<'a> {
    /// No key has this `kid`. A newer set may have it.
    UnknownKid,
    /// The key is there and does not permit the algorithm, or no key does.
    NoneFits,
    /// Several fit and nothing says which: more than [`MAX_CANDIDATES`] of one `kid`, or more than one without.
    Ambiguous,
    /// One to [`MAX_CANDIDATES`].
    Keys(Vec<&'a VerifyingKey>),
    /// No key has this `kid`, and the only one that has none permits the algorithm. If it did not sign, a newer set may hold who did.
    Unnamed(&'a VerifyingKey),
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JWK Set. Bad entries are skipped one by one; a document over its limits is refused whole.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let mut keys: Vec<VerifyingKey> = Vec::new();
        let mut fingerprints: Vec<[u8; 32]> = Vec::new();
        let mut skipped = Vec::new();
        for (index, entry) in document::entries(document)?.iter().enumerate() {
            let read = read(entry).and_then(|key| {
                let fingerprint = key.fingerprint();
                if fingerprints.contains(&fingerprint) {
                    return Err("the same key again");
                }
                if keys.len() == MAX_KEYS {
                    return Err("more than 100 usable keys");
                }
                fingerprints.push(fingerprint);
                Ok(key)
            });
            match read {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { index, kid: named(entry), reason }),
            }
        }
        if keys.is_empty() {
            let reason = skipped.first().map_or("there is no entry", |first: &SkippedKey| first.reason);
            return Err(KeySetError::NoUsableKey { reason });
        }
        Ok(Self { keys: keys.into(), skipped: skipped.into(), version: version(fingerprints) })
    }

    /// The usable keys, in the order of the document.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// What was skipped, in the order of the document.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Changes exactly when the usable keys change; their order and everything that verifies nothing do not count.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The keys to try: those of exactly this `kid`; without one, the only key that permits the algorithm (contract, section 6).
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Candidates<'_> {
        let mut named = self.keys.iter().filter(|key| kid.is_none() || key.kid() == kid).peekable();
        if kid.is_some() && named.peek().is_none() {
            // An issuer with one key often names it in tokens and not in its set (RFC 7517 section 4.5: `kid` is optional).
            let mut unnamed = self.keys.iter().filter(|key| key.kid().is_none() && key.permits(algorithm));
            return match (unnamed.next(), unnamed.next()) {
                (Some(key), None) => Candidates::Unnamed(key),
                _ => Candidates::UnknownKid,
            };
        }
        let limit = if kid.is_some() { MAX_CANDIDATES } else { 1 };
        let fitting: Vec<_> = named.filter(|key| key.permits(algorithm)).take(limit + 1).collect();
        match fitting.len() {
            0 => Candidates::NoneFits,
            count if count > limit => Candidates::Ambiguous,
            _ => Candidates::Keys(fitting),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeySet")
            .field("version", &format_args!("{:016x}", self.version))
            .field("keys", &self.keys)
            .field("skipped", &self.skipped)
            .finish()
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("KeySet", 3)?;
        // As text: JSON numbers lose digits past 2^53.
        shown.serialize_field("version", &format!("{:016x}", self.version))?;
        shown.serialize_field("keys", &self.keys)?;
        shown.serialize_field("skipped", &self.skipped)?;
        shown.end()
    }
}

fn read(entry: &Entry) -> Result<VerifyingKey, &'static str> {
    match entry {
        Entry::Members(members) => jwk::read(members),
        Entry::Twice => Err("says a member twice"),
        Entry::NoObject => Err("not an object"),
    }
}

fn named(entry: &Entry) -> Option<Box<str>> {
    match entry {
        Entry::Members(members) => jwk::kid(members).ok().flatten().map(Into::into),
        Entry::Twice | Entry::NoObject => None,
    }
}

/// The first eight bytes of SHA-256 over the fingerprints in order of value.
fn version(mut fingerprints: Vec<[u8; 32]>) -> u64 {
    fingerprints.sort_unstable();
    crate::digest::short(digest::digest(&digest::SHA256, fingerprints.as_flattened()).as_ref())
}
