//! Who this process is: its key, its certificate and whom it believes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::tls::{TlsError, certificates, not_after, not_before, server_config};

/// How far a clock may be behind that of who signs.
const SKEW: Duration = Duration::from_mins(5);

/// A key with its certificate. Serialising it writes the key: for sealed files only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    certificate: Arc<str>,
    key: Arc<str>,
    authorities: Arc<str>,
    /// When it came, by our clock: the beginning that the certificate names lies before it, for the sake of slow clocks.
    since: SystemTime,
}

// === impl Credentials ===

impl Credentials {
    /// Takes PEM texts that fit together.
    pub(super) fn new(certificate: String, key: String, authorities: String) -> Result<Self, TlsError> {
        let (certificate, key, authorities) = (certificate.into(), key.into(), authorities.into());
        let new = Self { certificate, key, authorities, since: SystemTime::now() };
        new.server_config()?;
        Ok(new)
    }

    /// The same identity, with other CA certificates to believe; `None` if they cannot be used.
    pub(super) fn trusting(&self, authorities: Arc<str>) -> Option<Self> {
        let new = Self { authorities, ..self.clone() };
        new.server_config().ok().map(|_| new)
    }

    /// As a server: clients may prove themselves by the operator's CA.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        server_config(&self.certificate, &self.key, &self.authorities)
    }

    /// As a client of the operator.
    pub(super) fn client_config(&self, more_authorities: &str) -> ClientTlsConfig {
        client_config(&self.authorities, more_authorities).identity(Identity::from_pem(&*self.certificate, &*self.key))
    }

    /// The CA certificates that are believed.
    pub(super) fn authorities(&self) -> &Arc<str> {
        &self.authorities
    }

    /// Whether both are the same certificate, whomever they believe.
    pub(super) fn is_same_identity(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }

    /// The end of its life.
    pub(super) fn not_after(&self) -> Result<SystemTime, TlsError> {
        let chain = certificates("the certificate", &self.certificate)?;
        not_after(chain.first().ok_or(TlsError::Certificate)?)
    }

    /// Whether its life has not ended.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        self.not_after().is_ok_and(|end| end > now)
    }

    /// Whether proxies can believe it now: its life has begun, as far as clocks agree, and has not ended.
    pub(super) fn is_current(&self, now: SystemTime) -> bool {
        let chain = certificates("the certificate", &self.certificate);
        let begins = chain.ok().and_then(|chain| not_before(chain.first()?).ok());
        begins.is_some_and(|begins| begins <= now + SKEW) && self.is_valid(now)
    }

    /// How long until it is renewed: two thirds of its life; zero if that is over.
    pub(super) fn renew_in(&self, now: SystemTime) -> Result<Duration, TlsError> {
        let end = self.not_after()?;
        let due = self.since + end.duration_since(self.since).unwrap_or_default() * 2 / 3;
        Ok(due.duration_since(now).unwrap_or_default())
    }
}

/// A client without an identity yet.
pub(super) fn client_config(authorities: &str, more: &str) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificates([authorities, more].into_iter().filter(|pem| !pem.is_empty()).map(Certificate::from_pem))
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn what_clocks_disagree_about_is_no_certificate_for_proxies() {
        let (now, hour) = (SystemTime::now(), Duration::from_hours(1));
        for (begins, ends, current) in [
            (now - hour, now + hour, true),
            (now + SKEW / 2, now + hour, true),
            (now + hour, now + 2 * hour, false),
            (now - 2 * hour, now - hour, false),
        ] {
            let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
            (params.not_before, params.not_after) = (begins.into(), ends.into());
            let certificate = params.self_signed(&key).unwrap().pem();
            let own = Credentials::new(certificate.clone(), key.serialize_pem(), certificate).unwrap();
            assert_eq!(own.is_current(now), current, "{begins:?} to {ends:?}");
        }
    }
}
