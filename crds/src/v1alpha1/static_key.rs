//! Keys of JSON Web Tokens that stand in Secrets, and tokens that are denied by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    refs::SecretKeyRef,
    rules,
    text::{DataKey, ObjectName},
};
use crate::algorithm::KeyAlgorithm;

/// One key and the one algorithm it verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticKey {
    /// The only algorithm this key verifies: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA,
    /// Ed25519. Example: HS256.
    pub algorithm: KeyAlgorithm,
    /// The entry that holds the key. For HS256, HS384 and HS512 its bytes are the secret, at least 32, 48 and 64 of them; for all others it
    /// is a public key as PEM, JWK or JWK Set.
    pub secret_key_ref: SecretKeyRef,
}

/// Tokens that are refused by their jti: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_REFERENCE]))]
pub struct DeniedTokenIds {
    /// The entry of a ConfigMap; one jti a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<DeniedListRef>,
    /// The entry of a Secret; one jti a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<DeniedListRef>,
}

/// An entry that holds a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeniedListRef {
    /// Name of the ConfigMap or Secret, in the namespace of this object.
    pub name: ObjectName,
    /// Key inside it. Example: jti.
    pub key: DataKey,
    /// Whether a missing list is an empty one. If false, every token is refused as unavailable until the list is there. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}
