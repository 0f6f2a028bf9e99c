//! The API server's part in lists and watches: it holds policies, lists them in small pages, and its watches say what a test gave them
//! to say, or never a word.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Objects a page.
pub(crate) const PAGE: usize = 2;

/// What it holds, what it was asked, and whether second pages fail.
#[derive(Default)]
pub(crate) struct Cluster {
    policies: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<Vec<String>>,
    /// What each of the next watches of policies says before its time is up; without any, a watch is silent for ever.
    pub(crate) says: Mutex<VecDeque<Value>>,
    pub(crate) fails_midway: AtomicBool,
}

impl Cluster {
    /// A client of it.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (status, answer, ends) = cluster.answer(&request.uri().to_string());
            let body = Body::from(answer.into_bytes()).with_trailers(async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                None
            });
            let mut response = Response::new(body);
            *response.status_mut() = status;
            std::future::ready(Ok::<_, Infallible>(response))
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

    /// Status, body, and whether it ends.
    fn answer(&self, path: &str) -> (StatusCode, String, bool) {
        self.asked.lock().push(path.to_owned());
        if path.contains("watch=true") {
            let says = if path.contains("/authpolicies?") { self.says.lock().pop_front() } else { None };
            return (StatusCode::OK, says.as_ref().map(|line| format!("{line}\n")).unwrap_or_default(), says.is_some());
        }
        let at: usize = path.split_once("&continue=").map_or(0, |(_, at)| at.parse().unwrap());
        if at > 0 && self.fails_midway.load(Ordering::Relaxed) {
            return (StatusCode::INTERNAL_SERVER_ERROR, json!({"message": "the page is lost"}).to_string(), true);
        }
        let policies = self.policies.lock();
        let all: Vec<&Value> = if path.contains("/authpolicies?") { policies.values().collect() } else { Vec::new() };
        let end = (at + PAGE).min(all.len());
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let page = json!({"metadata": {"resourceVersion": "1", "continue": next}, "items": all[at..end]});
        (StatusCode::OK, page.to_string(), true)
    }
}
