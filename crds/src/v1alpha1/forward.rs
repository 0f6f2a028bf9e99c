//! What the upstream gets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    refs::SecretKeyRef,
    replace::ReplaceCredential,
    rules,
    text::{CelText, ClaimName, HeaderName, HeaderPrefix, field_explains, null_is_empty},
};

/// What is sent to the upstream with an allowed request. On a route, each field replaces the policy's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_CREDENTIAL]))]
pub struct Forward {
    /// Beginning of the names of the identity headers (type, authenticator, issuer, subject, user, email, name, roles, scopes, traffic,
    /// mfa). Copies sent by clients are always removed. Default: x-auth-.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_prefix: Option<HeaderPrefix>,
    /// What happens to the verified credential: Remove takes it out, Keep leaves it for an upstream that checks it again. Every other
    /// configured credential source is removed in both cases. Default: Remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialForwarding>,
    /// A credential of ours in place of the verified one. On a route, it also replaces the policy's credential, and the other way round.
    /// Callers without identity get none. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_credential: Option<ReplaceCredential>,
    /// Headers computed from the caller and the request, beside the identity headers. An empty value leaves the header absent. Default:
    /// none.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [rules::UNIQUE_HEADERS]))]
    pub headers: Vec<MappedHeader>,
    /// Name of a header that carries all claims as base64url JSON. Default: none. Example: x-auth-claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims_header: Option<HeaderName>,
}

/// What happens to the verified credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum CredentialForwarding {
    /// It stays.
    Keep,
    /// It is taken out.
    Remove,
}

/// A header with exactly one source of its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_VALUE]))]
pub struct MappedHeader {
    /// Name of the header, without regard to case; not one that routes, frames, authenticates or belongs to the proxy (host,
    /// content-length, x-forwarded-*, x-envoy-*, a credential source). Example: x-tenant.
    pub name: HeaderName,
    /// Name of the claim whose value is sent; a name with dots is a path where no claim has that very name. Example: tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimName>,
    /// CEL expression over principal, request, traffic and route whose text is sent. Example: principal.email.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel: Option<CelText>,
    /// A keyed digest of an expression, in lower-case hex: a pseudonym that only holders of the key can compute.
    #[serde(rename = "hmacSHA256", skip_serializing_if = "Option::is_none")]
    pub hmac_sha256: Option<HmacSha256>,
}

/// HMAC-SHA256 (RFC 2104) of a CEL expression's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HmacSha256 {
    /// The key: at least 32 bytes.
    pub secret_key_ref: SecretKeyRef,
    /// CEL expression whose text is digested. Example: principal.subject.
    pub cel: CelText,
}
