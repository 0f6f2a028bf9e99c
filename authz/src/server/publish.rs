//! What upstreams read: the public halves of our signing keys, and where they are.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http1;
use crate::signers::OwnKeys;

/// Shorter than the time between the publication of a key and its first use.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=900");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves the documents until cancelled; everything else is 404.
pub async fn serve_keys(listener: TcpListener, keys: Arc<OwnKeys>, ends: CancellationToken) -> std::io::Result<()> {
    let app = routes(keys).fallback(async || (StatusCode::NOT_FOUND, "nothing is published here\n"));
    http1::serve(listener, app, ends).await;
    Ok(())
}

/// The two documents.
pub(super) fn routes(keys: Arc<OwnKeys>) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(async |State(keys): State<Arc<OwnKeys>>| cached(keys.jwks())))
        .route(
            "/.well-known/openid-configuration",
            get(async |State(keys): State<Arc<OwnKeys>>| cached(keys.discovery())),
        )
        .with_state(keys)
}

fn cached(document: Option<serde_json::Value>) -> Response {
    let Some(document) = document else {
        return (StatusCode::NOT_FOUND, "no signing key is known here: no policy needs one, or it is on its way\n")
            .into_response();
    };
    ([(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, CACHE)], document.to_string()).into_response()
}
