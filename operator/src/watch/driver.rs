//! The loop: list, watch, and back to the list whenever the watch cannot go on.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use http::{Request, header};
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::{
    Backoff, Call, Change, Patience, Source, Told,
    call::{CallError, JSON, cause},
};
use crate::trouble::Troubles;

/// Objects a page.
const PAGE: usize = 500;
/// How long the server keeps a watch open.
const WATCH_SECONDS: u64 = 290;
/// A watch that ends before was ended by somebody who stops.
const IN_TIME: Duration = Duration::from_secs(WATCH_SECONDS - 10);
/// A watch that stood so long was a good one, whatever it said.
const STOOD: Duration = Duration::from_secs(10);
/// Errors of watches in a row after which the version itself is suspected, and everything is listed again.
const SUSPECT: u32 = 2;
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a watch ended.
enum Ended {
    /// The server's time was up; the version still holds.
    Normally,
    /// The version is of no use: too old, or never one of this server. A label, and why.
    Stale(&'static str, &'static str),
    /// Something else: a label, why, and the pause that the server asked for.
    Failed(&'static str, String, Option<Duration>),
}

const GONE: Ended = Ended::Stale("gone", "the version is gone");
/// To a version of the future, which a restored etcd may make of ours, API servers say nothing, for as long as it takes them to reach it.
const SILENT: Ended = Ended::Stale("silent", "nothing was said for too long");
/// Whoever answers next may be a server of another past, such as that of a restored etcd, to which our version is one of the future.
const CUT_SHORT: Ended = Ended::Stale("short", "the watch ended before its time");

/// Follows a source for ever. Changes are told in order, and never one that was not seen.
pub async fn follow<E: Send>(call: Call, source: Source, patience: Patience, troubles: Troubles, mut told: Told<E>) {
    troubles.followed(source.kind);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    let (mut trouble, mut watching) = (Trouble::default(), Trouble::default());
    loop {
        let mut version = match list(&call, &source, &mut told).await {
            Ok(version) => {
                trouble.over(&source, &mut told).await;
                version
            }
            Err(error) => {
                troubles.failed(source.kind, error.cause());
                // Told anew once lists work again.
                watching = Trouble::default();
                trouble.is(&source, error.to_string(), &mut told).await;
                sleep(backoff.pause(error.retry_after())).await;
                continue;
            }
        };
        let mut failures = 0;
        while failures < SUSPECT {
            match watch(&call, (&source, patience), &mut version, &mut told, (&mut backoff, &mut watching)).await {
                Ended::Normally => {
                    failures = 0;
                    watching.over(&source, &mut told).await;
                }
                // kube-runtime would ask for the same version again, for ever.
                Ended::Stale(cause, why) => {
                    troubles.failed(source.kind, cause);
                    debug!(kind = source.kind, "{why}: listing anew");
                    // To whoever does so every time, lists without a pause would be an attack.
                    sleep(backoff.pause(None)).await;
                    break;
                }
                Ended::Failed(cause, why, asked) => {
                    failures += 1;
                    troubles.failed(source.kind, cause);
                    debug!(kind = source.kind, why, "the watch ended");
                    // Once may be a connection that ended; a list will show whether more is wrong.
                    if failures == SUSPECT {
                        watching.is(&source, why, &mut told).await;
                    }
                    sleep(backoff.pause(asked)).await;
                }
            }
        }
    }
}

/// Tells all objects, page by page; the version they are of. A list that fails midway has begun and not ended.
async fn list<E: Send>(call: &Call, source: &Source, told: &mut Told<E>) -> Result<String, CallError> {
    let accept = if source.metadata_only { METADATA_LIST } else { JSON };
    let mut token = String::new();
    told.tell(Change::Begins).await;
    loop {
        let path = format!("{}?limit={PAGE}{}{token}", source.path, selector(source));
        let mut page = call.get(&path, accept).await?;
        let version = page.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let next = page.pointer("/metadata/continue").and_then(Value::as_str).filter(|next| !next.is_empty());
        let next = next.map(|next| format!("&continue={}", encoded(next)));
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => {
                for object in items {
                    told.tell(Change::Put(object)).await;
                }
            }
            // Null is how some servers write an empty list. Anything else is no list: taking it for an empty one would delete everything.
            Some(Value::Null) if !version.is_empty() => {}
            _ => return Err(CallError::Unreadable { what: format!("GET {}", source.path) }),
        }
        let Some(next) = next else {
            told.tell(Change::Ends).await;
            return Ok(version);
        };
        token = next;
    }
}

async fn watch<E: Send>(
    call: &Call,
    (source, Patience { silence }): (&Source, Patience),
    version: &mut String,
    told: &mut Told<E>,
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
        Err(error) => return Ended::Failed("refused", error.to_string(), None),
    };
    let Ok((begun, asked)) = timeout(silence, call.watch(request)).await else { return SILENT };
    let stream = match begun {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 410 => return GONE,
        Err(kube::Error::Api(status)) => return Ended::Failed(cause(status.code), status.message, asked),
        Err(error) => return Ended::Failed("unreachable", error.to_string(), None),
    };
    let mut stream = pin!(stream);
    let opened = Instant::now();
    loop {
        let event = match timeout(silence, stream.next()).await {
            Err(_) => return SILENT,
            Ok(None) if opened.elapsed() < IN_TIME => return CUT_SHORT,
            Ok(None) => return Ended::Normally,
            Ok(Some(Err(error))) => return Ended::Failed("unreachable", error.to_string(), None),
            Ok(Some(Ok(event))) => event,
        };
        if !matches!(event, WatchEvent::Error(_)) {
            watching.over(source, told).await;
            // A bookmark costs a server nothing: one that says it and ends is not a good one yet.
            if !matches!(event, WatchEvent::Bookmark(_)) || opened.elapsed() > STOOD {
                backoff.reset();
            }
        }
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                remember(version, &object);
                told.tell(Change::Put(object)).await;
            }
            WatchEvent::Deleted(object) => {
                remember(version, &object);
                told.tell(Change::Gone(object)).await;
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) if status.code == 410 => return GONE,
            WatchEvent::Error(status) => return Ended::Failed(cause(status.code), status.message.clone(), None),
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
    async fn is<E: Send>(&mut self, source: &Source, why: String, told: &mut Told<E>) {
        if self.said.as_ref() != Some(&why) {
            warn!(kind = source.kind, "{why}; what is in force stays");
            self.said = Some(why.clone());
            told.tell(Change::Trouble(why)).await;
        }
    }

    async fn over<E: Send>(&mut self, source: &Source, told: &mut Told<E>) {
        if self.said.take().is_some() {
            warn!(kind = source.kind, "the API server can be read again");
            told.tell(Change::Well).await;
        }
    }
}
