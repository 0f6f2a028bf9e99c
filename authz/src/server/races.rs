//! Checks and edits at once: each check is decided by one version of the policies, and by none that was replaced before it began.
//!
//! `GATEWRIGHT_RACES=1000000 cargo test --release -p authz races` makes a million checks of each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::Snapshot,
};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request as Attributes},
    check_response::HttpResponse,
};
use futures_util::future::Either;
use prost::Message;
use tonic::Request;

use super::{CheckOptions, CheckService, Metrics, Registry, SnapshotCell, http2::Caller, wire::Check};
use crate::{
    cache::TokenCache,
    jwks::{self, KeyCache},
    net::Networks,
    remote::calls::{self, RemoteCache},
    shared::SharedStores,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Threads that ask.
const ASKING: usize = 3;

/// How many checks there are, if the environment says nothing else.
fn races() -> usize {
    std::env::var("GATEWRIGHT_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// A version of the policies: nobody passes whose roles are not its own, and its number is in two headers, one of them from a Secret.
fn version(number: usize, required: &str) -> Arc<Snapshot> {
    let authenticator =
        "{name: app, jwt: {audienceCheck: Disabled, keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}";
    compile(&format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n, uid: u, generation: {number}}}\n\
         spec:\n  externalHostnames: [a.test]\n  authenticators: [{authenticator}]\n  authorization: {{roles: {{otherwise: v{number}}}}}\n  \
         require: {{roles: [{required}]}}\n  \
         forward: {{replaceCredential: {{static: {{header: x-api-key, secretKeyRef: {{name: app, key: up}}}}}}}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: app, namespace: n}}\nstringData: {{jwt: {KEY}, up: v{number}}}\n"
    ))
}

fn compile(text: &str) -> Arc<Snapshot> {
    let mut objects = Objects::default();
    objects.read("p.yaml", text);
    assert!(objects.unreadable.is_empty(), "{:?}", objects.unreadable);
    Arc::new(Compiler::new(Options::default(), LastGood::default()).compile(&objects).snapshot)
}

fn service(snapshots: &Arc<SnapshotCell>) -> CheckService {
    let keys = KeyCache::new(jwks::Options::default(), &mut Registry::default()).unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    let handle = tokio::runtime::Handle::current();
    let remote = RemoteCache::new(calls::Options::default(), &mut Registry::default(), handle);
    let stores = SharedStores::new(Networks::default(), &mut Registry::default());
    let tokens = Arc::new(TokenCache::new(1 << 20));
    CheckService::new(snapshots.clone(), keys, remote, stores, tokens, metrics, CheckOptions::default())
}

/// The same request every time, so that whatever can be remembered of it is.
fn request() -> Check {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(r#"{"sub":"me","exp":4102444800}"#));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "a.test".to_owned(),
        path: "/".to_owned(),
        headers: [("authorization".to_owned(), format!("Bearer {signed}.{signature}"))].into(),
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Attributes { http: Some(http), ..Attributes::default() }),
        ..AttributeContext::default()
    };
    Check::decode(&*CheckRequest { attributes: Some(attributes) }.encode_to_vec()).unwrap()
}

/// The number in the answer; `None`: refused. An answer of two versions is an error.
fn ask(service: &CheckService, check: &Check) -> Result<Option<usize>, String> {
    let request = Request::new(check.clone());
    let Either::Left(answer) = service.check(request, &Caller::Unix) else { return Err("it waits".to_owned()) };
    let bytes = answer.into_inner().map_err(|status| status.to_string())?.into_inner();
    let answer = CheckResponse::decode(&*bytes).map_err(|error| error.to_string())?;
    let Some(HttpResponse::OkResponse(allowed)) = answer.http_response else { return Ok(None) };
    let header = |name: &str| {
        let mut set = allowed.headers.iter().filter_map(|option| option.header.as_ref());
        let header = set.find(|header| header.key == name)?;
        let text = if header.raw_value.is_empty() { header.value.as_bytes() } else { &*header.raw_value };
        std::str::from_utf8(text).ok()?.strip_prefix('v')?.parse::<usize>().ok()
    };
    match (header("x-auth-roles"), header("x-api-key")) {
        (Some(one), Some(other)) if one == other => Ok(Some(one)),
        parts => Err(format!("an answer of {parts:?}: {allowed:?}")),
    }
}

/// Asks on threads of its own while `edits` goes on; the first thing that is wrong ends all of it.
fn while_asking(
    service: &CheckService,
    asked: impl Fn(&CheckService) -> Result<(), String> + Sync,
    edits: impl FnOnce(&AtomicBool),
) {
    let over = AtomicBool::new(false);
    let wrong: Vec<String> = thread::scope(|scope| {
        let asking: Vec<_> = (0..ASKING)
            .map(|_| {
                let (service, asked, over) = (service.clone(), &asked, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        if let Err(wrong) = asked(&service) {
                            over.store(true, Ordering::Relaxed);
                            return Some(wrong);
                        }
                    }
                    None
                })
            })
            .collect();
        edits(&over);
        over.store(true, Ordering::Relaxed);
        asking.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(wrong, Vec::<String>::new());
}

/// Waits until a counter has moved from here, or all is over.
fn until_moved(counter: &AtomicUsize, from: usize, over: &AtomicBool) {
    while counter.load(Ordering::Acquire) == from && !over.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}

#[tokio::test]
async fn every_check_is_of_one_version_that_was_in_force_meanwhile() {
    const VERSIONS: usize = 64;
    let versions: Vec<_> = (0..VERSIONS).map(|number| version(number, &format!("v{number}"))).collect();
    let snapshots = Arc::<SnapshotCell>::default();
    snapshots.store(versions[0].clone());
    let (service, check, races) = (service(&snapshots), request(), races());
    // Edits that were begun, those that were done, checks, and those of them that could be placed.
    let [begun, done, asked, placed] = [const { AtomicUsize::new(0) }; 4];
    let one = |service: &CheckService| {
        let from = done.load(Ordering::SeqCst);
        let number =
            ask(service, &check)?.ok_or("a check was refused: it saw roles of one version and rules of another")?;
        let to = begun.load(Ordering::SeqCst);
        if !(from..=to).any(|edit| edit % VERSIONS == number) {
            return Err(format!("version {number} between the edits {from} and {to}"));
        }
        placed.fetch_add(usize::from(to - from < VERSIONS / 2), Ordering::Relaxed);
        asked.fetch_add(1, Ordering::Release);
        Ok(())
    };
    while_asking(&service, one, |over| {
        for edit in 1.. {
            let before = asked.load(Ordering::Acquire);
            if before >= races || over.load(Ordering::Relaxed) {
                break;
            }
            begun.store(edit, Ordering::SeqCst);
            snapshots.store(versions[edit % VERSIONS].clone());
            done.store(edit, Ordering::SeqCst);
            until_moved(&asked, before, over);
        }
    });
    let (asked, placed) = (asked.into_inner(), placed.into_inner());
    assert!(placed > asked / 2, "{placed} of {asked} say something");
}

#[tokio::test]
async fn what_was_remembered_of_a_policy_does_not_outlive_it() {
    // In turn: it lets in, it is gone, it lets in, it asks for more.
    let states = [version(0, "v0"), compile(""), version(0, "v0"), version(0, "other")];
    let snapshots = Arc::<SnapshotCell>::default();
    snapshots.store(states[0].clone());
    let (service, check, races) = (service(&snapshots), request(), races());
    // Twice the edits that are done, and one more while one is under way; checks; and those that no edit met, of each state.
    let [edits, asked, still] = [const { AtomicUsize::new(0) }; 3];
    let counts = [const { AtomicUsize::new(0) }; 4];
    let one = |service: &CheckService| {
        let before = edits.load(Ordering::SeqCst);
        let number = ask(service, &check)?;
        if before.is_multiple_of(2) && edits.load(Ordering::SeqCst) == before {
            let state = (before / 2) % states.len();
            if number.is_some() != state.is_multiple_of(2) {
                return Err(format!("{number:?} in state {state} after {before} steps"));
            }
            counts[state].fetch_add(1, Ordering::Relaxed);
            still.fetch_add(1, Ordering::Release);
        }
        asked.fetch_add(1, Ordering::Release);
        Ok(())
    };
    while_asking(&service, one, |over| {
        for edit in 1.. {
            if asked.load(Ordering::Acquire) >= races || over.load(Ordering::Relaxed) {
                break;
            }
            let before = still.load(Ordering::Acquire);
            edits.fetch_add(1, Ordering::SeqCst);
            snapshots.store(states[edit % states.len()].clone());
            edits.fetch_add(1, Ordering::SeqCst);
            until_moved(&still, before, over);
        }
    });
    let counts = counts.map(AtomicUsize::into_inner);
    assert!(counts.iter().all(|count| *count > races / 100), "{counts:?} of {races}");
}
