//! One call to the API server: bounded in time, without retries of its own, with the server's wish for a pause.

use std::{sync::Arc, time::Duration};

use futures_util::Stream;
use http::{HeaderMap, Request, StatusCode, header};
use kube::{Client, client::Body, core::WatchEvent};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use crate::api::PATIENCE;

/// Longest call that reads: whoever leads by the time of its answer, it changes nothing. One that writes has [`PATIENCE`], a third of a
/// lease: begun in the last moment of a leadership, at two thirds, it ends before a rival may lead.
const READ: Duration = Duration::from_secs(8);
/// Largest answer: a page of 500 objects of the API server's largest size would not be one.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Calls the API server.
#[derive(Clone)]
pub struct Call {
    client: Client,
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The server answered, and not with success.
    #[error("the API server answers {status} to {what}: {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// Its message.
        message: String,
        /// Pause it asks for.
        retry_after: Option<Duration>,
    },
    /// No answer.
    #[error("the API server does not answer {what}: {why}")]
    Unreachable {
        /// Method and path.
        what: String,
        /// Why.
        why: String,
    },
    /// An answer that is no JSON of the expected shape.
    #[error("the API server's answer to {what} cannot be read")]
    Unreadable {
        /// Method and path.
        what: String,
    },
}

// === impl Call ===

impl Call {
    /// Calls through this client, whose own retries should be off.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// GET.
    pub async fn get(&self, path: &str, accept: &'static str) -> Result<Value, CallError> {
        self.send("GET", path, accept, None, Vec::new()).await
    }

    /// PATCH with this content type.
    pub async fn patch(&self, path: &str, content: &'static str, body: &Value) -> Result<Value, CallError> {
        self.send("PATCH", path, JSON, Some(content), body.to_string().into_bytes()).await
    }

    /// Begins a watch; beside it the pause that the server asked for. The events of the client know nothing of headers.
    pub(super) async fn watch(
        &self,
        request: Request<Vec<u8>>,
    ) -> (Result<impl Stream<Item = kube::Result<WatchEvent<Value>>> + use<>, kube::Error>, Option<Duration>) {
        let noted = Arc::new(Mutex::new(None));
        let (client, note) = (self.client.clone(), noted.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, note) = (client.clone(), note.clone());
            async move {
                let answer = client.send(request).await?;
                *note.lock() = asked(answer.headers());
                Ok::<_, kube::Error>(answer)
            }
        });
        let client = Client::new(service, self.client.default_namespace());
        let events = client.request_events(request).await;
        let pause = *noted.lock();
        (events, pause)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        accept: &'static str,
        content: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Value, CallError> {
        // The query is no part of messages: it would make two of one trouble.
        let what = format!("{method} {}", path.split('?').next().unwrap_or_default());
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if let Some(content) = content {
            request = request.header(header::CONTENT_TYPE, content);
        }
        let unreachable = |why: String| CallError::Unreachable { what: what.clone(), why };
        let request = request.body(Body::from(body)).map_err(|error| unreachable(error.to_string()))?;
        let answer = async {
            let response = self.client.send(request).await.map_err(|error| unreachable(root(&error)))?;
            let (parts, body) = response.into_parts();
            let bytes = http_body_util::Limited::new(body, MAX_BYTES);
            let bytes =
                http_body_util::BodyExt::collect(bytes).await.map_err(|error| unreachable(error.to_string()))?;
            Ok((parts, bytes.to_bytes()))
        };
        let longest = if method == "GET" { READ } else { PATIENCE };
        let (parts, bytes) =
            timeout(longest, answer).await.map_err(|_| unreachable("no answer in time".to_owned()))??;
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        if parts.status.is_success() {
            return value.ok_or(CallError::Unreadable { what });
        }
        let message = value.as_ref().and_then(|value| value.get("message")).and_then(Value::as_str);
        Err(CallError::Refused {
            what,
            status: parts.status.as_u16(),
            message: message.unwrap_or("no reason given").chars().take(300).collect(),
            retry_after: asked(&parts.headers),
        })
    }
}

/// The pause that an answer asks for.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// An HTTP status as a label.
pub(super) const fn cause(status: u16) -> &'static str {
    match status {
        401 | 403 => "denied",
        404 => "missing",
        409 => "conflict",
        410 => "gone",
        429 => "throttled",
        500..=599 => "server",
        _ => "refused",
    }
}

/// JSON.
pub(crate) const JSON: &str = "application/json";

/// The innermost cause: the outer ones say that a request failed.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

// === impl CallError ===

impl CallError {
    /// The HTTP status, if there was an answer.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND.as_u16())
    }

    /// Whether the version that was asked for is no longer known.
    pub fn is_gone(&self) -> bool {
        self.status() == Some(StatusCode::GONE.as_u16())
    }

    /// Whether it says nothing about what was asked for: the server is busy, broken or away.
    pub const fn is_of_server(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 429 | 500..=599),
            Self::Unreachable { .. } => true,
            Self::Unreadable { .. } => false,
        }
    }

    /// What it was, as a label.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Refused { status, .. } => cause(*status),
            Self::Unreachable { .. } => "unreachable",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    /// The pause the server asks for.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use http::Response;
    use tokio::time::Instant;

    use super::*;
    use crate::leader::Durations;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_not_answered_ends_before_a_rival_may_lead() {
        let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let call = Call::new(Client::new(never, "gatewright"));
        let (begun, slack) = (Instant::now(), Duration::from_millis(10));
        assert!(call.patch("/one", JSON, &Value::Null).await.is_err_and(|error| error.is_of_server()));
        assert!(begun.elapsed() < Durations::default().lease / 3 + slack, "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert!(call.get("/one", JSON).await.is_err_and(|error| error.is_of_server()));
        assert!((READ..READ + slack).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}
