//! A CA as cert-manager keeps it: a Secret with `tls.crt`, `tls.key` and `ca.crt`. Never signs anything itself.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::PeerError;

/// A new one.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The CA's certificate in PEM.
    pub certificate: String,
    key: String,
}

// === impl Issued ===

impl Issued {
    /// Of this common name.
    pub fn new(name: &str) -> Result<Self, PeerError> {
        let unreadable = |error: rcgen::Error| PeerError::unreadable("a certificate", &error);
        let key = KeyPair::generate().map_err(unreadable)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(unreadable)?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    /// The Secret of this name.
    pub fn secret(&self, name: &str) -> Value {
        let data = json!({"tls.crt": self.certificate, "tls.key": self.key, "ca.crt": self.certificate});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "stringData": data})
    }

    /// Whether it is among the certificates of a PEM text.
    pub fn is_in(&self, bundle: &str) -> bool {
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        squeezed(bundle).contains(&squeezed(&self.certificate))
    }
}
