//! One attempt to fetch a key set: discovery where needed, then the keys.
//!
//! Owns what an acceptable answer is. Never follows a redirect, never tries a place that neither the policy nor the issuer's own
//! discovery document names, and never repeats a word of what was answered: errors end up in status, logs and conditions.

use std::sync::Arc;

use crds::{
    keys::{KeySet, KeySetError},
    origin::Origin,
};
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use url::Url;

use super::Options;
use crate::cluster::ClusterError;
use crate::net::{Client, ClientError, NetworkError, Networks, ResponseError, read_limited};

/// Where to look, as the slot knows it.
#[derive(Debug)]
pub(super) struct Plan {
    /// The configured issuer.
    pub(super) issuer: Arc<str>,
    /// The configured location; there is no discovery then.
    pub(super) configured: Option<Arc<str>>,
    /// The location of the last good keys, from discovery.
    pub(super) known: Option<Url>,
    /// The origin that discovery must not leave any more.
    pub(super) pinned: Option<Origin>,
    /// Whether to ask discovery again although a location is known.
    pub(super) rediscover: bool,
}

/// A good key set.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The keys.
    pub(super) set: KeySet,
    /// The document they came in.
    pub(super) body: Vec<u8>,
    /// Where it was.
    pub(super) location: Url,
    /// Whose they are, where that is learnt.
    pub(super) issuer: Option<Arc<str>>,
    /// Whether discovery named that location in this very attempt.
    pub(super) discovered: bool,
    /// What went wrong with discovery, where the known location was used instead.
    pub(super) warning: Option<FetchError>,
}

/// Why there are no new keys. The text tells what to look at; it holds nothing the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error("discovery: {0}")]
    Discovery(AnswerError),
    #[error("keys: {0}")]
    Keys(AnswerError),
    #[error("the issuer is not an https:// URL without query and fragment, so there is no discovery; set the JWKS URL")]
    NoDiscovery,
    #[error("the configured JWKS URL is not an absolute URL; correct it in the policy")]
    BadLocation,
    #[error(
        "discovery: the document is of another issuer; configure the issuer exactly as the provider writes it (scheme, case, port, trailing slash)"
    )]
    OtherIssuer,
    #[error("discovery: the document has no jwks_uri that is an absolute URL; set the JWKS URL in the policy")]
    NoLocation,
    #[error("discovery: the jwks_uri is refused: {0}")]
    Location(NetworkError),
    #[error(
        "discovery: the jwks_uri has moved to another origin than {0}, which is not followed; if the provider did move, change the policy or restart"
    )]
    Moved(Origin),
    #[error("keys: {0}")]
    Content(KeySetError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the fetch was abandoned before it ended")]
    Abandoned,
}

/// Why one answer was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error(
        "the server answered with a redirect (status {0}), and redirects are not followed; configure the final URL"
    )]
    Redirect(u16),
    #[error("the server answered with status {0} instead of 200")]
    Status(u16),
    #[error("the content-type of the answer is not JSON; it may be a sign-in page")]
    ContentType,
    #[error("the answer is compressed in a way that was not asked for")]
    Encoding,
    #[error("the answer is not the JSON object it should be")]
    NotJson,
}

/// The two members of a discovery document that matter here (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Fetches the keys once. An answer is good only with everything about it in order.
pub(super) async fn attempt(
    client: Result<&Client, &ClientError>,
    options: &Options,
    plan: Plan,
) -> Result<Fetched, FetchError> {
    let client = client.map_err(|error| FetchError::Keys(ResponseError::from(error.clone()).into()))?;
    let (location, discovered, warning) = locate(client, options, &plan).await?;
    let body = get(client, options, &location).await.map_err(FetchError::Keys)?;
    let set = KeySet::parse(&body).map_err(FetchError::Content)?;
    Ok(Fetched { set, body, location, issuer: None, discovered, warning })
}

async fn locate(
    client: &Client,
    options: &Options,
    plan: &Plan,
) -> Result<(Url, bool, Option<FetchError>), FetchError> {
    if let Some(configured) = &plan.configured {
        return Ok((Url::parse(configured).map_err(|_| FetchError::BadLocation)?, false, None));
    }
    match &plan.known {
        Some(known) if !plan.rediscover => Ok((known.clone(), false, None)),
        known => match (discover(client, options, plan).await, known) {
            (Ok(location), _) => Ok((location, true, None)),
            // Keys are worth more than the latest word about where they are; the error stays visible in the status.
            (Err(error), Some(known)) => Ok((known.clone(), false, Some(error))),
            (Err(error), None) => Err(error),
        },
    }
}

async fn discover(client: &Client, options: &Options, plan: &Plan) -> Result<Url, FetchError> {
    let url = discovery_url(&plan.issuer).ok_or(FetchError::NoDiscovery)?;
    let body = get(client, options, &url).await.map_err(FetchError::Discovery)?;
    location(&body, plan, &options.networks)
}

/// What a discovery document names, if it is of this issuer and the place may be asked.
pub(super) fn location(document: &[u8], plan: &Plan, networks: &Networks) -> Result<Url, FetchError> {
    let not_json = FetchError::Discovery(AnswerError::NotJson);
    // JSON is UTF-8, in members that are passed over too. A typed struct would also be read from an array, in the order of its fields.
    let text = str::from_utf8(document).ok().filter(|text| text.trim_ascii_start().starts_with('{'));
    let document: Document = text.and_then(|text| serde_json::from_str(text).ok()).ok_or(not_json)?;
    if *document.issuer != *plan.issuer {
        return Err(FetchError::OtherIssuer);
    }
    let location = document.jwks_uri.and_then(|text| Url::parse(&text).ok()).ok_or(FetchError::NoLocation)?;
    networks.check(&location).map_err(FetchError::Location)?;
    match &plan.pinned {
        Some(pinned) if Origin::of_url(&location).as_ref() != Some(pinned) => Err(FetchError::Moved(pinned.clone())),
        _ => Ok(location),
    }
}

/// `{issuer}/.well-known/openid-configuration` with exactly one slash between.
pub(super) fn discovery_url(issuer: &str) -> Option<Url> {
    let url = Url::parse(issuer).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).ok()
}

/// One request under one deadline, from the look-up of the name to the last byte.
async fn get(client: &Client, options: &Options, url: &Url) -> Result<Vec<u8>, AnswerError> {
    let answered = async {
        let request = client.request(Method::GET, url).await?.header(header::ACCEPT, "application/json");
        receive(request, options.max_body).await
    };
    tokio::time::timeout(options.fetch_timeout, answered).await.unwrap_or(Err(ResponseError::Timeout.into()))
}

/// Sends a request and reads an answer that is acceptable. The caller bounds the time.
pub(super) async fn receive(request: RequestBuilder, max_body: usize) -> Result<Vec<u8>, AnswerError> {
    let response = request.send().await.map_err(|error| ResponseError::of(&error))?;
    acceptable(&response)?;
    Ok(read_limited(response, max_body).await?)
}

/// Judges an answer by its head, before any of its body is read.
fn acceptable(response: &Response) -> Result<(), AnswerError> {
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            return Err(AnswerError::Redirect(status.as_u16()));
        }
        status => return Err(AnswerError::Status(status.as_u16())),
    }
    // The client has removed this header from everything it decompresses itself.
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(AnswerError::Encoding);
    }
    let mut types = response.headers().get_all(header::CONTENT_TYPE).iter();
    if types.all(|one| one.to_str().is_ok_and(may_be_json)) { Ok(()) } else { Err(AnswerError::ContentType) }
}

/// JSON by whatever name, and the two types of servers that do not know better. A sign-in page is neither.
pub(super) fn may_be_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"));
    json || matches!(essence.as_str(), "" | "application/octet-stream" | "binary/octet-stream" | "text/plain")
}
