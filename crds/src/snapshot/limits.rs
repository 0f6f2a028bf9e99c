//! Compiled limits.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::Tls;
use crate::secret::Secret;

/// Limits in force for a set of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Of requests: the route's first, so that one it refuses is not counted for the whole policy. All must have room.
    pub requests: Vec<Limit>,
    /// Of bad credentials, by address.
    pub failures: Option<Limit>,
    /// Of connections that stay open.
    pub connections: Option<ConnectionLimit>,
    /// Which address of X-Forwarded-For is the client's, counted from the right; 0: the one the proxy reports.
    pub trusted_hops: usize,
    /// Where they are counted; `None`: in each process.
    pub store: Option<Arc<SharedStore>>,
}

impl Limits {
    /// Whether connections are limited and each process counts its own.
    pub fn counts_connections_alone(&self) -> bool {
        self.connections.is_some() && self.store.is_none()
    }
}

/// A server of the Redis protocol that several processes count in.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedStore {
    /// Name or address; an address of IPv6 without brackets. Whether it may be reached is decided where it is dialled.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Number of the database.
    pub database: u16,
    /// As whom; `None`: the default user.
    pub username: Option<Box<str>>,
    /// With which password.
    pub password: StorePassword,
    /// Whom we believe, and who we are.
    pub tls: Tls,
    /// From the start of a count to its answer.
    pub timeout: Duration,
    /// What the names of keys begin with.
    pub prefix: Box<str>,
    /// Whether requests pass that cannot be counted.
    pub pass_uncounted: bool,
    /// SHA-256 over all that a connection depends on: policies that say the same share one.
    #[serde(skip)]
    pub id: [u8; 32],
}

/// The password of a store.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StorePassword {
    /// None.
    None,
    /// This one, UTF-8.
    Own(#[serde(skip)] Secret),
    /// Referenced, and not there or not fit: the store is not asked.
    Missing,
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

/// A number of connections at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionLimit {
    /// Names its counters.
    pub id: LimitId,
    /// Most of them at once.
    pub max: u32,
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
