//! Connections of peers that prove themselves by certificates of the operator's CA.
//!
//! Owns who a certificate names, server configurations that can be replaced while serving, and handshakes that hold nobody up. Must
//! never take a name from anything but a verified certificate.

mod accept;
mod peer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

pub use accept::{Connection, Peer, Shared, incoming};
pub use peer::{Identified, PeerId, identify, not_after, not_before};

/// Why certificates or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not what was expected in it.
    #[error("{what} cannot be read as PEM: {source}")]
    Pem {
        /// Which part.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// There is none.
    #[error("there is no certificate in {0}")]
    Empty(&'static str),
    /// The parts do not fit, or the library refuses them.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The CA certificates cannot verify anybody.
    #[error("the CA certificates cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A certificate that is no certificate.
    #[error("a certificate cannot be parsed")]
    Certificate,
}

/// A server's side: its certificate, and the CA whose client certificates it believes. A client that shows none is served as a
/// stranger; one that shows a certificate of another CA, or an expired one, is refused.
pub fn server_config(chain_pem: &str, key_pem: &str, authorities_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots(authorities_pem)?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).allow_unauthenticated().build()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: "the private key", source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("the certificate", chain_pem)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session is not verified again: a certificate that expired meanwhile would still be believed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The certificates of a PEM text, at least one.
pub fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|source| TlsError::Pem { what, source })?;
    if read.is_empty() { Err(TlsError::Empty(what)) } else { Ok(read) }
}

fn roots(authorities_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the CA bundle", authorities_pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}
