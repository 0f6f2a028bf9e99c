//! One question over HTTP: where it may go, who is believed there, how long it may take and how much of the answer is read.
//!
//! Owns the clients, one for each pair of authorities and certificate. Never follows a redirect, never asks again once something was
//! sent, and never repeats a word of what was answered.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use crds::snapshot::{Authorities, ClientCertificate, Endpoint, Tls};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use moka::sync::Cache;
use reqwest::Response;
use serde_json::{Map, Value};

use crate::{
    cluster::ClusterError,
    jwt,
    net::{Client, ClientError, Manner, NetworkError, Networks, ResponseError, read_limited},
    trace,
};

/// The most bytes of an answer that are read, after decompression.
pub const MAX_ANSWER_BYTES: usize = 1 << 16;
/// The part of a question's time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections without work are kept this long: shorter than servers do, so that a kept one is rarely one they have closed.
const KEEP_IDLE: Duration = Duration::from_secs(15);
/// Clients that are kept; one that is forgotten is made anew.
const MAX_CLIENTS: u64 = 256;

/// Asks services. A clone is cheap and shares everything.
#[derive(Clone)]
pub struct Transport {
    networks: Networks,
    clients: Cache<[u8; 32], Result<Arc<Client>, ClientError>>,
}

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// Beside `Accept`. Those that hold secrets are marked as sensitive by whoever makes them.
    pub headers: HeaderMap,
    /// The body, if there is one.
    pub body: &'a [u8],
}

/// An answer in JSON, of whatever status.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The object that its body is, or why it is none.
    pub body: Result<Map<String, Value>, CallError>,
}

/// Why there is no answer that could be used. The text tells what to look at; it holds nothing the service sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer, or none that could be read to its end.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// Redirects are not followed: a credential would go to a place that nobody configured.
    #[error("the service answered with a redirect, and redirects are not followed; configure the final URL")]
    Redirect,
    /// Another status than what means yes or no.
    #[error("the service answered with a status that says neither yes nor no")]
    Status,
    /// The authorization server does not know us.
    #[error(
        "the authorization server does not accept us as its client; check the client's identifier, secret or key, and method"
    )]
    Client,
    /// Not JSON by its own word.
    #[error("the content-type of the answer is not JSON")]
    ContentType,
    /// Compressed in a way that was not asked for.
    #[error("the answer is compressed in a way that was not asked for")]
    Encoding,
    /// Not a JSON object that can be read in one way only.
    #[error("the answer is not a JSON object, or can be read in more than one way")]
    NotJson,
    /// JSON, and not what was asked for.
    #[error("the answer has members of a wrong type, or lacks one that it must have")]
    Shape,
    /// A Secret or ConfigMap that is needed is missing or unfit.
    #[error("what is needed to ask the service is missing: its certificate authorities, our certificate or our secret")]
    Incomplete,
    /// The API server of the cluster cannot be asked, or refuses us.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// As many questions as this service is asked at once, or in a second.
    #[error("the service is asked as often already as it may be")]
    Busy,
}

// === impl CallError ===

impl CallError {
    /// Fixed words for `explain` and logs.
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Response(ResponseError::Network(_)) => {
                "the service may not be reached from here; see --allow-network"
            }
            Self::Response(ResponseError::Client(_)) => {
                "there is no client for the service; its certificates cannot be used"
            }
            Self::Response(ResponseError::Timeout) => "the service has not answered in time",
            Self::Response(ResponseError::Refused) => "the service refuses connections",
            Self::Response(ResponseError::Tls(_)) => "the TLS handshake with the service failed",
            Self::Response(ResponseError::TooLarge(_)) => "the answer of the service is too large",
            Self::Response(_) => "the service could not be asked",
            Self::Redirect => "the service answered with a redirect, which is not followed",
            Self::Status => "the service answered with a status that says neither yes nor no",
            Self::Client => "the authorization server does not accept us as its client",
            Self::ContentType | Self::Encoding | Self::NotJson => "the service did not answer in JSON",
            Self::Shape => "the answer of the service lacks a member, or has one of a wrong type",
            Self::Incomplete => "a Secret or ConfigMap that is needed to ask the service is missing",
            Self::Cluster(ClusterError::Response(_)) => "the API server could not be asked",
            Self::Cluster(ClusterError::Refused(_)) => "the API server does not let us create token reviews",
            Self::Cluster(ClusterError::Unknown) => "no API server is known here; see --kube-api-server",
            Self::Cluster(_) => "our own ServiceAccount token or the API server's authorities are missing",
            Self::Busy => "the service is asked as often already as it may be",
        }
    }

    /// The word of metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Response(ResponseError::Timeout) => "timeout",
            Self::Response(ResponseError::Network(_)) => "network",
            Self::Response(ResponseError::TooLarge(_)) => "too_large",
            Self::Response(_) | Self::Cluster(ClusterError::Response(_)) => "connection",
            Self::Redirect | Self::Status => "status",
            Self::Client | Self::Cluster(ClusterError::Refused(_)) => "client",
            Self::ContentType | Self::Encoding | Self::NotJson | Self::Shape => "content",
            Self::Incomplete | Self::Cluster(_) => "incomplete",
            Self::Busy => "busy",
        }
    }
}

impl From<ClientError> for CallError {
    fn from(error: ClientError) -> Self {
        Self::Response(error.into())
    }
}

// === impl Transport ===

impl Transport {
    /// Asks only where `networks` permits.
    pub fn new(networks: Networks) -> Self {
        Self { networks, clients: Cache::builder().max_capacity(MAX_CLIENTS).build() }
    }

    /// Asks once, within the endpoint's time. A connection that could not be made is tried once more: nothing was sent then.
    pub async fn ask(&self, endpoint: &Endpoint, question: &Question<'_>) -> Result<Answer, CallError> {
        let client = self.client(&endpoint.tls, false)?;
        let asked = async {
            let response = match send(&client, endpoint, question).await {
                Err(ResponseError::Refused | ResponseError::Connect) => send(&client, endpoint, question).await?,
                other => other?,
            };
            read(response).await
        };
        tokio::time::timeout(endpoint.timeout, asked).await.unwrap_or(Err(ResponseError::Timeout.into()))
    }

    /// The client of these settings, made once.
    pub(super) fn client(&self, tls: &Tls, http2_only: bool) -> Result<Arc<Client>, CallError> {
        let manner = manner(tls, http2_only).ok_or(CallError::Incomplete)?;
        let mut context = Context::new(&SHA256);
        for part in [Some(&[u8::from(http2_only)][..]), manner.authorities, manner.identity] {
            // Lengths first, and one that no part has for an absent one.
            context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            context.update(part.unwrap_or_default());
        }
        let key = crds::digest::array(&context.finish());
        let make = || Client::with(self.networks.clone(), CONNECT_TIMEOUT, &manner).map(Arc::new);
        Ok(self.clients.get_with(key, make)?)
    }
}

/// `None`: something that the policy names is missing, and asking without it could mean asking somebody else.
fn manner(tls: &Tls, http2_only: bool) -> Option<Manner<'_>> {
    let authorities = match &tls.authorities {
        Authorities::System => None,
        Authorities::Own(bundle) => Some(bundle.pem()),
        Authorities::Missing => return None,
    };
    let identity = match &tls.certificate {
        ClientCertificate::None => None,
        ClientCertificate::Own(pem) => Some(pem.expose()),
        ClientCertificate::Missing => return None,
    };
    Some(Manner { authorities, identity, http2_only, keep_idle: KEEP_IDLE })
}

async fn send(client: &Client, endpoint: &Endpoint, question: &Question<'_>) -> Result<Response, ResponseError> {
    let mut request = client.request(question.method.clone(), &endpoint.url).await?;
    request = request.headers(question.headers.clone()).header(header::ACCEPT, "application/json");
    if !question.body.is_empty() {
        request = request.body(question.body.to_vec());
    }
    trace::hand_on(request).send().await.map_err(|error| ResponseError::of(&error))
}

/// Statuses are judged by whoever asked, for a refusal is an answer too; a redirect is none.
pub(super) async fn read(response: Response) -> Result<Answer, CallError> {
    let status = response.status();
    if status.is_redirection() || status.is_informational() {
        return Err(CallError::Redirect);
    }
    let head = acceptable(response.headers());
    let body = match head {
        Ok(()) => {
            let bytes = read_limited(response, MAX_ANSWER_BYTES).await?;
            jwt::strict_object(&bytes).map_err(|_| CallError::NotJson)
        }
        Err(error) => Err(error),
    };
    Ok(Answer { status, body })
}

fn acceptable(headers: &HeaderMap) -> Result<(), CallError> {
    // The client has removed this header from everything it decompresses itself.
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(CallError::Encoding);
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    if types.next().is_some_and(is_json) && types.next().is_none() { Ok(()) } else { Err(CallError::ContentType) }
}

fn is_json(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

impl From<NetworkError> for CallError {
    fn from(error: NetworkError) -> Self {
        Self::Response(error.into())
    }
}
