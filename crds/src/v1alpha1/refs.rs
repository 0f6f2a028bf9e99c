//! References to other objects. Every one is to an object of the same namespace, so none has a namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    rules,
    text::{DataKey, ObjectName},
};

/// An entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret, in the namespace of this object.
    pub name: ObjectName,
    /// Key inside the Secret. Example: hmac.
    pub key: DataKey,
}

/// An entry of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, in the namespace of this object.
    pub name: ObjectName,
    /// Key inside the ConfigMap. Example: jwks.json.
    pub key: DataKey,
    /// Whether the ConfigMap or its key may be missing without an error in status. What needs the entry stays refused until it is there.
    /// Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Where a document that is kept in the cluster is: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_REFERENCE]))]
pub struct KeySetRef {
    /// The entry of a ConfigMap; right for public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// The entry of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}
