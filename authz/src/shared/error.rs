//! Why a store did not count.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::net::NetworkError;

/// A failure in our own words: a server's text could hold anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(
        "the password, the certificate authorities or the client certificate that the policy names are missing or not fit"
    )]
    Incomplete,
    #[error("no connection could be made; check that the server is up, its port, routes and network policies")]
    Connect,
    #[error(
        "the TLS handshake failed; check that the server speaks TLS on this port, that its certificate is for this name and signed by an authority of caBundleRef, and whether it wants a client certificate"
    )]
    Tls,
    #[error("the server accepts no such user and password; check username and passwordRef")]
    SignIn,
    #[error("no answer in time")]
    Timeout,
    #[error("the connection was cut")]
    Cut,
    #[error("the server refused: {0}")]
    Refused(&'static str),
    #[error("what was answered is not what a Redis server answers")]
    Content,
    #[error("the store is down, and was not asked again yet")]
    Down,
}

// === impl StoreError ===

impl StoreError {
    /// Of the client library.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::SignIn,
            ErrorKind::Io => Self::Cut,
            ErrorKind::Server(kind) => Self::Refused(match kind {
                ServerErrorKind::BusyLoading => "it loads its data",
                ServerErrorKind::ReadOnly => "it is a replica, which cannot be written",
                ServerErrorKind::NoPerm => {
                    "the user may not run the scripts; allow it evalsha, script|load, get, set, incr, pexpire, pttl, ping, for limits of connections time, zadd, zcard, zrem, zremrangebyscore, and the keys of keyPrefix"
                }
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot => {
                    "it is a part of a Redis Cluster; use a single server"
                }
                ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown => "it has lost its primary",
                _ => "it could not run the script",
            }),
            ErrorKind::Extension => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => Self::SignIn,
                Some("OOM") => Self::Refused("its memory is full"),
                Some("BUSY") => Self::Refused("it is busy with a script of somebody else"),
                Some("MISCONF" | "NOREPLICAS") => Self::Refused("it takes no writes at the moment"),
                Some("WRONGTYPE") => Self::Refused("something else is stored under the name of a counter"),
                _ => Self::Refused("for a reason of its own"),
            },
            _ => Self::Content,
        }
    }

    /// The word of metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Incomplete => "incomplete",
            Self::Connect | Self::Cut => "connection",
            Self::Tls => "tls",
            Self::SignIn => "sign_in",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
            Self::Content => "content",
            Self::Down => "down",
        }
    }
}
