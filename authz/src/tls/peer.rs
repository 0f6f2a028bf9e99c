//! Who a certificate names: one URI among its alternative names, written by the operator's CA alone.
//!
//! ```text
//!  spiffe://gatewright/ns/NAMESPACE/sa/ACCOUNT/pod/POD        a data plane: takes configuration
//!  spiffe://gatewright/gateway/NAME                           a proxy: asks for decisions
//! ```
//!
//! The two are kept apart: any pod of the cluster can have a certificate of the first kind, and must not be given the secrets of
//! others by asking as a proxy would.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;

const PREFIX: &str = "spiffe://gatewright/";

/// Who a peer proved to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerId {
    /// A pod that takes configuration.
    Workload {
        /// Its namespace.
        namespace: String,
        /// Its ServiceAccount.
        account: String,
        /// Its name.
        pod: String,
    },
    /// A proxy that asks for decisions.
    Gateway {
        /// What the operator calls it.
        name: String,
    },
}

/// Who, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// Who.
    pub id: PeerId,
    /// The end of the certificate's life.
    pub not_after: SystemTime,
}

/// A URI that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate names no peer of this product")]
pub struct Unnamed;

// === impl PeerId ===

impl fmt::Display for PeerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, account, pod } => {
                write!(out, "{PREFIX}ns/{namespace}/sa/{account}/pod/{pod}")
            }
            Self::Gateway { name } => write!(out, "{PREFIX}gateway/{name}"),
        }
    }
}

impl FromStr for PeerId {
    type Err = Unnamed;

    fn from_str(uri: &str) -> Result<Self, Unnamed> {
        let parts: Vec<&str> = uri.strip_prefix(PREFIX).ok_or(Unnamed)?.split('/').collect();
        if parts.iter().any(|part| !is_name(part)) {
            return Err(Unnamed);
        }
        match *parts.as_slice() {
            ["ns", namespace, "sa", account, "pod", pod] => {
                Ok(Self::Workload { namespace: namespace.to_owned(), account: account.to_owned(), pod: pod.to_owned() })
            }
            ["gateway", name] => Ok(Self::Gateway { name: name.to_owned() }),
            _ => Err(Unnamed),
        }
    }
}

/// What Kubernetes allows in the names of these objects (RFC 1123 subdomains).
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// Who a verified certificate names. Exactly one URI, or nobody: two could be read in two ways.
pub fn identify(certificate: &CertificateDer<'_>) -> Result<Identified, Unnamed> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| Unnamed)?;
    let names = parsed.subject_alternative_name().map_err(|_| Unnamed)?.ok_or(Unnamed)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Unnamed) };
    Ok(Identified { id: uri.parse()?, not_after: end(&parsed) })
}

/// The beginning of a certificate's life.
pub fn not_before(certificate: &CertificateDer<'_>) -> Result<SystemTime, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::Certificate)?;
    Ok(time(parsed.validity().not_before.timestamp()))
}

/// The end of a certificate's life.
pub fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::Certificate)?;
    Ok(end(&parsed))
}

fn end(certificate: &X509Certificate<'_>) -> SystemTime {
    time(certificate.validity().not_after.timestamp())
}

/// Before 1970 there were no certificates.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
