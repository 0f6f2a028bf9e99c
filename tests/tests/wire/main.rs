//! The real product behind a real Envoy, over real sockets: what a client gets and what the application sees.
//!
//! Each test has a bench of its own and runs beside the others. None asserts a time: what takes effect later is
//! waited for. One file per concern.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test's helper fails the test that calls it"
)]

mod agreement;
mod aiq;
mod answers;
mod bad_stores;
mod basics;
mod bounded;
mod canary;
mod connections;
mod cq;
mod extensions;
mod faults;
mod hostile;
mod issuers;
mod lifecycle;
mod lifetime;
mod limits;
mod malformed;
mod oidc_provider;
mod pages;
mod profiles;
mod proofs;
mod qaynaq;
mod reload;
mod services;
mod shared_limits;
mod spoofing;
mod telemetry;
mod websocket;

use serde_json::{Value, json};
use tests::{Answer, Bench, PeerError, wait};

/// What a test returns: an error of the surroundings is no assertion, but fails it too.
type Outcome = Result<(), PeerError>;

/// Asserts that it is the product's refusal, whole: status, code, and the headers that every refusal has.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "{answer:?}");
    let challenges = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").count();
    assert_eq!(challenges, usize::from(status == 401), "one challenge on a 401 and none elsewhere: {answer:?}");
    if matches!(status, 429 | 503) {
        assert!(answer.header("retry-after").is_some_and(|value| value.parse::<u32>().is_ok()), "{answer:?}");
    }
}

/// Asserts that the application answered and saw this subject, and no credential.
#[track_caller]
fn assert_allowed(answer: &Answer, subject: &str) {
    let Some(seen) = answer.seen().filter(|_| answer.status == 200) else {
        panic!("the application did not answer: {answer:?}");
    };
    assert_eq!(seen.header("x-auth-subject").as_deref(), Some(subject), "{seen:?}");
    assert_eq!(seen.header("authorization"), None, "the credential reached the application: {seen:?}");
}

/// Waits until alice's token for this audience is answered by this status.
async fn until_status(bench: &Bench, audience: &str, status: u16) -> Outcome {
    let claims: Value = json!({"aud": audience, "sub": "alice"});
    wait::until(&format!("{status} for audience {audience}"), wait::LONG, || async {
        let token = bench.issuer.token(&claims).ok()?;
        (bench.call().bearer(&token).http1().await.ok()?.status == status).then_some(())
    })
    .await
}
