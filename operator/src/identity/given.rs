//! A CA that somebody else makes and renews, such as cert-manager: a Secret with `tls.crt` and `tls.key`.
//!
//! Owns what such a Secret must hold. Only the certificate that signs is believed, never the one above it: whatever else that one
//! signed would be believed too.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use authz::tls::certificates;
use rcgen::PublicKeyData;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::{Authority, END};

/// Why a Secret gives no CA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// An entry is not there.
    #[error("it has no entry `{0}`")]
    Missing(&'static str),
    /// An entry is not what it should be.
    #[error("`{0}` cannot be read as PEM")]
    Unreadable(&'static str),
    /// A certificate for a server or a client.
    #[error("tls.crt is no CA; with cert-manager, set `isCA: true` in the Certificate")]
    NoAuthority,
    /// A CA that may not sign.
    #[error("tls.crt may not sign certificates: its key usage lacks keyCertSign (`cert sign`)")]
    MayNotSign,
    /// Of another key.
    #[error("tls.key is not the key of tls.crt")]
    OtherKey,
    /// Too late, or too soon to be too late.
    #[error("tls.crt ends within an hour, or has ended; renew it")]
    Ended,
}

/// What is signed must be of use for a while.
const LEAST: Duration = Duration::from_hours(1);

/// From the Secret's data.
pub(super) fn read(data: &BTreeMap<String, Vec<u8>>, now: SystemTime) -> Result<Authority, GivenError> {
    let text = |name: &'static str| {
        let bytes = data.get(name).ok_or(GivenError::Missing(name))?;
        str::from_utf8(bytes).map_err(|_| GivenError::Unreadable(name))
    };
    let (chain, key) = (text("tls.crt")?, text("tls.key")?);
    let unreadable = |_| GivenError::Unreadable("tls.crt");
    let ders = certificates("tls.crt", chain).map_err(unreadable)?;
    let der = ders.first().ok_or(GivenError::Missing("tls.crt"))?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| GivenError::Unreadable("tls.crt"))?;
    if !parsed.is_ca() {
        return Err(GivenError::NoAuthority);
    }
    let usage = parsed.key_usage().map_err(|_| GivenError::Unreadable("tls.crt"))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(GivenError::MayNotSign);
    }
    // The first certificate of a chain is the one that signs.
    let end = chain.find(END).ok_or(GivenError::Unreadable("tls.crt"))?;
    let first = chain.get(..end).unwrap_or_default();
    let begin = first.find("-----BEGIN").ok_or(GivenError::Unreadable("tls.crt"))?;
    let first = first.get(begin..).unwrap_or_default();
    let authority = Authority { certificate: format!("{first}{END}\n").into(), key: key.into() };
    let pair = authority.key_pair().map_err(|_| GivenError::Unreadable("tls.key"))?;
    if pair.subject_public_key_info() != parsed.public_key().raw {
        return Err(GivenError::OtherKey);
    }
    match authority.left(now) {
        Ok(left) if left > LEAST => Ok(authority),
        _ => Err(GivenError::Ended),
    }
}
