//! Identity headers that the client brings along never reach the application, under any spelling; and what a request says of itself opens
//! no path and no connection.

use std::{io::ErrorKind, net::TcpListener};

use serde_json::json;
use tests::{Bench, Call, PeerError, bench::policy, issuer::now, keys};

use crate::{Outcome, assert_allowed, assert_refused};

const FORGED: [(&str, &str); 9] = [
    ("X-Auth-Subject", "root"),
    ("x-auth-user", "0123456789abcdef0123456789abcdef"),
    ("x-auth-email", "root@example.com"),
    ("x-auth-roles", "admin"),
    ("x-auth-scopes", "everything"),
    ("x-auth-mfa", "true"),
    ("x-auth-traffic", "internal"),
    ("x.auth.roles", "admin"),
    ("X-Auth.Email", "root@example.com"),
];
/// Envoy's hardened listener refuses these itself.
const FORGED_WITH_UNDERSCORES: [(&str, &str); 2] = [("x_auth_roles", "admin"), ("X_Auth_Mfa", "true")];

fn forge(call: Call, headers: &[(&str, &str)]) -> Call {
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

/// Whether an application that folds names, as CGI and many frameworks do, would read it as an identity header.
fn is_identity(name: &str) -> bool {
    let folded: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    folded.to_ascii_lowercase().starts_with("x-auth-")
}

#[tokio::test]
async fn forged_identity_is_replaced_or_removed() -> Outcome {
    let bench = Bench::start().await?;
    let token = bench.alice()?;
    let hardened = forge(Call::to(bench.envoy.hardened).bearer(&token), &FORGED);
    let plain = forge(forge(Call::to(bench.envoy.plain).bearer(&token), &FORGED), &FORGED_WITH_UNDERSCORES);
    for answer in [hardened.http1().await?, hardened.http2().await?, plain.http1().await?, plain.http2().await?] {
        assert_allowed(&answer, "alice");
        let seen = answer.seen().expect("the application answered");
        let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).filter(|n| is_identity(n)).collect();
        let mut expected =
            ["x-auth-type", "x-auth-authenticator", "x-auth-issuer", "x-auth-subject", "x-auth-user", "x-auth-traffic"];
        let mut got = names.clone();
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected, "exactly the product's headers, each once: {seen:?}");
        assert_eq!(seen.header("x-auth-traffic").as_deref(), Some("external"));
    }
    Ok(())
}

#[tokio::test]
async fn a_public_route_removes_forged_identity_too() -> Outcome {
    let bench = Bench::with(|issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api");
        vec![(
            "public.yaml".to_owned(),
            format!("{text}  routes:\n  - {{name: open, paths: [/open], access: Public}}\n"),
        )]
    })
    .await?;
    let answer = forge(bench.call().path("/open"), &FORGED).http1().await?;
    let seen = answer.seen().expect("a public route is answered by the application");
    let mut identity: Vec<(&str, &str)> =
        seen.headers.iter().filter(|(name, _)| is_identity(name)).map(|(n, v)| (n.as_str(), v.as_str())).collect();
    identity.sort_unstable();
    assert_eq!(identity, [("x-auth-traffic", "external"), ("x-auth-type", "anonymous")], "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn naming_identity_headers_as_hop_by_hop_does_not_strip_ours() -> Outcome {
    let bench = Bench::start().await?;
    let call = bench.good()?.header("connection", "x-auth-subject, x-auth-user, close");
    let answer = call.http1().await?;
    assert_allowed(&answer, "alice");
    assert!(answer.seen().is_some_and(|seen| seen.header("x-auth-user").is_some()), "{answer:?}");
    // Envoy takes out what is named before it asks: a credential that is named was not sent.
    let without = bench.good()?.header("connection", "authorization, close").http1().await?;
    assert_refused(&without, 401, "missing_credential");
    Ok(())
}

/// Envoy hands both spellings through on both listeners, and a server behind may decode once more than we do.
#[tokio::test]
async fn a_public_path_that_can_be_decoded_twice_is_refused() -> Outcome {
    let bench = Bench::with(|issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api");
        let routes = "  routes:\n  - {name: assets, paths: [\"/assets/{**}\"], access: Public}\n";
        vec![("public.yaml".to_owned(), text + routes)]
    })
    .await?;
    let token = bench.alice()?;
    for listener in [bench.envoy.plain, bench.envoy.hardened] {
        let answer = Call::to(listener).path("/assets/%252e%252e/admin").http1().await?;
        assert_refused(&answer, 400, "malformed_request");
        let answer = Call::to(listener).path("/assets/%C3%A4").http1().await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = Call::to(listener).path("/app/%252e%252e/x").bearer(&token).http1().await?;
        assert_allowed(&answer, "alice");
    }
    Ok(())
}

/// The address is in the token alone: nobody may make us ask there.
#[tokio::test]
async fn where_a_token_says_that_its_keys_are_is_never_asked() -> Outcome {
    let bench = Bench::start().await?;
    let elsewhere = TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a listener"))?;
    elsewhere.set_nonblocking(true).map_err(PeerError::io("a listener"))?;
    let url = format!("http://{}/keys", elsewhere.local_addr().map_err(PeerError::io("a listener"))?);
    let stranger = keys::named("rsa-stranger")?;
    let claims = json!({"iss": bench.issuer.url(), "aud": "api", "sub": "alice", "exp": now() + 300});
    for member in ["jku", "x5u"] {
        for kid in ["rsa", "rsa-stranger"] {
            let mut header = json!({"alg": "RS256", "typ": "JWT", "kid": kid});
            header[member] = json!(url);
            let token = stranger.sign(&header, &claims)?;
            assert_refused(&bench.call().bearer(&token).http1().await?, 401, "invalid_token");
        }
    }
    // Whoever had connected would wait to be accepted.
    let asked = elsewhere.accept().map_err(|error| error.kind());
    assert_eq!(asked.err(), Some(ErrorKind::WouldBlock), "somebody asked there");
    assert!(bench.upstream.seen().is_empty(), "{:?}", bench.upstream.seen());
    Ok(())
}
