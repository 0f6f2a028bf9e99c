//! What upstreams read: the public halves of our signing keys, and where they are.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::accept::Patient;
use crate::signers::OwnKeys;

/// Shorter than the time between the publication of a key and its first use.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=900");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves the documents until cancelled; everything else is 404.
pub async fn serve_keys(listener: TcpListener, keys: Arc<OwnKeys>, ends: CancellationToken) -> std::io::Result<()> {
    let app = Router::new()
        .route("/.well-known/jwks.json", get(async |State(keys): State<Arc<OwnKeys>>| cached(&keys.jwks())))
        .route(
            "/.well-known/openid-configuration",
            get(async |State(keys): State<Arc<OwnKeys>>| cached(&keys.discovery())),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "nothing is published here\n"))
        .with_state(keys);
    axum::serve(Patient(listener), app).with_graceful_shutdown(async move { ends.cancelled().await }).await
}

fn cached(document: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, CACHE)], document.to_string())
}
