//! Callers by a ServiceAccount token of the cluster.

use serde::Serialize;

use super::Jwt;

/// Which tokens.
#[derive(Debug, Serialize)]
pub struct ServiceAccounts {
    /// What a token must be. Its keys are those of the cluster, which says itself who the issuer is.
    pub token: Jwt,
    /// Whether the API server is asked about a token that is good.
    pub review: bool,
}
