//! The HTTP client of outgoing calls. Owns how connections are made and how much of an answer is read; never follows a redirect.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use reqwest::{Certificate, Identity, RequestBuilder, Response};
use url::{Host, Url};

use super::{
    networks::{NetworkError, Networks},
    proxy::{Proxies, ProxyError},
    resolver::CheckedResolver,
};

/// Connections without work that are kept for one host.
const KEPT_PER_HOST: usize = 32;

/// How long a peer that owes an answer over a kept HTTP/2 connection may be silent until it is asked whether it is there, and then how
/// long it has for that. All questions share that connection: one to a machine that is gone would fail each of them, while others of the
/// same name are well. Longer than most answers take, as some servers end a connection over which they are asked often.
const SILENCE: Duration = Duration::from_secs(2);

/// How long the look-up before a proxied request may take: where only the proxy resolves names, it answers late or never.
const PROXIED_LOOKUP: Duration = Duration::from_secs(1);

/// Sends requests where [`Networks`] permits. A clone is cheap and shares everything.
#[derive(Clone)]
pub struct Client {
    networks: Networks,
    proxies: Arc<Proxies>,
    plain: reqwest::Client,
    /// An error text where this host has no usable certificate authorities: everything over plain http still works.
    secure: Result<reqwest::Client, ClientError>,
}

/// How connections are made: who is believed at their other end, who we are, what is spoken, how long they are kept.
#[derive(Clone, Copy, Default)]
pub struct Manner<'a> {
    /// Certificate authorities in PEM, in place of those of the system.
    pub authorities: Option<&'a [u8]>,
    /// Our certificate, its chain and its private key, in PEM.
    pub identity: Option<&'a [u8]>,
    /// Whether HTTP/2 is spoken without asking, as gRPC does; else what both sides agree on.
    pub http2_only: bool,
    /// How long a connection without work is kept; zero: none is. The address of a kept one was checked when it was made.
    pub keep_idle: Duration,
}

/// Why no client could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The proxy variables are wrong.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No trusted certificate authority was found.
    #[error(
        "https cannot be used: no certificate authorities were found; install ca-certificates or set SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// The authorities or the certificate that were given cannot be used.
    #[error(
        "the given certificate authorities or client certificate cannot be used; check that they are PEM, and that the private key belongs to the certificate"
    )]
    Certificates,
    /// The client library refused its settings.
    #[error("the HTTP client could not be set up; check the proxy variables and the TLS settings of this host")]
    Setup,
}

/// Why a request was not sent, or its answer not used. Never holds anything the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The network rule forbids it.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// There is no client for this scheme.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The deadline passed.
    #[error("no complete answer in time; check that the server is up and reachable")]
    Timeout,
    /// Nobody listens.
    #[error("the connection was refused; check that the server is up, and its port")]
    Refused,
    /// The connection ended in the middle.
    #[error("the connection was cut before the answer was complete")]
    Cut,
    /// TLS failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(&'static str),
    /// Any other failure to connect.
    #[error("no connection could be made; check routes, network policies and the proxy")]
    Connect,
    /// What was answered is not HTTP.
    #[error("the answer is not valid HTTP or its compression is broken")]
    Broken,
    /// More than the caller wants to read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

// === impl Client ===

impl Client {
    /// A client that gives up connecting after `connect_timeout`, believes the authorities of the system, and keeps no connection: for
    /// calls that are minutes apart. A new connection for each is checked anew, and is never one the peer has dropped.
    pub fn new(networks: Networks, connect_timeout: Duration) -> Result<Self, ClientError> {
        Self::with(networks, connect_timeout, &Manner::default())
    }

    /// A client that connects in this manner.
    pub fn with(networks: Networks, connect_timeout: Duration, manner: &Manner<'_>) -> Result<Self, ClientError> {
        let (authorities, identity) = manner.parse()?;
        let own_trust = manner.authorities.is_some() || manner.identity.is_some();
        let proxies = Arc::new(networks.proxies().parse()?);
        let build = |secure: bool| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("gatewright/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .https_only(secure)
                .connect_timeout(connect_timeout)
                .pool_idle_timeout(manner.keep_idle)
                .pool_max_idle_per_host(if manner.keep_idle.is_zero() { 0 } else { KEPT_PER_HOST })
                .dns_resolver(CheckedResolver::new(networks.clone(), proxies.clone(), secure));
            for rule in proxies.rules().map_err(|_| ClientError::Setup)? {
                builder = builder.proxy(rule);
            }
            if !manner.keep_idle.is_zero() {
                builder = builder.http2_keep_alive_interval(SILENCE).http2_keep_alive_timeout(SILENCE);
            }
            if manner.http2_only {
                builder = builder.http2_prior_knowledge();
            }
            if let Some(own) = authorities.as_ref().filter(|_| secure) {
                builder = builder.tls_certs_only(own.clone());
            }
            if let Some(own) = identity.as_ref().filter(|_| secure) {
                builder = builder.identity(own.clone());
            }
            if !secure && proxies.http.as_ref().is_none_or(|url| url.scheme() == "http") {
                builder = builder.tls_certs_only([]);
            }
            builder.build().map_err(|_| match secure {
                true if own_trust => ClientError::Certificates,
                true => ClientError::NoAuthorities,
                false => ClientError::Setup,
            })
        };
        Ok(Self { plain: build(false)?, secure: build(true), networks, proxies })
    }

    /// A request to a place that may be reached. The caller bounds its time with [`RequestBuilder::timeout`].
    pub async fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, ResponseError> {
        self.networks.check(url)?;
        self.check_name(url).await?;
        let client = if url.scheme() == "https" { self.secure.as_ref().map_err(Clone::clone)? } else { &self.plain };
        Ok(client.request(method, url.clone()))
    }

    /// Names that our resolver will not judge at connection time: those a proxy resolves, and the proxy's own.
    async fn check_name(&self, url: &Url) -> Result<(), NetworkError> {
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let secure = url.scheme() == "https";
        let own = self.proxies.names(name);
        if !own && self.proxies.of_scheme(url.scheme()).is_none() {
            return Ok(());
        }
        match tokio::time::timeout(PROXIED_LOOKUP, self.networks.resolve(name, secure)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(NetworkError::Unresolved)) | Err(_) if secure && !own => Ok(()),
            Ok(Err(refused)) => Err(refused),
            Err(_) => Err(NetworkError::Unresolved),
        }
    }
}

// === impl Manner ===

impl Manner<'_> {
    fn parse(&self) -> Result<(Option<Vec<Certificate>>, Option<Identity>), ClientError> {
        let authorities = self.authorities.map(Certificate::from_pem_bundle).transpose();
        let identity = self.identity.map(Identity::from_pem).transpose();
        match (authorities, identity) {
            (Ok(authorities), Ok(identity)) => Ok((authorities, identity)),
            _ => Err(ClientError::Certificates),
        }
    }
}

/// Reads a body of at most `limit` bytes, counted after decompression, and stops reading as soon as there is more.
pub async fn read_limited(mut response: Response, limit: usize) -> Result<Vec<u8>, ResponseError> {
    let too_large = || ResponseError::TooLarge(limit);
    if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ResponseError::of(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

// === impl ResponseError ===

impl ResponseError {
    /// Puts a failure of the client library into our own words.
    pub fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        for cause in causes(error) {
            if let Some(refused) = cause.downcast_ref::<NetworkError>() {
                return Self::Network(refused.clone());
            }
            match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(std::io::ErrorKind::ConnectionRefused) => return Self::Refused,
                Some(
                    std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::ConnectionAborted
                    | std::io::ErrorKind::BrokenPipe
                    | std::io::ErrorKind::UnexpectedEof,
                ) if !error.is_connect() => return Self::Cut,
                _ => {}
            }
        }
        if error.is_connect() { tls_failure(error).map_or(Self::Connect, Self::Tls) } else { cut_or_broken(error) }
    }
}

/// An error and everything that caused it. `io::Error` hides what it wraps from `source` itself, hence the second step.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |current| {
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| current.source())
    })
}

/// Recognises the failures of the TLS library by its words, and answers in ours: its own may quote the peer's certificate.
fn tls_failure(error: &reqwest::Error) -> Option<&'static str> {
    let text = causes(error).last()?.to_string();
    let known = [
        ("UnknownIssuer", "the certificate is signed by nobody trusted here"),
        ("not valid for name", "the certificate is for another name"),
        ("NotValidForName", "the certificate is for another name"),
        ("expired", "the certificate has expired"),
        ("Expired", "the certificate has expired"),
        ("Revoked", "the certificate was revoked"),
        ("certificate", "the certificate was not accepted"),
        ("corrupt message", "the server does not speak TLS on this port"),
        ("handshake", "the server offered nothing both sides accept"),
        ("eof", "the server ended the connection"),
        ("tls", "the server did not follow the protocol"),
    ];
    known.iter().find(|(word, _)| text.contains(word)).map(|(_, ours)| *ours)
}

fn cut_or_broken(error: &reqwest::Error) -> ResponseError {
    let incomplete = |text: String| text.contains("incomplete") || text.contains("closed before");
    if causes(error).any(|cause| incomplete(cause.to_string())) { ResponseError::Cut } else { ResponseError::Broken }
}
