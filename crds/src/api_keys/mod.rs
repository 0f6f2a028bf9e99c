//! API keys: tables of records, made from the entries of Secrets, and the question whether a text is a key of one.
//!
//! ```text
//!  Secrets ──► Table<Record> ──► find(text) ──► Entry { what the record says, when it ends }
//!              one map, one text     O(1)
//! ```
//!
//! Owns the two forms of keys and their records. Must never hold an API key but for the moment in which it is made, show a record, read a
//! clock, or let one bad record spoil others: what cannot be read is left out and counted. A table is made once for a set of Secrets and
//! shared.

mod cqa_v1;
mod mint;
mod sha256;
mod table;
#[cfg(test)]
mod tests;
mod uses;

pub use cqa_v1::{CqaV1Record, PREFIX as CQA_V1_PREFIX, Peppers};
pub use mint::{KeyKind, Listed, Minted, cqa_v1_hash, listed, revoked, sha256_name};
pub use sha256::Sha256Record;
pub use table::{Record, Skipped, Table};
pub use uses::{KeyId, KeyTimes, USES_ENTRY, USES_PARTS, Uses, is_uses_secret, pack_uses, read_uses, uses_secret};

use serde_json::{Map, Value};

/// What a record says about its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which key it is, for what is told about its use.
    pub id: KeyId,
    /// Claims, as a token would have them.
    pub claims: Map<String, Value>,
    /// When the key ends, in milliseconds since the Unix epoch. A revoked key has ended before everything.
    pub ends_ms: Option<i64>,
}

/// Two hex digits a byte, in lower case; exactly `N` bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |value, digit| Some(value << 4 | nibble(*digit)?))?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// When a record ends a key: `expires_at` or, for ever and before everything, `revoked_at`.
fn end(record: &Map<String, Value>) -> Result<Option<i64>, &'static str> {
    let moment = |name: &str, otherwise: &'static str| match record.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let moment = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            moment.map(|one| Some(one.as_millisecond())).ok_or(otherwise)
        }
    };
    let expires = moment("expires_at", "`expires_at` is neither null nor a time of RFC 3339")?;
    let revoked = moment("revoked_at", "`revoked_at` is neither null nor a time of RFC 3339")?;
    // Whatever the time says: somebody decided that the key must not work.
    Ok(if revoked.is_some() { Some(i64::MIN) } else { expires })
}

fn object(value: &[u8]) -> Result<Map<String, Value>, &'static str> {
    serde_json::from_slice(value).map_err(|_| "the value is no JSON object")
}
