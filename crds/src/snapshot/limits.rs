//! Compiled limits.

use std::time::Duration;

use serde::Serialize;

/// Limits in force for a set of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Of requests: the route's first, so that one it refuses is not counted for the whole policy. All must have room.
    pub requests: Vec<Limit>,
    /// Of bad credentials, by address.
    pub failures: Option<Limit>,
    /// Which address of X-Forwarded-For is the client's, counted from the right; 0: the one the proxy reports.
    pub trusted_hops: usize,
}

/// A number of things in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Names its counters; another window or another way of counting is another limit and starts at nothing.
    pub id: LimitId,
    /// Most of them in a window.
    pub rate: u32,
    /// Length of the window.
    pub window: Duration,
    /// What is counted together.
    pub by: LimitBy,
}

/// A digest over the policy's identity, the route, what is counted, by what, and in which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct LimitId(pub u64);

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LimitBy {
    /// An address; of IPv6, a /64.
    Address,
    /// A person; an address where nobody is signed in.
    Principal,
    /// Everything.
    Global,
}

impl LimitBy {
    /// A word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Principal => "principal",
            Self::Global => "policy or route",
        }
    }
}
