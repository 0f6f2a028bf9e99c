//! What a shared store is asked: all counts of one request at once, so that they cost one wait.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use crds::snapshot::{Limit, SharedStore};
use smallvec::SmallVec;

use super::{LimitKey, Subject, Taken};

/// A question to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Who is asked.
    pub store: Arc<SharedStore>,
    /// In order: where one has no room, those behind it are not counted.
    pub counts: SmallVec<[Count; 2]>,
    /// Whether anything is counted; else it is only looked at.
    pub take: bool,
}

/// One counter and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Names the counter.
    pub name: CounterName,
    /// Most in a window.
    pub rate: u32,
    /// Length of the window.
    pub window: Duration,
}

/// Half of a SHA-256 over limit and subject: a store sees neither a person nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CounterName([u8; 16]);

/// What came of a tally, in its order and up to the first that had no room; `None`: it could not be found out.
pub type Tallied = Option<SmallVec<[Taken; 2]>>;

// === impl Tally ===

impl Tally {
    /// What a store would say that has counted nothing yet.
    pub fn of_nothing(&self, now_ms: i64) -> SmallVec<[Taken; 2]> {
        let taken = |count: &Count| Taken {
            allowed: count.rate > 0,
            remaining: count.rate.saturating_sub(self.take.into()),
            resets_ms: now_ms.saturating_add(i64::try_from(count.window.as_millis()).unwrap_or(i64::MAX)),
        };
        self.counts.iter().map(taken).collect()
    }
}

// === impl Count ===

impl Count {
    pub(crate) fn new(limit: &Limit, subject: Subject) -> Self {
        let name = CounterName::of(&LimitKey { limit: limit.id, subject });
        Self { name, rate: limit.rate, window: limit.window }
    }
}

// === impl CounterName ===

impl CounterName {
    /// The name of a counter, the same in every process.
    pub fn of(key: &LimitKey) -> Self {
        let (kind, who): (u8, &[u8]) = match &key.subject {
            Subject::Everybody => (0, &[]),
            Subject::Unknown => (1, &[]),
            Subject::Address(IpAddr::V4(address)) => (2, &address.octets()),
            Subject::Address(IpAddr::V6(address)) => (3, &address.octets()),
            Subject::Principal(user) => (4, user.as_bytes()),
        };
        let mut context = Context::new(&SHA256);
        context.update(&key.limit.0.to_be_bytes());
        context.update(&[kind]);
        context.update(who);
        let digest: [u8; 32] = crds::digest::array(&context.finish());
        let mut half = [0; 16];
        half.iter_mut().zip(digest).for_each(|(own, byte)| *own = byte);
        Self(half)
    }

    /// From what [`CounterName::hex`] wrote.
    pub(crate) const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// In hex.
    pub fn hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}
