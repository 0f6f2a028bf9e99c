//! References to other objects. Every one is to an object of the same namespace, so none has a namespace.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    rules,
    text::{DataKey, LabelValue, ObjectName},
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

/// Which Secrets hold records: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_SELECTION]))]
pub struct SecretsRef {
    /// One Secret. While it is missing, its readers answer 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Every Secret of these labels, for more records than one Secret holds. Records of a Secret that is no longer found are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_selector: Option<SecretSelector>,
}

/// A whole Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret, in the namespace of this object.
    pub name: ObjectName,
}

/// Secrets by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSelector {
    /// Labels that a Secret of this namespace must have, all of them. Example: gatewright.dev/api-keys set to cq.
    #[serde(deserialize_with = "null_is_absent")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, LabelValue>,
}

/// Workloads by the labels of their pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSelector {
    /// Labels that the pod must have, all of them. Example: app set to shop.
    #[serde(deserialize_with = "null_is_absent")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, LabelValue>,
}

/// A label without a value is an absent one, as for the API server, which drops nulls.
fn null_is_absent<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, LabelValue>, D::Error> {
    let labels = BTreeMap::<String, Option<LabelValue>>::deserialize(from)?;
    Ok(labels.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect())
}
