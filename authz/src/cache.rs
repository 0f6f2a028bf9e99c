//! Verified tokens, bounded in memory. Holds verdicts that were good; never a token, and never a refusal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::Digest;
use moka::sync::Cache;

use crate::decide::{Grants, IdentityHeaders, Proven};

/// SHA-256 over a credential and everything its verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenKey([u8; 32]);

/// A bounded cache. A full one forgets; it never refuses.
#[derive(Debug)]
pub struct TokenCache {
    entries: Cache<TokenKey, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    proven: Arc<Proven>,
    /// Its end by a clock that nobody sets, where others were asked: one that is set back would prolong what they said. Nothing else pays
    /// for the look at that clock.
    until: Option<Instant>,
}

// === impl TokenKey ===

impl From<&Digest> for TokenKey {
    fn from(digest: &Digest) -> Self {
        Self(crds::digest::array(digest))
    }
}

// === impl TokenCache ===

impl TokenCache {
    /// A cache of at most `max_bytes` (estimated) of verified claims.
    pub fn new(max_bytes: u64) -> Self {
        Self { entries: Cache::builder().max_capacity(max_bytes).weigher(weight).build() }
    }

    /// The verdict, if it is still here. The caller compares its end with the clock.
    pub fn get(&self, key: &TokenKey) -> Option<Arc<Proven>> {
        let entry = self.entries.get(key)?;
        entry.until.is_none_or(|until| Instant::now() < until).then_some(entry.proven)
    }

    /// Keeps a verdict of this moment.
    pub fn insert(&self, key: TokenKey, proven: Arc<Proven>, now_ms: i64) {
        let until = proven.keep_until_ms.map(|end| after(end.saturating_sub(now_ms)));
        self.entries.insert(key, Entry { proven, until });
    }

    /// What all verdicts weigh together, once everything that is due has been forgotten.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}

/// So many milliseconds from now. An end that the clock cannot name is now: it is asked again.
fn after(milliseconds: i64) -> Instant {
    let now = Instant::now();
    now.checked_add(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))).unwrap_or(now)
}

/// An estimate that grows with what a caller can make grow.
fn weight(_: &TokenKey, Entry { proven, .. }: &Entry) -> u32 {
    const FIXED: usize = 512;
    let headers = proven.headers.as_ref().map_or(0, IdentityHeaders::weight);
    let claims =
        proven.principal.claims.iter().map(|(name, value)| name.len() + 64 + value_weight(value)).sum::<usize>();
    let grants = match &proven.grants {
        Grants::Everything => 0,
        Grants::Scopes(all) => all.iter().map(|one| one.len() + 32).sum(),
    };
    u32::try_from(FIXED + headers + claims + grants).unwrap_or(u32::MAX)
}

fn value_weight(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(value_weight).sum::<usize>(),
        Value::Object(members) => {
            32 + members.iter().map(|(name, value)| 64 + name.len() + value_weight(value)).sum::<usize>()
        }
    }
}
