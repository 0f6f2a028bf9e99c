//! The loop: list, watch, and back to the list whenever the watch cannot go on.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use http::{Request, header};
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{
    Backoff, Call, Change, Source,
    call::{CallError, JSON, cause},
};
use crate::trouble::Troubles;

/// Objects a page.
const PAGE: usize = 500;
/// How long the server keeps a watch open.
const WATCH_SECONDS: u64 = 290;
/// A watch that says nothing for so long is dead: the server sends a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(150);
/// Errors of watches in a row after which the version itself is suspected, and everything is listed again.
const SUSPECT: u32 = 2;
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a watch ended.
enum Ended {
    /// The server's time was up; the version still holds.
    Normally,
    /// The version is too old, or was never one of this server.
    Gone,
    /// Something else: a label, and why.
    Failed(&'static str, String),
}

/// Follows a source for ever. `tell` is called in order, and never with a change that was not seen.
pub async fn follow(call: Call, source: Source, troubles: Troubles, mut tell: impl FnMut(Change)) {
    troubles.followed(source.kind);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    let (mut trouble, mut watching) = (Trouble::default(), Trouble::default());
    loop {
        let mut version = match list(&call, &source).await {
            Ok((objects, version)) => {
                trouble.over(&source, &mut tell);
                tell(Change::All(objects));
                version
            }
            Err(error) => {
                troubles.failed(source.kind, error.cause());
                // Told anew once lists work again.
                watching = Trouble::default();
                trouble.is(&source, error.to_string(), &mut tell);
                sleep(backoff.pause(error.retry_after())).await;
                continue;
            }
        };
        let mut failures = 0;
        while failures < SUSPECT {
            match watch(&call, &source, &mut version, &mut tell, (&mut backoff, &mut watching)).await {
                Ended::Normally => {
                    failures = 0;
                    watching.over(&source, &mut tell);
                }
                // kube-runtime would ask for the same version again, for ever.
                Ended::Gone => {
                    troubles.failed(source.kind, "gone");
                    debug!(kind = source.kind, "the version is gone: listing anew");
                    break;
                }
                Ended::Failed(cause, why) => {
                    failures += 1;
                    troubles.failed(source.kind, cause);
                    debug!(kind = source.kind, why, "the watch ended");
                    // Once may be a connection that ended; a list will show whether more is wrong.
                    if failures == SUSPECT {
                        watching.is(&source, why, &mut tell);
                    }
                    sleep(backoff.pause(None)).await;
                }
            }
        }
    }
}

/// All objects, page by page, and the version they are of.
async fn list(call: &Call, source: &Source) -> Result<(Vec<Value>, String), CallError> {
    let accept = if source.metadata_only { METADATA_LIST } else { JSON };
    let mut objects = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("{}?limit={PAGE}{}{token}", source.path, selector(source));
        let mut page = call.get(&path, accept).await?;
        let version = page.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let next = page.pointer("/metadata/continue").and_then(Value::as_str).filter(|next| !next.is_empty());
        let next = next.map(|next| format!("&continue={}", encoded(next)));
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items),
            // Null is how some servers write an empty list. Anything else is no list: taking it for an empty one would delete everything.
            Some(Value::Null) if !version.is_empty() => {}
            _ => return Err(CallError::Unreadable { what: format!("GET {}", source.path) }),
        }
        match next {
            Some(next) => token = next,
            None => return Ok((objects, version)),
        }
    }
}

async fn watch(
    call: &Call,
    source: &Source,
    version: &mut String,
    tell: &mut impl FnMut(Change),
    (backoff, watching): (&mut Backoff, &mut Trouble),
) -> Ended {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}{}",
        source.path,
        encoded(version),
        selector(source)
    );
    let accept = if source.metadata_only { METADATA } else { JSON };
    let request = match Request::get(path).header(header::ACCEPT, accept).body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return Ended::Failed("refused", error.to_string()),
    };
    let stream = match timeout(SILENCE, call.client().request_events::<Value>(request)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ended::Gone,
        Ok(Err(kube::Error::Api(status))) => return Ended::Failed(cause(status.code), status.message),
        Ok(Err(error)) => return Ended::Failed("unreachable", error.to_string()),
        Err(_) => return Ended::Failed("silent", "no answer".to_owned()),
    };
    let mut stream = pin!(stream);
    loop {
        let event = match timeout(SILENCE, stream.next()).await {
            Err(_) => return Ended::Failed("silent", "nothing was said for too long".to_owned()),
            Ok(None) => return Ended::Normally,
            Ok(Some(Err(error))) => return Ended::Failed("unreachable", error.to_string()),
            Ok(Some(Ok(event))) => event,
        };
        backoff.reset();
        if !matches!(event, WatchEvent::Error(_)) {
            watching.over(source, tell);
        }
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                remember(version, &object);
                tell(Change::Put(object));
            }
            WatchEvent::Deleted(object) => {
                remember(version, &object);
                tell(Change::Gone(object));
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) if status.code == 410 => return Ended::Gone,
            WatchEvent::Error(status) => return Ended::Failed(cause(status.code), status.message.clone()),
        }
    }
}

/// An object without a version is told all the same; the version of before stands.
fn remember(version: &mut String, object: &Value) {
    if let Some(new) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        new.clone_into(version);
    }
}

fn selector(source: &Source) -> String {
    if source.labels.is_empty() { String::new() } else { format!("&labelSelector={}", encoded(&source.labels)) }
}

/// For a query.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What was said last, so that an outage of an hour is two lines and not thousands.
#[derive(Default)]
struct Trouble {
    said: Option<String>,
}

// === impl Trouble ===

impl Trouble {
    fn is(&mut self, source: &Source, why: String, tell: &mut impl FnMut(Change)) {
        if self.said.as_ref() != Some(&why) {
            warn!(kind = source.kind, "{why}; what is in force stays");
            self.said = Some(why.clone());
            tell(Change::Trouble(why));
        }
    }

    fn over(&mut self, source: &Source, tell: &mut impl FnMut(Change)) {
        if self.said.take().is_some() {
            warn!(kind = source.kind, "the API server can be read again");
            tell(Change::Well);
        }
    }
}
