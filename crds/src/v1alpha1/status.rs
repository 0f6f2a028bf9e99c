//! What the operator reports. Written by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{HostName, null_is_empty};

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthPolicyStatus {
    /// Accepted: the policy is valid. ResolvedRefs: what it refers to is there and good. Programmed: every data-plane replica enforces it.
    /// IssuersReachable: keys of every issuer can be fetched.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Host names the policy answers for, after conflicts.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    // Atomic, not a set: a name that somebody else put there would stay.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub hostnames: Vec<HostName>,
    /// The generation that every connected data-plane replica enforces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed_generation: Option<i64>,
}

/// What became of a data source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataSourceStatus {
    /// Accepted: the data source is valid. ResolvedRefs: what it refers to is there and good.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
