//! New API keys and their records, and records as people list and revoke them. Random bytes and the time are the caller's.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use serde_json::{Map, Value};

use super::{CQA_V1_PREFIX, CqaV1Record, Record, Sha256Record, object};
use crate::digest::hex;

/// How keys begin that are known by their digest; it names the kind in logs and secret scanners, and means nothing to us.
const DIGEST_PREFIX: &str = "gwk_";

/// A new key and the entry that knows it.
pub struct Minted {
    /// The key itself; it is not stored anywhere.
    pub key: String,
    /// The first characters of its secret, for lists that people read.
    pub prefix: String,
    /// Name of the entry.
    pub name: String,
    /// Value of the entry.
    pub value: String,
}

/// A record as people see it: nothing that helps to guess a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which kind of key.
    pub kind: KeyKind,
    /// Whose key it is, as far as the record says.
    pub user: Option<String>,
    /// `expires_at` as written.
    pub expires_at: Option<String>,
    /// `revoked_at` as written.
    pub revoked_at: Option<String>,
    /// When it ends, as enforced; `i64::MIN`: revoked.
    pub ends_ms: Option<i64>,
}

/// Kinds of API keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `cqa.v1` keys.
    CqaV1,
    /// Keys known by their SHA-256.
    Sha256,
}

// === impl Minted ===

impl Minted {
    /// A `cqa.v1` key.
    pub fn cqa_v1(id: [u8; 16], secret: [u8; 32], pepper: &[u8], user: &str, expires_at: &str) -> Self {
        let (name, secret) = (hex(&id), base32(&secret));
        let hash = cqa_v1_hash(pepper, &secret);
        let record = [
            ("hash", hash.into()),
            ("user", user.into()),
            ("expires_at", expires_at.into()),
            ("revoked_at", Value::Null),
        ];
        Self { key: format!("{CQA_V1_PREFIX}{name}.{secret}"), prefix: shown(&secret), name, value: json(record) }
    }

    /// A key known by its digest.
    pub fn sha256(secret: [u8; 32], user: &str, expires_at: &str) -> Self {
        let secret = base32(&secret);
        let key = format!("{DIGEST_PREFIX}{secret}");
        let record = [
            ("sub", user.into()),
            ("user_id", user.into()),
            ("expires_at", expires_at.into()),
            ("revoked_at", Value::Null),
        ];
        Self { name: sha256_name(&key), prefix: shown(&secret), key, value: json(record) }
    }
}

/// The name of the entry that knows this key by its digest.
pub fn sha256_name(key: &str) -> String {
    hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())
}

/// The `hash` of the record of a `cqa.v1` key with this secret.
pub fn cqa_v1_hash(pepper: &[u8], secret: &str) -> String {
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pepper), secret.as_bytes()).as_ref())
}

/// An entry as a record of either kind, if it is one.
pub fn listed(name: &str, value: &[u8]) -> Option<Listed> {
    let kind = if CqaV1Record::id(name).is_some() {
        KeyKind::CqaV1
    } else {
        Sha256Record::id(name)?;
        KeyKind::Sha256
    };
    let record = object(value).ok()?;
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    let user = ["user", "user_id", "sub"].into_iter().find_map(text);
    let ends_ms = super::end(&record).ok()?;
    Some(Listed { kind, user, expires_at: text("expires_at"), revoked_at: text("revoked_at"), ends_ms })
}

/// The value of an entry once its key is revoked.
pub fn revoked(value: &[u8], revoked_at: &str) -> Option<String> {
    let mut record = object(value).ok()?;
    record.insert("revoked_at".to_owned(), revoked_at.into());
    serde_json::to_string(&record).ok()
}

fn json<const N: usize>(members: [(&str, Value); N]) -> String {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()).to_string()
}

fn shown(secret: &str) -> String {
    secret.chars().take(8).collect()
}

/// RFC 4648 section 6, in lower case and without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - group.len()));
        let characters = (group.len() * 8).div_ceil(5);
        let five = |index: usize| usize::try_from(bits >> (35 - 5 * index) & 31).ok();
        text.extend((0..characters).filter_map(|index| ALPHABET.get(five(index)?).map(|byte| char::from(*byte))));
    }
    text
}

impl fmt::Debug for Minted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Minted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl KeyKind {
    /// The word of `--format`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CqaV1 => "cqa-v1",
            Self::Sha256 => "sha256",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(base32(&[255; 32]).len(), 52);
    }

    #[test]
    fn records_are_listed_and_revoked() {
        let minted = Minted::sha256([7; 32], "alice", "2030-01-01T00:00:00Z");
        let before = listed(&minted.name, minted.value.as_bytes()).unwrap();
        assert_eq!(
            (before.kind, before.user.as_deref(), before.ends_ms),
            (KeyKind::Sha256, Some("alice"), Some(1_893_456_000_000))
        );
        let value = revoked(minted.value.as_bytes(), "2026-01-01T00:00:00Z").unwrap();
        let after = listed(&minted.name, value.as_bytes()).unwrap();
        assert_eq!((after.ends_ms, after.revoked_at.as_deref()), (Some(i64::MIN), Some("2026-01-01T00:00:00Z")));
        assert!(listed("password", b"{}").is_none() && listed(&minted.name, b"x").is_none());
    }
}
