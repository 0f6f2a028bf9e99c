//! Tokens of the cluster's ServiceAccounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Audience, field_explains};

/// Workloads by their ServiceAccount token, signed by the cluster that we are in. The subject is system:serviceaccount:NAMESPACE:NAME.
/// Outside of a cluster, gatewright run needs --kube-api-server; without an API server such tokens get 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// Accepted audiences; a token's aud must hold one. Ask for it where the token is projected, and not for the API server's own: whoever
    /// is sent such a token could use it there. Example: orders.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<Audience>,
    /// What is asked beside the signature: Local, nobody, so a token holds until it expires; TokenReview, the API server, so it ends with
    /// its account or pod. Default: Local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<TokenReviewing>,
}

/// Who is asked about a token that the cluster signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum TokenReviewing {
    /// Nobody.
    Local,
    /// The API server, which knows whether the account and the pod are still there.
    TokenReview,
}
