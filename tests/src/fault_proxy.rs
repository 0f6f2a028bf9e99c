//! A proxy between one client and the API server that does what API servers do on bad days.
//!
//! ```text
//!  operator ──http──▶ fault proxy ──https──▶ kube-apiserver
//!                        │ faults, by method and path; lines put into watches; every call counted
//! ```
//!
//! Owns no policy of its own: without a fault it hands everything through, the caller's credentials included, so that permissions are
//! those of the caller.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream::unfold};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::PeerError;

/// Largest request: the API server takes 3 MiB.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered with this status, and with this wish for a pause in seconds.
    Status(u16, Option<u64>),
    /// Not forwarded, and not answered before the fault is over.
    Hold,
    /// Forwarded; the answer is withheld for ever: the caller may have died before it came.
    Lose,
    /// The connection breaks before an answer.
    Cut,
    /// Watches say nothing more, those that are open already included.
    Freeze,
    /// Watches end at once with an `ERROR` event of this code.
    WatchError(u16),
}

/// Which calls a fault meets.
#[derive(Debug, Clone)]
pub struct Where {
    method: Option<Method>,
    path: String,
    watch: Option<bool>,
}

/// A call as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its body as text, for writes.
    pub body: String,
    /// The status that it was answered with; 0: not answered.
    pub status: u16,
}

/// The proxy. It ends with the runtime of the test.
#[derive(Clone)]
pub struct FaultProxy {
    /// Where it listens, over plain HTTP.
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    target: String,
    client: reqwest::Client,
    faults: watch::Sender<Vec<(u64, Where, Fault)>>,
    ids: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    watches: Mutex<Vec<(String, mpsc::UnboundedSender<Bytes>)>>,
    /// Calls that may still be forwarded; after the last of them its answer is lost, and nothing is forwarded any more.
    left: Mutex<Option<u64>>,
    stopped: watch::Sender<bool>,
}

// === impl Where ===

impl Where {
    /// Every call whose path and query hold this text; an empty one is held by all.
    pub fn path(text: &str) -> Self {
        Self { method: None, path: text.to_owned(), watch: None }
    }

    /// Of this method only.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Watches only.
    #[must_use]
    pub const fn watches(mut self) -> Self {
        self.watch = Some(true);
        self
    }

    /// All but watches.
    #[must_use]
    pub const fn but_watches(mut self) -> Self {
        self.watch = Some(false);
        self
    }

    fn meets(&self, method: &Method, path: &str) -> bool {
        self.method.as_ref().is_none_or(|own| own == method)
            && path.contains(&self.path)
            && self.watch.is_none_or(|watch| watch == is_watch(path))
    }
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=true") || path.contains("watch=1")
}

// === impl FaultProxy ===

impl FaultProxy {
    /// Starts one before `target`, such as `https://127.0.0.1:6443`, whose certificate is not looked at: it is on this machine.
    pub async fn start(target: &str) -> Result<Self, PeerError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .danger_accept_invalid_certs(true)
            .http1_only()
            .build()
            .map_err(|error| PeerError::unreadable("the client of the fault proxy", &error))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the fault proxy"))?;
        let address = listener.local_addr().map_err(PeerError::io("the fault proxy's address"))?;
        let inner = Arc::new(Inner {
            target: target.to_owned(),
            client,
            faults: watch::Sender::new(Vec::new()),
            ids: AtomicU64::new(0),
            seen: Mutex::default(),
            watches: Mutex::default(),
            left: Mutex::default(),
            stopped: watch::Sender::new(false),
        });
        let router = Router::new().fallback(forward).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, inner })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes something go wrong until it is mended.
    pub fn fault(&self, at: Where, fault: Fault) -> u64 {
        let id = self.inner.ids.fetch_add(1, Ordering::Relaxed);
        self.inner.faults.send_modify(|faults| faults.push((id, at, fault)));
        id
    }

    /// Ends one fault.
    pub fn mend(&self, id: u64) {
        self.inner.faults.send_modify(|faults| faults.retain(|(other, ..)| *other != id));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        *lock(&self.inner.left) = None;
        self.inner.stopped.send_replace(false);
        self.inner.faults.send_modify(Vec::clear);
    }

    /// Puts an event into every open watch whose path and query hold this text; how many there were.
    pub fn inject(&self, path: &str, event: &Value) -> usize {
        let line = Bytes::from(format!("{event}\n"));
        let mut watches = lock(&self.inner.watches);
        watches.retain(|(_, open)| !open.is_closed());
        watches.iter().filter(|(of, open)| of.contains(path) && open.send(line.clone()).is_ok()).count()
    }

    /// The next `calls` calls other than watches are forwarded. The answer of the last is lost, and everything after it: as if the caller
    /// had died there.
    pub fn die_after(&self, calls: u64) {
        *lock(&self.inner.left) = Some(calls);
    }

    /// Resolves when the last call of [`FaultProxy::die_after`] was forwarded.
    pub async fn died(&self) {
        // An error would mean that the proxy is gone, which its owner is not.
        let _ = self.inner.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Every call so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.inner.seen).clone()
    }

    /// Calls so far that write.
    pub fn writes(&self) -> Vec<Seen> {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS];
        self.seen().into_iter().filter(|seen| !reads.contains(&seen.method)).collect()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        lock(&self.inner.seen).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let body = to_bytes(body, MOST_BYTES).await.unwrap_or_default();
    let number = inner.note(&parts.method, &path, &body);
    let mut lost = inner.counts_down(&path).await;
    match inner.fault(&parts.method, &path) {
        None | Some(Fault::Freeze) => {}
        Some(Fault::Hold) => inner.until_mended(&parts.method, &path).await,
        Some(Fault::Lose) => lost = true,
        Some(Fault::Cut) => return broken(),
        Some(Fault::Status(code, pause)) => {
            inner.answered(number, code);
            return status(code, pause);
        }
        Some(Fault::WatchError(code)) => {
            let event = json!({"type": "ERROR", "object": failure(code)});
            return ([(header::CONTENT_TYPE, "application/json")], format!("{event}\n")).into_response();
        }
    }
    let url = format!("{}{path}", inner.target);
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let sent = inner.client.request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return broken() };
    if lost {
        inner.stopped.send_replace(true);
        return std::future::pending().await;
    }
    inner.answered(number, answer.status().as_u16());
    let (mut parts, body) = axum::http::Response::from(answer).into_parts();
    // Lengths and encodings of the hop before are not those of this one.
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        parts.headers.remove(name);
    }
    let body = Body::new(body);
    let body = if is_watch(&path) && parts.status.is_success() { inner.watched(path, body) } else { body };
    Response::from_parts(parts, body)
}

// === impl Inner ===

impl Inner {
    fn note(&self, method: &Method, path: &str, body: &Bytes) -> usize {
        let mut seen = lock(&self.seen);
        let body = String::from_utf8_lossy(body).into_owned();
        seen.push(Seen { method: method.clone(), path: path.to_owned(), body, status: 0 });
        seen.len() - 1
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(seen) = lock(&self.seen).get_mut(number) {
            seen.status = status;
        }
    }

    /// Whether this is the last call before the end; one after it waits for ever.
    async fn counts_down(&self, path: &str) -> bool {
        let last = {
            let mut left = lock(&self.left);
            match left.as_mut() {
                None => return false,
                Some(_) if is_watch(path) => return false,
                Some(0) => None,
                Some(left) => {
                    *left -= 1;
                    Some(*left == 0)
                }
            }
        };
        match last {
            Some(last) => last,
            None => std::future::pending().await,
        }
    }

    fn fault(&self, method: &Method, path: &str) -> Option<Fault> {
        let faults = self.faults.borrow();
        faults.iter().find(|(_, at, _)| at.meets(method, path)).map(|(.., fault)| fault.clone())
    }

    async fn until_mended(&self, method: &Method, path: &str) {
        let held = |faults: &Vec<(u64, Where, Fault)>| {
            faults.iter().any(|(_, at, fault)| matches!(fault, Fault::Hold) && at.meets(method, path))
        };
        let _ = self.faults.subscribe().wait_for(|faults| !held(faults)).await;
    }

    /// The lines of a watch, and those that are put in; nothing while it is frozen.
    fn watched(self: &Arc<Self>, path: String, body: Body) -> Body {
        let (put, injected) = mpsc::unbounded_channel();
        lock(&self.watches).push((path.clone(), put));
        let from = (body.into_data_stream(), injected, self.clone(), path);
        Body::from_stream(unfold(from, async |(mut lines, mut injected, inner, path)| {
            let frozen = |faults: &Vec<(u64, Where, Fault)>| {
                faults.iter().any(|(_, at, fault)| matches!(fault, Fault::Freeze) && at.meets(&Method::GET, &path))
            };
            let next = tokio::select! {
                next = lines.next() => next.map(|next| next.map_err(io::Error::other)),
                Some(line) = injected.recv() => Some(Ok(line)),
            };
            let _ = inner.faults.subscribe().wait_for(|faults| !frozen(faults)).await;
            next.map(|next| (next, (lines, injected, inner, path)))
        }))
    }
}

/// A connection that ends in the middle of an answer.
fn broken() -> Response {
    let cut = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("cut")) });
    Body::from_stream(cut).into_response()
}

fn status(code: u16, pause: Option<u64>) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer =
        (code, [(header::CONTENT_TYPE, "application/json")], failure(code.as_u16()).to_string()).into_response();
    if let Some(pause) = pause.and_then(|pause| HeaderValue::from_str(&pause.to_string()).ok()) {
        answer.headers_mut().insert(header::RETRY_AFTER, pause);
    }
    answer
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": "said the fault proxy"})
}

#[cfg(test)]
mod tests;
