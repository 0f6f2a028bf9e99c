//! The refusal codes of the contract, section 4: one table for answers, metrics, logs, metadata and `explain`.

use serde::Serialize;

/// Why a request was refused. Every code has one HTTP status and one gRPC status; nothing else chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request itself cannot be read in one way only.
    MalformedRequest,
    /// Nothing that could be a credential was sent.
    MissingCredential,
    /// A credential was sent and is not good.
    InvalidToken,
    /// A credential was good once: its signature holds and its time is over.
    ExpiredToken,
    /// A verified credential lacks a claim that this policy needs.
    ClaimMissing,
    /// Known, but not allowed.
    Forbidden,
    /// Known, but without the scope (RFC 6750 section 3.1).
    InsufficientScope,
    /// A verified claim cannot be carried in a header.
    ClaimUnusable,
    /// No policy answers for this host.
    NoPolicy,
    /// No route answers for this path.
    NotFound,
    /// More requests than a limit of the policy allows.
    RateLimited,
    /// More failed authentications than a limit of the policy allows.
    TooManyFailures,
    /// We cannot decide now: keys never loaded, a policy never accepted, a secret missing.
    Unavailable,
    /// More checks at once than this process takes.
    Overloaded,
}

impl Code {
    /// All codes, for tables and bounded metric labels.
    pub const ALL: [Self; 14] = [
        Self::MalformedRequest,
        Self::MissingCredential,
        Self::InvalidToken,
        Self::ExpiredToken,
        Self::ClaimMissing,
        Self::Forbidden,
        Self::InsufficientScope,
        Self::ClaimUnusable,
        Self::NoPolicy,
        Self::NotFound,
        Self::RateLimited,
        Self::TooManyFailures,
        Self::Unavailable,
        Self::Overloaded,
    ];

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::MissingCredential => "missing_credential",
            Self::InvalidToken => "invalid_token",
            Self::ExpiredToken => "expired_token",
            Self::ClaimMissing => "claim_missing",
            Self::Forbidden => "forbidden",
            Self::InsufficientScope => "insufficient_scope",
            Self::ClaimUnusable => "claim_unusable",
            Self::NoPolicy => "no_policy",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::TooManyFailures => "too_many_failures",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
        }
    }

    /// The HTTP status of the refusal.
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedRequest => 400,
            Self::MissingCredential | Self::InvalidToken | Self::ExpiredToken | Self::ClaimMissing => 401,
            Self::Forbidden | Self::InsufficientScope | Self::ClaimUnusable | Self::NoPolicy => 403,
            Self::NotFound => 404,
            Self::RateLimited | Self::TooManyFailures => 429,
            Self::Unavailable | Self::Overloaded => 503,
        }
    }

    /// The gRPC status code of the refusal; never 0.
    pub const fn grpc(self) -> u8 {
        match self {
            Self::MalformedRequest => 3,
            Self::MissingCredential | Self::InvalidToken | Self::ExpiredToken | Self::ClaimMissing => 16,
            Self::Forbidden | Self::InsufficientScope | Self::ClaimUnusable | Self::NoPolicy => 7,
            Self::NotFound => 5,
            Self::RateLimited | Self::TooManyFailures => 8,
            Self::Unavailable | Self::Overloaded => 14,
        }
    }
}
