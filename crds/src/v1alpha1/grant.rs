//! Tokens that an authorization server gives us for the upstream.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    duration::{BadDuration, CallTimeout, Duration, schema},
    refs::{KeySetRef, SecretKeyRef},
    remote::ConfidentialClient,
    rules,
    text::{Audience, HeaderName, HttpUrl, ScopeName},
};

/// A token of our own (RFC 6749 section 4.4), the same for every caller, sent as Authorization: Bearer. It is asked for again before it
/// ends; meanwhile the one that is there serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where to ask. Example: https://sso.example.com/token.
    #[serde(rename = "tokenURL")]
    pub token_url: HttpUrl,
    /// As whom to ask.
    pub client: ConfidentialClient,
    /// Scopes to ask for. Default: what the server gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Option<Vec<ScopeName>>,
    /// The audience to ask for, for servers that want one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// How long before its end a token is asked for again, 0s to 1h; at the earliest after half of its life. Default: 300s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_before: Option<RefreshBefore>,
    /// A secret beside the token, for services that want both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_header: Option<ExtraHeader>,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// Certificate authorities of the endpoint, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
}

/// The caller's token exchanged for one for the upstream (RFC 8693), sent as Authorization: Bearer. Callers whose credential is no token
/// are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenExchange {
    /// Where to ask. Example: https://sso.example.com/token.
    #[serde(rename = "tokenURL")]
    pub token_url: HttpUrl,
    /// As whom to ask.
    pub client: ConfidentialClient,
    /// Whom the new token is for. Default: what the server gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// Scopes to ask for. Default: what the server gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Option<Vec<ScopeName>>,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// Certificate authorities of the endpoint, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
}

/// A header with a secret value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraHeader {
    /// Name of the header, without regard to case; not Authorization, nor one that routes, frames or belongs to the proxy. Example:
    /// X-Service-Account-Token.
    pub name: HeaderName,
    /// Its whole value: printable ASCII without line breaks.
    pub secret_key_ref: SecretKeyRef,
}

/// A [`Duration`] of at most one hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefreshBefore(
    /// The text as written.
    pub Duration,
);

// === impl RefreshBefore ===

impl RefreshBefore {
    /// The length; its bound is checked with the document's other rules.
    pub fn parse(&self) -> Result<std::time::Duration, BadDuration> {
        self.0.parse()
    }
}

impl JsonSchema for RefreshBefore {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RefreshBefore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::REFRESH_BEFORE])
    }
}
