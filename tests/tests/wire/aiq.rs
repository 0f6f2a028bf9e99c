//! AI-Q's trace tags, access channel and headless mode, as the example states them, behind a real Envoy.

use std::fmt::Write;

use aws_lc_rs::hmac;
use serde_json::json;
use tests::{Bench, Call, Issuer, PeerError};

use crate::Outcome;

const EXAMPLE: &str = include_str!("../../../examples/aiq/policy.yaml");
const SECRET: &str = "put-a-random-text-of-at-least-32-bytes-here";

/// An address that a client claims to have.
const FORGED: &str = "203.0.113.9";

/// The example, with the issuer of this bench.
async fn bench() -> Result<Bench, PeerError> {
    let documents =
        |issuer: &Issuer| vec![("aiq.yaml".to_owned(), EXAMPLE.replace("https://sso.example.com", &issuer.url()))];
    Bench::with(documents).await
}

/// HMAC-SHA256 in hex under the example's secret.
fn tag(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::sign(&key, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Asserts what the application was told; `None`: nothing under this name.
async fn assert_told(what: &str, call: &Call, told: &[(&str, Option<&str>)]) -> Outcome {
    for answer in [call.http1().await?, call.http2().await?] {
        let seen = answer.seen().filter(|_| answer.status == 200).unwrap_or_else(|| panic!("{what}: {answer:?}"));
        for (name, value) in told {
            assert_eq!(seen.header(&format!("x-aiq-{name}")).as_deref(), *value, "{what}: {name} of {seen:?}");
        }
        // The address that Envoy wrote, whatever the client wrote before it.
        let forwarded = seen.header("x-forwarded-for").unwrap_or_default();
        let address = forwarded.rsplit(',').next().unwrap_or_default().trim();
        assert!(address.parse::<std::net::IpAddr>().is_ok() && address != FORGED, "{what}: {seen:?}");
        assert_eq!(seen.header("x-aiq-client-id"), Some(tag(&format!("client:{address}"))), "{what}: {seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_application_is_told_who_calls_and_by_which_channel() -> Outcome {
    let bench = bench().await?;
    let token = bench.issuer.token(&json!({"aud": "aiq", "sub": "alice", "email": "alice@example.com"}))?;
    let user = tag("jwt:alice");
    let outside = || bench.call().host("aiq.example.com").path("/chat");
    let inside = || bench.call().host("aiq-backend").path("/anything");
    let bearer = |call: Call| call.bearer(&token);
    let cookie = |call: Call| call.header("cookie", &format!("theme=dark; idToken={token}"));
    for (what, call, [kind, verified, transport, channel], id) in [
        ("a script", bearer(outside()), ["jwt", "true", "bearer", "api"], Some(&*user)),
        ("the page", cookie(outside()), ["jwt", "true", "cookie", "ui"], Some(&user)),
        ("inside, with a token", bearer(inside()), ["jwt", "true", "bearer", "api"], Some(&user)),
        ("inside", inside(), ["internal", "false", "none", "internal"], None),
        ("a stranger", outside().path("/health"), ["anonymous", "false", "none", "anonymous"], None),
        ("no token is looked at", bearer(outside().path("/health")), ["anonymous", "false", "none", "anonymous"], None),
    ] {
        let told = [
            ("caller-type", Some(kind)),
            ("auth-verified", Some(verified)),
            ("auth-transport", Some(transport)),
            ("access-channel", Some(channel)),
            ("user-id", id),
        ];
        assert_told(what, &call, &told).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_channel_that_a_client_names_counts_from_inside_or_of_who_is_verified() -> Outcome {
    let bench = bench().await?;
    let token = bench.issuer.token(&json!({"aud": "aiq", "sub": "alice"}))?;
    let outside = || bench.call().host("aiq.example.com").path("/chat").bearer(&token);
    let inside = || bench.call().host("aiq-backend");
    let stranger = || bench.call().host("aiq.example.com").path("/live");
    for (what, call, says, channel) in [
        ("verified", outside(), "ui", "ui"),
        ("in any case", outside(), "HeadLess", "headless"),
        ("inside", inside(), "skill", "skill"),
        ("an unknown word", outside(), "root", "api"),
        ("two words", outside(), "ui,api", "api"),
        ("a stranger", stranger(), "internal", "anonymous"),
    ] {
        let call = call.header("x-aiq-access-channel", says);
        assert_told(what, &call, &[("access-channel", Some(channel))]).await?;
    }
    // Who claims to be traced as somebody else, or to have proved what he did not, is not heard.
    let liar = stranger()
        .header("x-aiq-user-id", &tag("jwt:alice"))
        .header("x-aiq-client-id", "mallory")
        .header("x-aiq-auth-verified", "true")
        .header("x-aiq-caller-type", "jwt")
        .header("x-real-ip", FORGED)
        .header("x-forwarded-for", FORGED);
    let told = [("user-id", None), ("auth-verified", Some("false")), ("caller-type", Some("anonymous"))];
    assert_told("a liar", &liar, &told).await
}

#[tokio::test]
async fn headless_mode_is_told_in_any_case_and_of_every_stranger() -> Outcome {
    let bench = bench().await?;
    let token = bench.issuer.token(&json!({"aud": "aiq", "sub": "alice"}))?;
    let outside = || bench.call().host("aiq.example.com").path("/chat").bearer(&token);
    let inside = || bench.call().host("aiq-backend");
    for (what, call, skips, channel) in [
        ("no mode", outside(), None, "api"),
        ("headless", outside().header("x-aiq-mode", "headless"), Some("true"), "headless"),
        ("in any case", outside().header("X-AIQ-Mode", "HEADLESS"), Some("true"), "headless"),
        ("another mode", outside().header("x-aiq-mode", "headless-not"), None, "api"),
        ("an empty mode", outside().header("x-aiq-mode", ""), None, "api"),
        ("headless inside", inside().header("x-aiq-mode", "headless"), Some("true"), "internal"),
        ("inside", inside(), None, "internal"),
        ("a stranger", bench.call().host("aiq.example.com").path("/health"), Some("true"), "anonymous"),
        ("a claim of his own", outside().header("x-aiq-skip-clarifier", "true"), None, "api"),
    ] {
        assert_told(what, &call, &[("skip-clarifier", skips), ("access-channel", Some(channel))]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_could_be_more_than_a_name_is_refused_before_the_upgrade() -> Outcome {
    let bench = bench().await?;
    let token = bench.issuer.token(&json!({"aud": "aiq", "sub": "alice"}))?;
    let socket = |query: &str| {
        let call = bench.call().host("aiq.example.com").path(&format!("/websocket{query}"));
        call.websocket().bearer(&token)
    };
    for good in ["", "?session=abc-DEF_123", "?x=a%20b&session=1", "?session=1&theme=a%2Fb", "?session="] {
        assert_eq!(socket(good).http1().await?.status, 101, "{good}");
    }
    let reached = bench.upstream.seen().len();
    for bad in [
        "?session=a;b=c",
        "?session=a%3Bb",
        "?session=a%0d%0aSet-Cookie:x",
        "?session=a,b",
        "?session=../x",
        "?x=1&session=a b=",
        "?%73ession=a%3Bb",
        "?session=a&session=b;c",
    ] {
        let answer = socket(&bad.replace(' ', "%20")).http1().await?;
        assert_eq!(answer.status, 403, "{bad}: {answer:?}");
    }
    assert_eq!(bench.upstream.seen().len(), reached);
    Ok(())
}

/// AI-Q leaves ids out without a secret; here a policy that names a secret and has none refuses, for no id could be read as nobody's.
#[tokio::test]
async fn modes_of_identity() -> Outcome {
    let (_, policy) = EXAMPLE.split_once("---\n").expect("two documents");
    let documents = |issuer: &Issuer| {
        let full = EXAMPLE
            .replace("    # - {name: x-aiq", "    - {name: x-aiq")
            .replace("https://sso.example.com", &issuer.url());
        let bare = policy
            .replace("name: aiq,", "name: bare,")
            .replace("aiq.example.com", "bare.example.com")
            .replace("https://sso.example.com", &issuer.url())
            .replace("aiq-trace", "missing");
        vec![("full.yaml".to_owned(), full), ("bare.yaml".to_owned(), bare)]
    };
    let bench = Bench::with(documents).await?;
    let token = |claims| bench.issuer.token(&claims);
    let alice = token(json!({"aud": "aiq", "sub": "alice", "email": "alice@example.com", "nickname": "Al"}))?;
    let call = |token: &str| bench.call().host("aiq.example.com").path("/chat").bearer(token);
    let told = [("user-email", Some("alice@example.com")), ("user-name", Some("Al"))];
    assert_told("full", &call(&alice), &told).await?;
    let bob = token(json!({"aud": "aiq", "sub": "bob"}))?;
    assert_told("full, of who has neither", &call(&bob), &[("user-email", None), ("user-name", None)]).await?;
    let answer = bench.call().host("bare.example.com").path("/chat").bearer(&alice).http1().await?;
    assert_eq!(answer.status, 503, "{answer:?}");
    Ok(())
}
