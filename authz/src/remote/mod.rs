//! Questions to other services: what is asked, and what an answer means.
//!
//! Owns the shapes and their reading, both pure; behind the feature `server` also the asking. [`RemoteStore`] is what the decision reads:
//! it never waits. An answer is read once, where it arrives, into a [`Reply`]; the clock is compared where it is used. Credentials are
//! in a question as [`Secret`] and in nothing that prints.
//!
//! ```text
//!  decide ── kept(id) ──► RemoteStore          hit: goes on
//!     └───── Need::Remote(Ask) ──► calls::RemoteCache::ask ──► transport ──► service
//!                                      │ one flight per id, bounds per endpoint
//!  decide ◄── Awaited ◄── Arc<Kept> ◄──┴── introspection | user_info | webhook (read)
//! ```

#[cfg(feature = "server")]
pub mod calls;
pub mod grant;
pub mod introspection;
#[cfg(feature = "server")]
pub mod oauth;
pub mod token_review;
#[cfg(feature = "server")]
pub mod transport;
pub mod user_info;
pub mod webhook;

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use crds::{
    secret::Secret,
    snapshot::{Authenticator, Grant, Owned, Webhook},
};
use serde_json::{Map, Value};

use self::grant::Issued;

/// Reads what is known already: lock-free, at once, never a question.
pub trait RemoteStore: Send + Sync {
    /// The answer to a question, if one is kept. The caller compares its end with the clock.
    fn kept(&self, id: &AskId) -> Option<Arc<Kept>>;
}

/// Names a question: SHA-256 over who asks, whom, and everything that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId([u8; 32]);

/// One question.
#[derive(Clone)]
pub struct Ask {
    /// Its name.
    pub id: AskId,
    /// Whom, and what.
    pub what: What,
    /// Whether an answer that is kept does not do, and a new one is not kept.
    pub fresh: bool,
}

/// Whom to ask, and what.
#[derive(Clone)]
pub enum What {
    /// An authorization server or a UserInfo endpoint about a token.
    Token(Arc<Authenticator>, Secret),
    /// The API server of the cluster about a ServiceAccount's token.
    Review {
        /// Who asks.
        authenticator: Arc<Authenticator>,
        /// The token.
        token: Secret,
        /// The end of its life, in milliseconds since the Unix epoch.
        ends_ms: Option<i64>,
    },
    /// A service about a credential; the body of the question.
    Credential(Arc<Authenticator>, Secret),
    /// A service about a caller; the body of the question.
    Caller(Arc<Webhook>, Secret),
    /// A service about the owner of a resource; the body of the question.
    Owner(Arc<Owned>, Secret),
    /// An authorization server for a token for the upstream; the caller's token, where that is exchanged.
    Grant(Arc<Grant>, Option<Secret>),
}

/// An answer and how long it holds.
#[derive(Debug)]
pub struct Kept {
    /// What it says.
    pub reply: Reply,
    /// Until when it may be used again, in milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The credential is good.
    Good(Good),
    /// It is not; fixed words.
    Refused(&'static str),
    /// It was good once.
    Expired,
    /// About a caller.
    Standing(Standing),
    /// About a resource.
    Owner(Ownership),
    /// A token for the upstream.
    Issued(Issued),
    /// There is no answer that could be used: our failure, or the service's. Fixed words.
    Failed(&'static str),
}

/// A good credential.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// What it says.
    pub claims: Map<String, Value>,
    /// When its life begins, in milliseconds since the Unix epoch.
    pub starts_ms: Option<i64>,
    /// When it ends.
    pub ends_ms: Option<i64>,
}

/// What the policy's own service says about a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether he may come in at all.
    pub active: bool,
    /// His roles, in place of those of the credential.
    pub roles: Option<Vec<Box<str>>>,
    /// His scopes, in place of those of the credential.
    pub scopes: Option<Vec<Box<str>>>,
}

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The caller's.
    Caller,
    /// Somebody else's.
    Other,
    /// Nobody's that the service knows.
    Unknown,
}

// === impl AskId ===

impl AskId {
    /// The name of a question with these parts. Lengths count, so that no two lists of parts write the same bytes.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(crds::digest::array(&context.finish()))
    }
}

// === impl Ask ===

impl PartialEq for Ask {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Ask {}

/// The name alone: the rest holds a credential.
impl fmt::Debug for Ask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ask").field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl Reply ===

impl Reply {
    /// An answer that is none: a member of a wrong type, or one that is missing. Whoever sent it does not know the protocol, and is
    /// not believed about anything.
    pub(crate) const SHAPE: Self = Self::Failed("the answer of the service lacks a member, or has one of a wrong type");
}
