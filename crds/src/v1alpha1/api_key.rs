//! API keys: which of the two kinds, and where their records are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    refs::{SecretKeyRef, SecretsRef},
    rules,
};

/// API keys of one kind: exactly one of sha256 and cqaV1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_KEY_KIND]))]
pub struct ApiKey {
    /// Keys known by their digest: in each Secret, the entry's name is the SHA-256 of the API key in lower-case hex, and its value a JSON
    /// object of claims, such as user_id and roles. In it, expires_at and revoked_at (RFC 3339 or null) end a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<SecretsRef>,
    /// Keys of the form cqa.v1.ID.SECRET, known by an HMAC-SHA256 of SECRET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cqa_v1: Option<CqaV1>,
}

/// Keys of the form cqa.v1.ID.SECRET: ID is 32 hex digits, SECRET 52 characters of lower-case base32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CqaV1 {
    /// Keys of the HMAC, at least 32 bytes each; more than one while one is replaced.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub peppers: Vec<Pepper>,
    /// Where the records are: in each Secret, the entry's name is the ID, and its value a JSON object with hash (hex), user, expires_at and
    /// revoked_at (RFC 3339 or null).
    pub keys: SecretsRef,
}

/// One key of the HMAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pepper {
    /// The entry that holds it; its bytes are used as they are.
    pub secret_key_ref: SecretKeyRef,
}
