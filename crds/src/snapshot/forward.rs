//! What the upstream gets: names that are ours, and where their values come from.

use std::sync::Arc;

use serde::Serialize;

use super::Replacement;
use crate::{expr::Expr, secret::Secret};

/// The fixed identity headers, in the order of the contract, section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum IdentityHeader {
    /// `…type`.
    Type,
    /// `…authenticator`.
    Authenticator,
    /// `…issuer`.
    Issuer,
    /// `…subject`.
    Subject,
    /// `…user`.
    User,
    /// `…email`.
    Email,
    /// `…name`.
    Name,
    /// `…roles`.
    Roles,
    /// `…scopes`.
    Scopes,
    /// `…traffic`.
    Traffic,
    /// `…mfa`.
    Mfa,
}

impl IdentityHeader {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Type,
        Self::Authenticator,
        Self::Issuer,
        Self::Subject,
        Self::User,
        Self::Email,
        Self::Name,
        Self::Roles,
        Self::Scopes,
        Self::Traffic,
        Self::Mfa,
    ];

    /// What follows the prefix.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Authenticator => "authenticator",
            Self::Issuer => "issuer",
            Self::Subject => "subject",
            Self::User => "user",
            Self::Email => "email",
            Self::Name => "name",
            Self::Roles => "roles",
            Self::Scopes => "scopes",
            Self::Traffic => "traffic",
            Self::Mfa => "mfa",
        }
    }
}

/// What one route sends on.
#[derive(Debug, Serialize)]
pub struct Forward {
    /// Full names of the identity headers, by position in [`IdentityHeader::ALL`].
    pub names: Arc<[Arc<str>; 11]>,
    /// What happens to the verified credential.
    pub credential: CredentialForwarding,
    /// What is sent in its place; then it is removed.
    pub replacement: Option<Replacement>,
    /// Mapped headers, in document order, names unique.
    pub headers: Vec<MappedHeader>,
    /// Header with all claims as base64url JSON.
    pub claims_header: Option<Arc<str>>,
}

/// What happens to the credential that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CredentialForwarding {
    /// It stays, for an upstream that checks it again.
    Keep,
    /// It is taken out.
    Remove,
}

/// A header computed for the upstream.
#[derive(Debug, Serialize)]
pub struct MappedHeader {
    /// Lower case; never one that frames, routes or authenticates.
    pub name: Arc<str>,
    /// Its value.
    pub value: HeaderValueSource,
}

/// Where a mapped header's value comes from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HeaderValueSource {
    /// A claim of the verified credential.
    Claim(Box<str>),
    /// A CEL expression.
    Cel(Expr),
    /// Hex HMAC-SHA256 of a CEL expression's value.
    HmacSha256(HmacHeader),
}

/// A keyed digest of an expression.
#[derive(Debug, Serialize)]
pub struct HmacHeader {
    /// The key; absent when the referenced Secret is missing or too weak, and then requests that need it are refused.
    #[serde(skip)]
    pub key: Option<Secret>,
    /// What is digested.
    pub cel: Expr,
}

/// Header names that only we may set.
#[derive(Debug, Clone, Serialize)]
pub struct OwnedNames {
    /// As they are set; lower case, sorted, unique.
    names: Vec<Arc<str>>,
    /// In the canonical spelling; sorted, unique.
    #[serde(skip)]
    canonical: Vec<Box<str>>,
}

// === impl OwnedNames ===

impl OwnedNames {
    /// From lower-case spellings.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        names.sort();
        names.dedup();
        let mut canonical: Vec<Box<str>> = names.iter().map(|name| canonical_name(name).into()).collect();
        canonical.sort();
        canonical.dedup();
        Self { names, canonical }
    }

    /// The names as they are set.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// Whether `name` is one of ours, or an alias of one: upstreams that turn headers into variables cannot tell `x_a` from `x-a`.
    pub fn covers(&self, name: &str) -> bool {
        self.canonical.binary_search_by(|own| own.bytes().cmp(name.bytes().map(canonical))).is_ok()
    }
}

/// A name as aliases count: lower case, every other character than a letter or digit as `-`.
pub(crate) fn canonical_name(name: &str) -> String {
    name.bytes().map(canonical).map(char::from).collect()
}

/// Whether an upstream that turns names into variables could take the one for the other.
pub fn is_alias(one: &str, other: &str) -> bool {
    one.bytes().map(canonical).eq(other.bytes().map(canonical))
}

const fn canonical(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}
