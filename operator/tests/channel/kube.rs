//! The API server's part in lists and watches: it holds policies, lists them in small pages, and its watches say what a test gave them
//! to say, or never a word.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Objects a page.
pub(crate) const PAGE: usize = 2;

/// What it holds, what it was asked, and whether second pages fail.
#[derive(Default)]
pub(crate) struct Cluster {
    policies: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<Vec<String>>,
    /// The next watches of policies; without any, a watch is silent for ever.
    pub(crate) says: Mutex<VecDeque<Says>>,
    pub(crate) fails_midway: AtomicBool,
    pub(crate) refuses: Mutex<Option<Refusal>>,
    /// The same of watches alone.
    pub(crate) refuses_watches: Mutex<Option<Refusal>>,
}

/// A watch that says something and then ends.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) lines: Vec<Value>,
    /// How long it stands.
    pub(crate) stands: Duration,
}

/// What becomes of every call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// This status, and this many seconds to wait.
    Status(u16, Option<u64>),
    /// No connection.
    Away,
}

/// Status, seconds to wait, body, and how long after it the answer ends; `None`: never.
type Answer = (StatusCode, Option<u64>, String, Option<Duration>);

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

impl Cluster {
    /// A client of it.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().to_string();
            let watch = path.contains("watch=true").then(|| *cluster.refuses_watches.lock());
            let refusal = cluster.refuses.lock().or(watch.flatten());
            let (status, pause, answer, stands) = match refusal {
                None => cluster.answer(&path),
                Some(refusal) => {
                    cluster.asked.lock().push(path);
                    let Refusal::Status(code, pause) = refusal else {
                        return std::future::ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused)));
                    };
                    (StatusCode::from_u16(code).unwrap(), pause, json!({"message": "not now"}).to_string(), AT_ONCE)
                }
            };
            let body = Body::from(answer.into_bytes()).with_trailers(async move {
                match stands {
                    Some(stands) => sleep(stands).await,
                    None => std::future::pending().await,
                }
                None
            });
            let mut response = Response::new(body);
            *response.status_mut() = status;
            if let Some(pause) = pause {
                response.headers_mut().insert(header::RETRY_AFTER, pause.into());
            }
            std::future::ready(Ok(response))
        });
        Client::new(service, "gatewright")
    }

    /// Makes or changes a policy of namespace `a` that lets everybody in.
    pub(crate) fn put(&self, name: &str, host: &str) {
        let metadata = json!({"name": name, "namespace": "a", "uid": name, "generation": 1, "resourceVersion": "1"});
        let spec = json!({"externalHostnames": [host], "requireAuth": false});
        let object =
            json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": metadata, "spec": spec});
        self.policies.lock().insert(name.to_owned(), object);
    }

    /// Deletes a policy.
    pub(crate) fn delete(&self, name: &str) {
        self.policies.lock().remove(name);
    }

    /// How often policies were listed (`watch`: watched), counting pages that hold this text.
    pub(crate) fn asked(&self, watch: bool, text: &str) -> usize {
        let asked = self.asked.lock();
        let of = |path: &&String| path.contains("/authpolicies?") && path.contains("watch=true") == watch;
        asked.iter().filter(of).filter(|path| path.contains(text)).count()
    }

    fn answer(&self, path: &str) -> Answer {
        self.asked.lock().push(path.to_owned());
        if path.contains("watch=true") {
            let says = if path.contains("/authpolicies?") { self.says.lock().pop_front() } else { None };
            let Some(Says { lines, stands }) = says else { return (StatusCode::OK, None, String::new(), None) };
            let text = lines.iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect();
            return (StatusCode::OK, None, text, Some(stands));
        }
        let at: usize = path.split_once("&continue=").map_or(0, |(_, at)| at.parse().unwrap());
        if at > 0 && self.fails_midway.load(Ordering::Relaxed) {
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                json!({"message": "the page is lost"}).to_string(),
                AT_ONCE,
            );
        }
        let policies = self.policies.lock();
        let all: Vec<&Value> = if path.contains("/authpolicies?") { policies.values().collect() } else { Vec::new() };
        let end = (at + PAGE).min(all.len());
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let page = json!({"metadata": {"resourceVersion": "1", "continue": next}, "items": all[at..end]});
        (StatusCode::OK, None, page.to_string(), AT_ONCE)
    }
}
