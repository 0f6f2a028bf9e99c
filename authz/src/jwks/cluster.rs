//! The keys of the cluster: from its API server, in our name, by the two paths that every API server has.
//!
//! What discovery names as the place of the keys is not followed: it may be outside of the cluster, and our token is for this server.

use crds::keys::KeySet;
use http::{Method, StatusCode, header};
use serde::Deserialize;

use super::{
    Options,
    fetch::{AnswerError, FetchError, Fetched, receive},
};
use crate::{
    cluster::{Cluster, ClusterError},
    net::ResponseError,
};

const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub(super) const KEYS: &str = "/openid/v1/jwks";

/// The API server sends keys as `application/jwk-set+json` only, to whoever takes that by name.
const ACCEPTED: &str = "application/jwk-set+json, application/json";

/// The one member of the discovery document that counts here.
#[derive(Deserialize)]
struct Document {
    issuer: String,
}

/// Fetches issuer and keys once.
pub(super) async fn attempt(options: &Options) -> Result<Fetched, FetchError> {
    let cluster = options.cluster.as_ref().ok_or(ClusterError::Unknown)?;
    let body = get(cluster, options, DISCOVERY).await?.map_err(FetchError::Discovery)?;
    let document: Option<Document> = serde_json::from_slice(&body).ok();
    let issuer = document.map(|document| document.issuer).filter(|issuer| !issuer.is_empty());
    let issuer = issuer.ok_or(FetchError::Discovery(AnswerError::NotJson))?;
    let body = get(cluster, options, KEYS).await?.map_err(FetchError::Keys)?;
    let set = KeySet::parse(&body).map_err(FetchError::Content)?;
    let (location, issuer) = (cluster.url(KEYS), Some(issuer.into()));
    Ok(Fetched { set, body, location, issuer, discovered: false, warning: None })
}

async fn get(cluster: &Cluster, options: &Options, path: &str) -> Result<Result<Vec<u8>, AnswerError>, ClusterError> {
    let answered = async {
        let request = cluster.request(Method::GET, path).await?.header(header::ACCEPT, ACCEPTED);
        Ok::<_, ClusterError>(receive(request, options.max_body).await)
    };
    let timeout = || Ok(Err(ResponseError::Timeout.into()));
    match tokio::time::timeout(options.fetch_timeout, answered).await.unwrap_or_else(|_| timeout())? {
        Err(AnswerError::Status(status))
            if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].iter().any(|one| one.as_u16() == status) =>
        {
            Err(ClusterError::Refused(status))
        }
        other => Ok(other),
    }
}
