//! Routes: rules for some paths, methods or upgrades of a policy's hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    answers::Respond,
    authpolicy::{Errors, InvalidCredential},
    credential::CredentialSource,
    forward::Forward,
    limits::RouteLimits,
    require::Require,
    rules,
    text::{MethodName, Name, PathPattern, field_explains, null_is_empty},
};

/// Rules for the requests that match paths, methods and upgrade. The first route that matches, in document order, decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::NO_UPSTREAM]))]
pub struct Route {
    /// Unique in the policy; shown in logs and in explain. Example: public.
    pub name: Name,
    /// Path templates, one of which must match; case counts. Literal segments, {*} or {name} for exactly one segment, {**} at the end for
    /// any number. Default: every path. Example: /v1/jobs/{id}.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub paths: Vec<PathPattern>,
    /// Methods, one of which must match exactly; GET does not include HEAD. Default: every method. Example: POST.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub methods: Vec<MethodName>,
    /// Only requests that ask for this protocol: WebSocket. Default: with or without an upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Who may come in: Authenticated needs a good credential; Optional needs none, but one that is sent must be good; Public reads none.
    /// Default: Authenticated, or Optional where requireAuth is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What a bad credential means where access is Optional: Reject refuses, Ignore removes it and makes the caller anonymous. Default: the
    /// policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_credential: Option<InvalidCredential>,
    /// Names of the authenticators that count here, instead of all of the policy. Not looked at where access is Public. Default: all, in
    /// the policy's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub authenticators: Option<Vec<Name>>,
    /// Places where a credential may be, instead of the policy's; the first present is used. Not looked at where access is Public.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub credentials: Option<Vec<CredentialSource>>,
    /// Requirements beside the policy's: all must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// How many requests are taken here, beside the policy's limits. Not looked at where access is Public. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<RouteLimits>,
    /// How refusals look here; each field replaces the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// An answer in place of the upstream's, to whoever may come in. Default: none, the upstream answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// What the upstream gets here; each field replaces the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum Access {
    /// A good credential is needed.
    Authenticated,
    /// None is needed, but one that is sent must be good.
    Optional,
    /// None is read, removed or limited.
    Public,
}

/// Protocols a request can ask to change to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}
