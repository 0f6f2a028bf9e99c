//! The smallest policy: who is let through, who is refused, and how, over every protocol.

use serde_json::json;
use tests::{
    Bench, Call, Issuer,
    bench::{Setup, minimal, policy},
    issuer::now,
};

use crate::{Outcome, assert_allowed, assert_refused};

#[tokio::test]
async fn a_good_token_becomes_headers_on_both_listeners_and_both_protocols() -> Outcome {
    let bench = Bench::start().await?;
    let token = bench.alice()?;
    for listener in [bench.envoy.plain, bench.envoy.hardened] {
        let call = Call::to(listener).path("/hello?x=1").bearer(&token);
        for answer in [call.http1().await?, call.http2().await?] {
            assert_allowed(&answer, "alice");
            let seen = answer.seen().expect("the application answered");
            assert_eq!(seen.path, "/hello?x=1");
            for (name, value) in [
                ("x-auth-type", "jwt"),
                ("x-auth-authenticator", "sso"),
                ("x-auth-issuer", &bench.issuer.url()),
                ("x-auth-traffic", "external"),
            ] {
                assert_eq!(seen.header(name).as_deref(), Some(value), "{name} of {seen:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_bad_credential_is_refused_and_never_reaches_the_application() -> Outcome {
    let bench = Bench::start().await?;
    let token = |claims| bench.issuer.token(&claims);
    let good = bench.alice()?;
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let stranger = bench.issuer.token_by("rsa-stranger", &json!({"aud": "api", "sub": "alice"}))?;
    let expired_stranger = json!({"aud": "api", "sub": "alice", "exp": now() - 60});
    let calls = [
        ("no credential", bench.call(), "missing_credential"),
        ("another scheme", bench.call().header("authorization", "Basic YWxpY2U6c2VjcmV0"), "missing_credential"),
        ("a cookie", bench.call().header("cookie", &format!("token={good}")), "missing_credential"),
        ("no token at all", bench.call().bearer("certainly-not-a-token"), "invalid_token"),
        ("another audience", bench.call().bearer(&token(json!({"aud": "other", "sub": "alice"}))?), "invalid_token"),
        ("no audience", bench.call().bearer(&token(json!({"sub": "alice"}))?), "invalid_token"),
        ("no expiry", bench.call().bearer(&token(json!({"aud": "api", "sub": "a", "exp": null}))?), "invalid_token"),
        ("no subject", bench.call().bearer(&token(json!({"aud": "api"}))?), "claim_missing"),
        ("an unpublished key", bench.call().bearer(&stranger), "invalid_token"),
        ("no signature", bench.call().bearer(&format!("{head}.")), "invalid_token"),
        ("half a signature", bench.call().bearer(&format!("{head}.{}", &signature[..100])), "invalid_token"),
        ("expired", bench.call().bearer(&token(expired_stranger.clone())?), "expired_token"),
        // Only a verified token may learn that it has expired.
        (
            "expired and forged",
            bench.call().bearer(&bench.issuer.token_by("rsa-stranger", &expired_stranger)?),
            "invalid_token",
        ),
    ];
    for (name, call, code) in calls {
        for answer in [call.http1().await?, call.http2().await?] {
            println!("{name}: {} {}", answer.status, answer.code());
            assert_refused(&answer, 401, code);
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            let says_error = challenge.contains("error=");
            assert_eq!(says_error, code != "missing_credential", "{name}: {challenge}");
        }
    }
    assert!(bench.upstream.seen().is_empty(), "{:?}", bench.upstream.seen());
    Ok(())
}

#[tokio::test]
async fn two_credentials_in_one_request_are_malformed() -> Outcome {
    let bench = Bench::start().await?;
    let call = bench.good()?.bearer(&bench.alice()?);
    assert_refused(&call.http1().await?, 400, "malformed_request");
    assert_refused(&call.http2().await?, 400, "malformed_request");
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_grpc_client_gets_its_own_status() -> Outcome {
    let bench = Bench::start().await?;
    let refused = bench.call().grpc().http2().await?;
    assert_eq!((refused.status, refused.header("grpc-status").as_deref()), (200, Some("16")), "{refused:?}");
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{refused:?}");
    assert!(bench.upstream.seen().is_empty());

    let allowed = bench.good()?.grpc().body("frame").http2().await?;
    assert_allowed(&allowed, "alice");
    Ok(())
}

#[tokio::test]
async fn a_token_verifies_by_every_listed_algorithm_and_no_other() -> Outcome {
    let names = ["rsa", "pss", "p256", "p521", "ed25519"];
    let default = ["rsa", "p256", "ed25519"];
    for listed in [true, false] {
        let issuer = Issuer::start().await?;
        issuer.publish(&names)?;
        let list = if listed { "      algorithms: [RS256, PS256, ES256, ES512, EdDSA]\n" } else { "" };
        let documents =
            |issuer: &Issuer| vec![("a.yaml".into(), policy("api", "api.example.com", &issuer.url(), "api") + list)];
        let bench = Bench::set_up(issuer, documents, &Setup::default()).await?;
        for name in names {
            println!("{name}, listed: {listed}");
            let claims = json!({"aud": "api", "sub": name});
            let answer = bench.call().bearer(&bench.issuer.token_by(name, &claims)?).http1().await?;
            if listed || default.contains(&name) {
                assert_allowed(&answer, name);
            } else {
                assert_refused(&answer, 401, "invalid_token");
            }
            let stranger = bench.issuer.token_by(&format!("{name}-stranger"), &claims)?;
            assert_refused(&bench.call().bearer(&stranger).http1().await?, 401, "invalid_token");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() -> Outcome {
    let setup = Setup { authz: "unix:".to_owned(), ..Setup::default() };
    let bench = Bench::set_up(Issuer::start().await?, minimal, &setup).await?;
    assert!(bench.product.addresses.authz.starts_with("unix:/"), "{:?}", bench.product.addresses);
    assert_allowed(&bench.good()?.http1().await?, "alice");
    assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    Ok(())
}

#[tokio::test]
async fn a_token_never_shows_up_in_output_metrics_or_the_live_state() -> Outcome {
    let mut bench = Bench::start().await?;
    let good = bench.alice()?;
    let bad = bench.issuer.token(&json!({"aud": "other", "sub": "alice"}))?;
    for token in [&good, &bad] {
        bench.call().bearer(token).http1().await?;
    }
    let mut shown = String::new();
    for path in ["/metrics", "/config_dump"] {
        let (status, text) = bench.product.admin(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        shown.push_str(&text);
    }
    shown.push_str(&bench.product.stop().await?.output);
    for token in [good, bad] {
        // The signature is what makes a token worth stealing; the first parts alone would already say too much.
        for part in token.split('.').skip(1) {
            assert!(!shown.contains(part), "a part of a token was shown");
        }
    }
    Ok(())
}
