//! The application behind Envoy: it answers with what reached it, over HTTP/1 and HTTP/2, and takes WebSockets.
//! Never checks anything: whatever arrives here was let through.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::PeerError;

/// Says which subprotocol the application selects in a WebSocket handshake; without it, none.
pub const PROTOCOL_HEADER: &str = "x-test-protocol";

/// A request as it reached the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Every header line, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A running application; it ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Seen {
    /// The value of a header, several lines joined by `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl Upstream {
    /// Starts one.
    pub async fn start() -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the application"))?;
        let address = listener.local_addr().map_err(PeerError::io("the application's address"))?;
        let upstream = Self { address, seen: Arc::default() };
        let router = Router::new().fallback(echo).with_state(upstream.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(upstream)
    }

    /// Everything that reached it, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn echo(State(upstream): State<Upstream>, request: Request) -> Response {
    let headers = request.headers().iter();
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect(),
    };
    let body = serde_json::to_string(&seen).unwrap_or_default();
    upstream.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    match handshake(request.headers()) {
        Some(accept) => {
            let switch = [(header::UPGRADE, "websocket".to_owned()), (header::SEC_WEBSOCKET_ACCEPT, accept)];
            let chosen = request
                .headers()
                .get(PROTOCOL_HEADER)
                .map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol.clone()));
            (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade")], switch, HeaderMap::from_iter(chosen))
                .into_response()
        }
        None => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
    }
}

/// `Sec-WebSocket-Accept` of a WebSocket handshake (RFC 6455, 4.2.2). The connection is closed after the answer.
fn handshake(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    upgrade.eq_ignore_ascii_case("websocket").then(|| BASE64.encode(digest))
}
