//! What must hold after authentication.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote::Owner;
use super::text::{CelText, DomainName, EmailAddress, RoleName, ScopeName, null_is_empty};

/// Rules about the person behind a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityRequire {
    /// Whether the claim email_verified must be the boolean true. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_email: Option<bool>,
    /// E-mail addresses that are let in, without regard to case. With domains, one of both lists must match. Default: every address.
    /// Example: boss@example.com.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub emails: Vec<EmailAddress>,
    /// Domains of e-mail addresses that are let in, without regard to case; subdomains are others. Default: every domain. Example:
    /// example.com.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub domains: Vec<DomainName>,
}

/// Requirements of a policy or route. All that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Require {
    /// Scopes of which the caller needs every one. Default: none. Example: doc:read.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<ScopeName>,
    /// Scopes of which the caller needs one. Default: none.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub any_scope: Vec<ScopeName>,
    /// Roles of which the caller needs one. Default: none. Example: admin.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub roles: Vec<RoleName>,
    /// E-mail addresses that are let in, without regard to case. With domains, one of both lists must match. Default: every address.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub emails: Vec<EmailAddress>,
    /// Domains of e-mail addresses that are let in, without regard to case; subdomains are others. Default: every domain.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub domains: Vec<DomainName>,
    /// Whether the claim email_verified must be the boolean true. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_email: Option<bool>,
    /// CEL expression over principal, request, traffic and route that must yield true; an error refuses. Default: none. Example:
    /// principal.email.endsWith('@example.com').
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel: Option<CelText>,
    /// The resource that the path names must be the caller's own. Default: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}
