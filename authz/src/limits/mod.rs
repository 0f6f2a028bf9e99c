//! Counters of limits, as the decision sees them. Owns the trait, its keys and the answer's headers; a store that counts in this
//! process is [`LocalLimits`].
//!
//! A store answers at once. One that is shared by several processes needs a wait: it is asked a [`Tally`], a
//! [`Need`](crate::decide::Need) of the decision made once for a request, so that deciding stays synchronous.

mod lease;
mod local;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crds::snapshot::{Limit, LimitId};

pub use lease::{LEASE, Lease, LeaseAsk, Leased, LocalLeases, NoLease, Sign};
pub use local::LocalLimits;
pub use tally::{Count, CounterName, Tallied, Tally};

/// Counts.
pub trait LimitStore: Send + Sync {
    /// Counts one, if there is room.
    fn take(&self, key: LimitKey, rate: u32, window: Duration, now_ms: i64) -> Taken;

    /// What there is, without counting.
    fn look(&self, key: &LimitKey, rate: u32, window: Duration, now_ms: i64) -> Taken;
}

/// One counter of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// The limit.
    pub limit: LimitId,
    /// Who is counted.
    pub subject: Subject,
}

/// Who is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everybody.
    Everybody,
    /// An IPv4 address, or the /64 of an IPv6 address: a single host is given that much, and could use a new address every time.
    Address(IpAddr),
    /// Everybody whose address is not known: one counter, not none.
    Unknown,
    /// A person, by the stable id.
    Principal(Box<str>),
}

/// What came of one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was room.
    pub allowed: bool,
    /// How many more there is room for.
    pub remaining: u32,
    /// When the window ends, in milliseconds since the Unix epoch.
    pub resets_ms: i64,
}

/// How far a limit is used, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Most in a window.
    pub limit: u32,
    /// Length of the window.
    pub window: Duration,
    /// The state after this request.
    pub taken: Taken,
    /// The moment of this request, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

// === impl Subject ===

impl Subject {
    /// The subject of an address.
    pub fn address(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(address)) => Self::Address(IpAddr::V4(address)),
            Some(IpAddr::V6(address)) => {
                Self::Address(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))))
            }
        }
    }
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(limit: &Limit, taken: Taken, now_ms: i64) -> Self {
        Self { limit: limit.rate, window: limit.window, taken, now_ms }
    }

    /// Whole seconds until the window ends, rounded up.
    pub fn seconds_left(&self) -> u64 {
        ceil_seconds(self.taken.resets_ms.saturating_sub(self.now_ms))
    }

    /// Length of the window in whole seconds, rounded up.
    pub fn window_seconds(&self) -> u64 {
        u64::try_from(self.window.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// The headers of the answer, whatever it is.
    pub fn headers(&self) -> [(&'static str, String); 4] {
        [
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.taken.remaining.to_string()),
            ("x-ratelimit-reset", ceil_seconds(self.taken.resets_ms).to_string()),
            ("x-ratelimit-reset-after", self.seconds_left().to_string()),
        ]
    }
}

fn ceil_seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds).unwrap_or(0).div_ceil(1000)
}
