//! AuthPolicy: who may reach the hosts of a policy, and what the upstream learns about them.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    answers::{Cors, ErrorResponse, Mode},
    authenticator::Authenticator,
    authorization::Authorization,
    credential::CredentialSource,
    forward::Forward,
    limits::Limits,
    refs::WorkloadSelector,
    require::Require,
    route::{Access, Route},
    rules,
    status::AuthPolicyStatus,
    text::{CidrBlock, HostName, HttpUrl, Message, field_explains, null_is_empty},
};

/// What is protected, who proves identity and how, and what the upstream is told.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "gatewright.dev",
    version = "v1alpha1",
    kind = "AuthPolicy",
    plural = "authpolicies",
    shortname = "authpol",
    category = "gatewright",
    namespaced,
    status = "AuthPolicyStatus",
    derive = "PartialEq",
    doc = "AuthPolicy says who may reach some hosts, how callers prove who they are, and what the service behind learns about them.",
    printcolumn = r#"{"name":"Hosts","type":"string","jsonPath":".spec.externalHostnames","description":"Host names the policy holds"}"#,
    printcolumn = r#"{"name":"Issuers","type":"string","jsonPath":".spec.authenticators[*].jwt.issuer","description":"Token issuers"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status","description":"Whether the policy is valid"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status","description":"Whether every data-plane replica enforces it"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::KNOWN_AUTHENTICATORS]))]
pub struct AuthPolicySpec {
    /// Enforce, or Audit to try the policy out: what would be refused passes, except requests that can be read in more than one way; it is
    /// counted and logged; nobody's identity is sent, and credentials stay as they are. Default: Enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Host names the policy answers for: lower case, without port; *.example.com stands for one or more labels below example.com. Exact
    /// names win over suffixes, longer suffixes over shorter ones. Default: none. Example: api.example.com.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub external_hostnames: Vec<HostName>,
    /// Pods of this namespace whose sidecars receive the policy, and nobody else. `gatewright run` is given its files and serves them all.
    /// Default: every authz that runs beside the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Whether the policy answers for hosts that no policy holds; counts only in the operator's own namespace, one policy at a time.
    /// Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<bool>,
    /// Where browsers reach the policy's hosts; its origin is the request's own in cookie checks. Default: the request's scheme, host and
    /// port. Example: https://app.example.com.
    #[serde(rename = "publicURL", skip_serializing_if = "Option::is_none")]
    pub public_url: Option<HttpUrl>,
    /// Whether external requests need a good credential where their route does not say otherwise. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_auth: Option<bool>,
    /// Rules for requests to cluster-internal host names. Default: absent, every request is external.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<Internal>,
    /// What a bad credential means where access is Optional: Reject refuses, Ignore removes it and makes the caller anonymous. Default:
    /// Reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_credential: Option<InvalidCredential>,
    /// Places where a credential may be, in order; the first present is the credential. Default: the header Authorization with scheme
    /// Bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub credentials: Option<Vec<CredentialSource>>,
    /// Which pages of other origins may ask and read our answers. Default: none, preflights are requests like others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Ways to prove who is calling, in order of trial; one success is enough. Needed unless requireAuth is false.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [rules::UNIQUE_AUTHENTICATORS]))]
    pub authenticators: Vec<Authenticator>,
    /// Rules for some paths, methods or upgrades of external requests; the first that matches, in this order, decides.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [rules::UNIQUE_ROUTES]))]
    pub routes: Vec<Route>,
    /// What a path that no route matches gets: Authenticate applies the policy's own rules, NotFound answers 404, Forbid 403. Default:
    /// Authenticate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
    /// Requirements for every authenticated request of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// Scopes and roles of callers beyond what their credential says. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// How many requests and how many bad credentials are taken. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How refusals look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// What the upstream gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// Which requests count as cluster-internal, and what they need. A request to an external host name is never internal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Internal {
    /// Host names that count as internal. Default: names without a dot, *.svc, *.svc.cluster.local, localhost and loopback addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub hostnames: Option<Vec<HostName>>,
    /// Addresses that internal requests must come from. Default: any. Example: 10.0.0.0/8.
    #[serde(rename = "sourceCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub source_cidrs: Option<Vec<CidrBlock>>,
    /// Whether the routes hold for internal requests too. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_routes: Option<bool>,
    /// Who may come in: Authenticated needs a good credential; Optional needs none, but one that is sent must be good; Public reads none.
    /// Default: Authenticated, or Optional where requireAuth is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What a bad credential means where access is Optional: Reject refuses, Ignore removes it and makes the caller internal,
    /// PassUnverified sends it on and calls the caller unverified-jwt. Default: Reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_credential: Option<InternalInvalidCredential>,
}

/// What a bad credential means where one is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum InvalidCredential {
    /// The request is refused.
    Reject,
    /// The credential is removed; the caller is anonymous.
    Ignore,
}

/// What a bad credential of an internal request means where one is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum InternalInvalidCredential {
    /// The request is refused.
    Reject,
    /// The credential is removed; the caller is internal.
    Ignore,
    /// The credential is sent on; the caller is unverified.
    PassUnverified,
}

/// What a path that no route matches gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum Unmatched {
    /// The policy's own rules.
    Authenticate,
    /// 404.
    NotFound,
    /// 403.
    Forbid,
}

/// How refusals look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Errors {
    /// Shape of the body: Standard is RFC 9457 problem details; AIQ that of NVIDIA AI-Q; AgentFlow the envelope of AgentFlow,
    /// AgentFlow403 the same with 403 in place of 401; FastAPIDetail a detail alone, as its early documents show; Qaynaq and CQ those of
    /// Qaynaq and mozilla-ai cq. Default: Standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ErrorProfile>,
    /// Text of every refusal, instead of the built-in ones. Example: Please sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Answers in place of single refusals, by code (missing_credential, forbidden, not_found, …). On a route, each code replaces the
    /// policy's. gRPC clients get the refusal itself. Default: none. Example: {forbidden: {status: 307, location: /no-access}}.
    #[serde(default, deserialize_with = "null_is_no_response", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "x-kubernetes-validations" = [rules::KNOWN_CODES]))]
    pub responses: BTreeMap<String, ErrorResponse>,
}

/// Shapes of refusal bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum ErrorProfile {
    /// RFC 9457 problem details.
    Standard,
    /// NVIDIA AI-Q.
    AIQ,
    /// AgentFlow's envelope.
    AgentFlow,
    /// AgentFlow's envelope, 403 in place of 401.
    AgentFlow403,
    /// A detail alone.
    FastAPIDetail,
    /// Qaynaq.
    Qaynaq,
    /// mozilla-ai cq.
    CQ,
}

fn null_is_no_response<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, ErrorResponse>, D::Error> {
    let responses = Option::<BTreeMap<String, Option<ErrorResponse>>>::deserialize(from)?.unwrap_or_default();
    Ok(responses.into_iter().filter_map(|(code, response)| Some((code, response?))).collect())
}
