//! The CA: what its Secret holds, when it is replaced, and what it signs. Pure but for making keys: times are given.
//!
//! ```text
//!  age of the signing CA:   0 ─────────── 2/3: next announced ── + overlap: next signs ── + leaf life: the old one is forgotten
//!  believed:                { signing }   { signing, next }      { previous, signing }     { signing }
//! ```
//!
//! A CA is believed for a while before it signs, so that no peer meets a certificate of a CA it has not heard of; and as long after as
//! certificates of it may live. All times follow from the certificates themselves, and from that of the last turn, which is written down as
//! it may come late: a restart, or another replica, goes on.
//!
//! A CA may be given instead (`given`): then nothing is made here, a new one in the given Secret is what `next` is, and the time when it
//! came is written down as well, as its own dates say nothing of that.
//!
//! A leader whose clock is far ahead makes a CA that nobody's TLS believes before its time. Once a clock that is right leads, such a CA is
//! replaced without the usual wait: nobody who would have to hear of the next one believes this one.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use authz::tls::{TlsError, certificates, not_after, not_before};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};

/// Clocks of other machines may be this far behind.
const SKEW: Duration = Duration::from_mins(5);

/// Lives of certificates.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// Of a CA.
    pub authority: Duration,
    /// How long the next CA is believed before it signs.
    pub overlap: Duration,
    /// Of our own certificate and of those of data planes.
    pub leaf: Duration,
    /// Of those of proxies: longer, as they are renewed through Secrets and must outlive an operator that is down for days.
    pub proxy: Duration,
}

/// A CA with its key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) certificate: Arc<str>,
    pub(super) key: Arc<str>,
}

/// The content of the Secret.
#[derive(Clone)]
pub(super) struct Authorities {
    signing: Authority,
    next: Option<Authority>,
    /// Certificates that are still believed, in PEM.
    previous: Vec<Arc<str>>,
    /// When the last step was taken, where certificates do not say it.
    since: Option<SystemTime>,
}

/// Where a CA comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// It is made here.
    Made,
    /// It is given; `None`: nothing usable is given at the moment.
    Given(Option<&'a Authority>),
}

/// What shall stand in a certificate.
pub(super) struct Subject {
    /// The peer's name, as a URI.
    pub(super) uri: String,
    /// Names that a server is known by.
    pub(super) dns: Vec<String>,
    pub(super) life: Duration,
}

/// Why the CA cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The Secret does not hold what it should.
    #[error(
        "the Secret of the CA holds no usable `{0}`; delete the Secret to start with a new CA (every data plane and proxy must then get new certificates)"
    )]
    Content(&'static str),
    /// A certificate or key in it cannot be read.
    #[error("the CA cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
const SINCE: &str = "since";
/// The last line of a certificate.
pub(super) const END: &str = "-----END CERTIFICATE-----";
/// Given CAs that are believed beside the newest, at most: each costs whoever reads the bundle.
const MOST_PREVIOUS: usize = 4;

// === impl Lives ===

impl Default for Lives {
    fn default() -> Self {
        Self {
            authority: Duration::from_hours(365 * 24),
            overlap: Duration::from_hours(24),
            leaf: Duration::from_hours(24),
            proxy: Duration::from_hours(7 * 24),
        }
    }
}

impl Lives {
    fn longest(&self) -> Duration {
        self.leaf.max(self.proxy)
    }
}

// === impl Authorities ===

impl Authorities {
    /// A first CA.
    pub(super) fn create(now: SystemTime, lives: &Lives) -> Result<Self, CaError> {
        Ok(Self { signing: Authority::create(now, lives)?, next: None, previous: Vec::new(), since: None })
    }

    /// A first CA that is given.
    pub(super) fn adopt(given: Authority, now: SystemTime) -> Self {
        Self { signing: given, next: None, previous: Vec::new(), since: Some(now) }
    }

    /// From the Secret's data.
    pub(super) fn read(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, CaError> {
        let text = |key: &'static str| match data.get(key) {
            None => Ok(None),
            Some(bytes) => String::from_utf8(bytes.clone()).map(Some).map_err(|_| CaError::Content(key)),
        };
        let signing = Authority::new(text(CERTIFICATE)?, text(KEY)?).ok_or(CaError::Content(CERTIFICATE))?;
        let next = Authority::new(text(NEXT_CERTIFICATE)?, text(NEXT_KEY)?);
        let previous = text(PREVIOUS)?.unwrap_or_default();
        let previous = previous.split_inclusive(END).map(str::trim_start);
        let previous =
            previous.filter(|pem| !pem.is_empty()).map(|pem| format!("{}\n", pem.trim_end()).into()).collect();
        let since = text(SINCE)?
            .and_then(|text| text.parse().ok())
            .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let read = Self { signing, next, previous, since };
        for authority in std::iter::once(&read.signing).chain(&read.next) {
            authority.key_pair()?;
            authority.issued()?;
        }
        Ok(read)
    }

    /// For the Secret.
    pub(super) fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::from([
            (CERTIFICATE.to_owned(), self.signing.certificate.as_bytes().to_vec()),
            (KEY.to_owned(), self.signing.key.as_bytes().to_vec()),
            // The name that others look for.
            ("ca.crt".to_owned(), self.bundle().as_bytes().to_vec()),
        ]);
        if let Some(next) = &self.next {
            data.insert(NEXT_CERTIFICATE.to_owned(), next.certificate.as_bytes().to_vec());
            data.insert(NEXT_KEY.to_owned(), next.key.as_bytes().to_vec());
        }
        if let Some(since) = self.since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            data.insert(SINCE.to_owned(), since.as_secs().to_string().into_bytes());
        }
        if !self.previous.is_empty() {
            data.insert(PREVIOUS.to_owned(), self.previous.concat().into_bytes());
        }
        data
    }

    /// Every certificate that is believed, in PEM.
    pub(super) fn bundle(&self) -> Arc<str> {
        let all = std::iter::once(&self.signing.certificate)
            .chain(self.next.as_ref().map(|next| &next.certificate))
            .chain(&self.previous);
        all.map(|pem| &**pem).collect::<String>().into()
    }

    /// The one that signs.
    pub(super) const fn signing(&self) -> &Authority {
        &self.signing
    }

    /// The next step of a rotation, if one is due.
    pub(super) fn rotated(&self, now: SystemTime, lives: &Lives, origin: Origin<'_>) -> Result<Option<Self>, CaError> {
        let (made, to) = (self.signing.issued()?, self.signing.life()?.1);
        if let Origin::Given(Some(given)) = origin
            && !given.is(self.next.as_ref().unwrap_or(&self.signing))
        {
            return Ok(Some(Self { next: Some(given.clone()), since: Some(now), ..self.clone() }));
        }
        let is_made = matches!(origin, Origin::Made);
        if let Some(next) = &self.next
            && is_made
            && next.is_ahead(now, lives)?
        {
            return Ok(Some(Self { next: None, ..self.clone() }));
        }
        let ahead = is_made && self.signing.is_ahead(now, lives)?;
        let since = now.duration_since(made).unwrap_or_default();
        if let Some(next) = &self.next {
            let announced = now.duration_since(self.since.map_or_else(|| next.issued(), Ok)?).unwrap_or_default();
            let due = announced >= lives.overlap || now >= to || ahead;
            return Ok(due.then(|| self.turned(next, now, ahead)));
        }
        if is_made && (ahead || since * 3 >= to.duration_since(made).unwrap_or_default() * 2) {
            let next = Authority::create(now, lives)?;
            return Ok(Some(Self { next: Some(next), since: None, ..self.clone() }));
        }
        // The one before signed until the turn, if that was written down; what it signed then lives for at most `longest`.
        let forgotten = self.since.map_or_else(|| Ok(self.signing.issued()? + lives.overlap), Ok::<_, CaError>)?;
        let forgotten = forgotten + lives.longest() + SKEW;
        Ok((!self.previous.is_empty() && now >= forgotten).then(|| Self { previous: Vec::new(), ..self.clone() }))
    }

    /// The next one signs. Given ones may follow each other quickly, as may one that is right and one of a clock that was `ahead`: all that
    /// may have signed lately are believed.
    fn turned(&self, next: &Authority, now: SystemTime, ahead: bool) -> Self {
        let before = if ahead || self.since.is_some() { self.previous.as_slice() } else { &[] };
        let mut previous: Vec<Arc<str>> = std::iter::once(&self.signing.certificate).chain(before).cloned().collect();
        previous.truncate(MOST_PREVIOUS);
        Self { signing: next.clone(), next: None, previous, since: Some(now) }
    }
}

// === impl Authority ===

impl Authority {
    /// Whether both are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }

    /// How long something that is signed now may live at most.
    pub(super) fn left(&self, now: SystemTime) -> Result<Duration, CaError> {
        Ok(self.life()?.1.duration_since(now).unwrap_or_default())
    }

    fn new(certificate: Option<String>, key: Option<String>) -> Option<Self> {
        Some(Self { certificate: certificate?.into(), key: key?.into() })
    }

    fn create(now: SystemTime, lives: &Lives) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now, lives.authority);
        params.distinguished_name.push(DnType::CommonName, "gatewright");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate: certificate.into(), key: key.serialize_pem().into() })
    }

    pub(super) fn key_pair(&self) -> Result<KeyPair, CaError> {
        KeyPair::from_pem(&self.key).map_err(|_| CaError::Content(KEY))
    }

    fn life(&self) -> Result<(SystemTime, SystemTime), CaError> {
        let chain = certificates("the CA", &self.certificate)?;
        let certificate = chain.first().ok_or(CaError::Content(CERTIFICATE))?;
        Ok((not_before(certificate)?, not_after(certificate)?))
    }

    /// When it was made.
    fn issued(&self) -> Result<SystemTime, CaError> {
        Ok(self.life()?.0 + SKEW)
    }

    /// Whether a clock made it that was far ahead of this one.
    fn is_ahead(&self, now: SystemTime, lives: &Lives) -> Result<bool, CaError> {
        Ok(self.issued()?.duration_since(now).unwrap_or_default() > lives.overlap)
    }

    /// Signs for this key. Nothing of the certificate comes from whoever has the key.
    pub(super) fn sign(&self, subject: &Subject, key: &impl PublicKeyData, now: SystemTime) -> Result<String, CaError> {
        let mut params = params(now, subject.life);
        // An end that is past the CA's own would be believed by nobody.
        let end = self.life()?.1;
        params.not_after = params.not_after.min(end.into());
        params.subject_alt_names = vec![SanType::URI(subject.uri.as_str().try_into()?)];
        for name in &subject.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.dns.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, self.key_pair()?)?;
        Ok(params.signed_by(key, &issuer)?.pem())
    }
}

fn params(now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
    params
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Authorities(next: {}, previous: {})", self.next.is_some(), self.previous.len())
    }
}
