//! The admin listener: liveness, readiness, metrics; from this machine only: the live state and the log level.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use crds::hosts::Host;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{http1, publish, readiness::Readiness, state::SnapshotCell};
use crate::{jwks::KeyCache, signers::OwnKeys};

/// Changes the log filter; an error text says what is wrong with the directive.
pub type LogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// What is missing until the process is ready.
    pub readiness: Readiness,
    /// All metrics.
    pub registry: Arc<Registry>,
    /// The snapshot in force.
    pub snapshots: Arc<SnapshotCell>,
    /// Remote keys.
    pub keys: Arc<KeyCache>,
    /// Verdicts of the documents, made when somebody asks.
    pub verdicts: Dump,
    /// Changes the log filter.
    pub log_level: LogLevel,
    /// Keys that sign for upstreams, where this listener publishes them.
    pub signers: Option<Arc<OwnKeys>>,
}

/// Longest accepted log directive.
const MAX_BODY_BYTES: usize = 4096;

/// The live state as JSON, without a secret in it.
pub type Dump = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The listener of any process: of it alone depends what the live state is.
#[derive(Clone)]
pub struct AdminListener {
    /// What is missing until the process is ready.
    pub readiness: Readiness,
    /// All metrics.
    pub registry: Arc<Registry>,
    /// The live state.
    pub dump: Dump,
    /// Changes the log filter.
    pub log_level: LogLevel,
    /// Keys that sign for upstreams, where this listener publishes them.
    pub signers: Option<Arc<OwnKeys>>,
}

// === impl Admin ===

impl Admin {
    /// Serves until cancelled.
    pub async fn serve(self, listener: TcpListener, ends: CancellationToken) -> std::io::Result<()> {
        let Self { readiness, registry, snapshots, keys, verdicts, log_level, signers } = self;
        // Compiled policies, verdicts, keys. No type in it that holds a secret serialises.
        let dump: Dump = Arc::new(move || {
            serde_json::json!({
                "version": snapshots.version(),
                "snapshot": &*snapshots.load_full(),
                "verdicts": verdicts(),
                "keySets": keys.status(),
            })
        });
        AdminListener { readiness, registry, dump, log_level, signers }.serve(listener, ends).await
    }
}

// === impl AdminListener ===

impl AdminListener {
    /// Serves until cancelled.
    pub async fn serve(self, listener: TcpListener, ends: CancellationToken) -> std::io::Result<()> {
        http1::serve(listener, self.router(), ends).await;
        Ok(())
    }

    fn router(self) -> Router {
        let published = self.signers.clone().map_or_else(Router::new, publish::routes);
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/config_dump", get(config_dump))
            .route("/log-level", put(log_level))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self)
            .merge(published)
    }
}

async fn readyz(State(admin): State<AdminListener>) -> Response {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics(State(admin): State<AdminListener>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn config_dump(
    State(admin): State<AdminListener>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refuse_remote(peer, &headers) {
        return refusal;
    }
    ([(header::CONTENT_TYPE, "application/json")], (admin.dump)().to_string()).into_response()
}

async fn log_level(
    State(admin): State<AdminListener>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refuse_remote(peer, &headers) {
        return refusal;
    }
    let Ok(directive) = std::str::from_utf8(&body) else {
        return (
            StatusCode::BAD_REQUEST,
            "the body is a tracing filter directive such as `debug` or `authz=debug,info`\n",
        )
            .into_response();
    };
    match (admin.log_level)(directive.trim()) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

/// Hosts, issuers and rules are a map for attackers, and the log level is a switch: neither leaves this machine. The host is looked
/// at as well, or a web page could have its own name resolved to this machine and read along (DNS rebinding).
fn refuse_remote(peer: SocketAddr, headers: &HeaderMap) -> Option<Response> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let named_local = host.is_none_or(|host| Host::parse(host).is_ok_and(|host| host.is_loopback()));
    let local = peer.ip().to_canonical().is_loopback() && named_local;
    (!local).then(|| (StatusCode::FORBIDDEN, "only from this machine: use port-forwarding or exec\n").into_response())
}
