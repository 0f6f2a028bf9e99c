//! What stands in the place of the caller's credential.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{Endpoint, OAuthClient};
use crate::{expr::Expr, secret::Secret, signing::SigningKey};

/// A credential of ours for the upstream, and the header it is sent in. Only callers that were proven get one.
#[derive(Debug, Serialize)]
pub struct Replacement {
    /// Lower case.
    pub header: Arc<str>,
    /// How its value is made.
    pub value: ReplacementValue,
}

/// How the value is made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplacementValue {
    /// `Bearer` and a token made for the request.
    SignedJwt(Box<SignedJwt>),
    /// A token that an authorization server gives.
    Granted(Box<Granted>),
    /// The same for everybody; absent when the referenced Secret is missing or unfit, and then requests that need it are refused.
    Static(#[serde(skip)] Option<Secret>),
}

/// A token of ours.
#[derive(Debug, Serialize)]
pub struct SignedJwt {
    /// The key; absent when the referenced Secret is missing or unfit, and then requests that need it are refused.
    pub key: Option<SigningKey>,
    /// Its `aud`.
    pub audience: Option<Box<str>>,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// Its other claims.
    pub claims: Vec<(Box<str>, Expr)>,
}

/// A token that an authorization server gives, and what goes beside it.
#[derive(Debug, Serialize)]
pub struct Granted {
    /// How to get one.
    pub grant: Arc<Grant>,
    /// A secret of its own header.
    pub extra: Option<ExtraHeader>,
}

/// What an authorization server is asked for.
#[derive(Debug, Serialize)]
pub struct Grant {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom.
    pub client: OAuthClient,
    /// Which grant.
    pub kind: GrantKind,
    /// Parameters that are the same for everybody.
    pub form: Vec<(&'static str, Box<str>)>,
    /// SHA-256 over the policy's identity and everything that is asked: names the answer.
    #[serde(skip)]
    pub fingerprint: [u8; 32],
}

/// The grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GrantKind {
    /// RFC 6749 section 4.4.
    ClientCredentials {
        /// How long before its end a token is asked for again.
        renew_before: Duration,
    },
    /// RFC 8693; the caller's token is added.
    TokenExchange,
}

/// A header with a secret value.
#[derive(Debug, Serialize)]
pub struct ExtraHeader {
    /// Lower case.
    pub name: Arc<str>,
    /// Absent when the referenced Secret is missing or unfit, and then requests that need it are refused.
    #[serde(skip)]
    pub value: Option<Secret>,
}

impl Replacement {
    /// Every header that is ours to set.
    pub fn headers(&self) -> impl Iterator<Item = &Arc<str>> {
        let extra = match &self.value {
            ReplacementValue::Granted(granted) => granted.extra.as_ref().map(|extra| &extra.name),
            ReplacementValue::SignedJwt(_) | ReplacementValue::Static(_) => None,
        };
        std::iter::once(&self.header).chain(extra)
    }
}
