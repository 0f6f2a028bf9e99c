//! Callers by the certificate that the proxy verified.

use serde::Serialize;

/// Which certificates.
#[derive(Debug, Serialize)]
pub struct ClientCertificates {
    /// SPIFFE IDs of these alone; `None`: every URI or DNS name.
    pub trust_domains: Option<Vec<Box<str>>>,
}
