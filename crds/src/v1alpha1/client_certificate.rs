//! Certificates that clients show the proxy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::TrustDomain;

/// Callers by the certificate that Envoy verified. The subject is its first URI name (a SPIFFE ID in a mesh), else its first DNS name; a
/// certificate with neither names nobody. Read from the place clientCertificate unless credentials is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// Only SPIFFE IDs of these trust domains, without spiffe://. Default: every name that Envoy verified. Example: cluster.local.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub spiffe_trust_domains: Option<Vec<TrustDomain>>,
}

/// The certificate of the connection, as Envoy verified it. What a header says about certificates is not believed; the header
/// x-forwarded-client-cert is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionCertificate {}
