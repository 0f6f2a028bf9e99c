//! The kinds of credential, side by side: which is asked what. Each has a file of its own, and a new one is one variant here.

use std::sync::Arc;

use aws_lc_rs::digest::Context;
use crds::snapshot::{ApiKey, Authenticator, AuthenticatorKind, ClientCertificates};

use super::{
    Awaited, Deps,
    authenticate::{Failed, Good, Presented},
    by_api_key, by_certificate, by_jwt, by_service, by_service_account,
};
use crate::request::RequestView;

/// One authenticator with what it needs beside the credential.
pub(super) enum Kind<'a> {
    Jwt(by_jwt::Ready<'a>),
    ApiKey(&'a ApiKey),
    Service(by_service::Ready<'a>),
    Certificate(&'a ClientCertificates),
    Account(by_service_account::Ready<'a>),
}

// === impl Kind ===

impl<'a> Kind<'a> {
    pub(super) fn new(deps: &Deps<'_>, request: &RequestView<'_>, authenticator: &'a Authenticator) -> Self {
        match &authenticator.kind {
            AuthenticatorKind::Jwt(jwt) => {
                Self::Jwt(by_jwt::Ready::new(deps, jwt, authenticator.second_factor.as_ref()))
            }
            AuthenticatorKind::ApiKey(keys) => Self::ApiKey(keys),
            AuthenticatorKind::Introspection(rules) => Self::Service(by_service::Ready::Introspection(rules)),
            AuthenticatorKind::UserInfo(rules) => Self::Service(by_service::Ready::UserInfo(rules)),
            AuthenticatorKind::Webhook(rules) => Self::Service(by_service::Ready::webhook(rules, request)),
            AuthenticatorKind::ClientCertificate(rules) => Self::Certificate(rules),
            AuthenticatorKind::ServiceAccount(rules) => Self::Account(by_service_account::Ready::new(deps, rules)),
        }
    }

    /// What the version has no room for.
    pub(super) fn context(&self, context: &mut Context) {
        match self {
            Self::Service(ready) => ready.context(context),
            Self::Account(ready) => ready.context(context),
            Self::Jwt(_) | Self::ApiKey(_) | Self::Certificate(_) => {}
        }
    }

    /// What a verdict depends on beside the credential and the documents: the keys that were fetched.
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Jwt(ready) => ready.version(),
            Self::Account(ready) => ready.version(),
            Self::ApiKey(_) | Self::Service(_) | Self::Certificate(_) => 0,
        }
    }

    /// Whether the credential is of this kind and of no other: who asks somebody else about it would give it away.
    pub(super) fn claims(&self, presented: &Presented<'_>) -> bool {
        match self {
            Self::Jwt(ready) => ready.takes(presented),
            Self::ApiKey(keys) => by_api_key::claims(keys, presented),
            Self::Service(_) => false,
            Self::Certificate(_) => by_certificate::takes(presented),
            Self::Account(ready) => ready.takes(presented),
        }
    }

    /// Whether the credential is of this kind: no text is tried by two kinds.
    pub(super) fn takes(&self, presented: &Presented<'_>) -> bool {
        match self {
            Self::Certificate(_) => by_certificate::takes(presented),
            _ if presented.is_certificate => false,
            Self::Jwt(ready) => ready.takes(presented),
            Self::ApiKey(keys) => by_api_key::takes(keys, presented),
            Self::Service(ready) => ready.takes(presented),
            Self::Account(ready) => ready.takes(presented),
        }
    }

    pub(super) fn verify(
        &self,
        deps: &Deps<'_>,
        policy: &str,
        authenticator: &Arc<Authenticator>,
        presented: &Presented<'_>,
        awaited: &Awaited,
    ) -> Result<Good, Failed> {
        match self {
            Self::Jwt(ready) => ready.verify(authenticator, presented, awaited, deps.now_ms),
            Self::ApiKey(keys) => by_api_key::verify(keys, authenticator, presented, deps.now_ms),
            Self::Certificate(rules) => by_certificate::verify(rules, authenticator, presented),
            Self::Account(ready) => ready.verify(deps, authenticator, presented, awaited),
            Self::Service(ready) => ready.verify(deps, policy, authenticator, presented, awaited),
        }
    }
}
