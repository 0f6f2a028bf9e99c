//! What stands in the place of the caller's credential.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

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
