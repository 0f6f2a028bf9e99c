//! Who was proven to call. Owns the shape and its names; never how it was proven.

use std::sync::Arc;

use serde_json::{Map, Value};

/// A verified caller. Raw values: encoding for headers happens where headers are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// What proved it.
    pub kind: PrincipalKind,
    /// The authenticator's name.
    pub authenticator: Arc<str>,
    /// The verified issuer, for credentials that have one.
    pub issuer: Option<Box<str>>,
    /// The mapped subject.
    pub subject: Box<str>,
    /// Stable id: 32 hex digits (contract, section 3).
    pub user: Box<str>,
    /// The mapped e-mail address.
    pub email: Option<Box<str>>,
    /// The mapped display name.
    pub name: Option<Box<str>>,
    /// Mapped roles, in order.
    pub roles: Vec<Box<str>>,
    /// Mapped scopes, in order.
    pub scopes: Vec<Box<str>>,
    /// Whether a second factor was proven too.
    pub mfa: bool,
    /// Everything the credential says.
    pub claims: Map<String, Value>,
}

/// What proved a principal: the value of `x-auth-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A JSON Web Token.
    Jwt,
    /// An API key.
    ApiKey,
    /// A token that its authorization server knows.
    Introspection,
    /// A token that a UserInfo endpoint knows.
    UserInfo,
    /// A credential that a service of the policy's owner knows.
    Webhook,
    /// A certificate that the proxy verified.
    ClientCertificate,
    /// A token of a ServiceAccount.
    ServiceAccount,
}

/// What `x-auth-type` says where nobody was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// A principal of this kind.
    Proven(PrincipalKind),
    /// A cluster-internal caller without credential.
    Internal,
    /// An external caller without credential, or with an ignored one.
    Anonymous,
    /// An internal caller whose bad token is passed on.
    UnverifiedJwt,
}

impl CallerKind {
    /// The word of the contract, section 3.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven(PrincipalKind::Jwt) => "jwt",
            Self::Proven(PrincipalKind::ApiKey) => "api-key",
            Self::Proven(PrincipalKind::Introspection) => "introspection",
            Self::Proven(PrincipalKind::UserInfo) => "userinfo",
            Self::Proven(PrincipalKind::Webhook) => "webhook",
            Self::Proven(PrincipalKind::ClientCertificate) => "client-certificate",
            Self::Proven(PrincipalKind::ServiceAccount) => "service-account",
            Self::Internal => "internal",
            Self::Anonymous => "anonymous",
            Self::UnverifiedJwt => "unverified-jwt",
        }
    }
}

/// Where a request came from (contract, section 2, step 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// From outside, and everything that is not proven to be internal.
    External,
    /// From inside the cluster.
    Internal,
}

impl Traffic {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Internal => "internal",
        }
    }
}
