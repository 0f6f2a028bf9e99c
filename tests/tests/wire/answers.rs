//! Answers of the policy's own, and credentials of ours: what Envoy makes of them.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tests::{Bench, PeerError, bench::policy};

use crate::{Outcome, assert_refused};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RULES: &str = "  cors: {allowOrigins: ['https://ui.example.com'], allowMethods: [GET, PUT], allowCredentials: true}
  routes:
  - {name: own, paths: [/own], access: Public, respond: {status: 200, headers: {content-type: application/json}, body: '{}'}}
  - {name: empty, paths: [/empty], access: Public, respond: {status: 204}}
  - {name: own-closed, paths: [/own-closed], respond: {status: 200, body: secret}}
  - {name: page, paths: [/page], errors: {responses: {missing_credential: {status: 302, location: /login, unlessAccept: application/json}}}}
  - {name: flow, paths: [/flow], errors: {profile: AgentFlow403}}
  - {name: maybe, paths: [/maybe], access: Optional}
  forward: {replaceCredential: {signedJWT: {algorithm: HS256, secretKeyRef: {name: own, key: jwt}, claims: {sub: principal.subject}}}}
";

async fn bench_with(mode: &str) -> Result<Bench, PeerError> {
    let mode = format!("  mode: {mode}\n");
    Bench::with(|issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api") + &mode + RULES;
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: own, namespace: demo}}\nstringData: {{jwt: {SECRET}}}\n"
        );
        vec![("api.yaml".to_owned(), text), ("own.yaml".to_owned(), secret)]
    })
    .await
}

/// The claims of a bearer token that our secret signed.
fn claims(authorization: &str) -> Value {
    let token = authorization.strip_prefix("Bearer ").expect("a bearer token");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, signed.as_bytes(), &signature).expect("signed by our secret");
    let (_, claims) = signed.split_once('.').expect("two parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn envoy_sends_what_the_policy_answers_and_asks_no_upstream() -> Outcome {
    let bench = bench_with("Enforce").await?;
    for (path, status, body) in [("/own", 200, "{}"), ("/empty", 204, "")] {
        for answer in [bench.call().path(path).http1().await?, bench.call().path(path).http2().await?] {
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{answer:?}");
        }
    }
    assert_refused(&bench.call().path("/own-closed").http1().await?, 401, "missing_credential");
    let page = bench.call().path("/page").header("accept", "text/html,*/*;q=0.8").http1().await?;
    assert_eq!((page.status, page.header("location").as_deref()), (302, Some("/login")), "{page:?}");
    assert_eq!(page.header("cache-control").as_deref(), Some("no-store"));
    assert_refused(
        &bench.call().path("/page").header("accept", "application/json").http1().await?,
        401,
        "missing_credential",
    );
    let flow = bench.call().path("/flow").http1().await?;
    assert!(
        flow.status == 403 && flow.body.contains("REVOKED_TOKEN") && flow.header("www-authenticate").is_none(),
        "{flow:?}"
    );
    assert!(bench.upstream.seen().is_empty(), "{:?}", bench.upstream.seen());
    Ok(())
}

#[tokio::test]
async fn browsers_of_allowed_origins_ask_and_read() -> Outcome {
    let bench = bench_with("Enforce").await?;
    let ask = |origin: &str| {
        let call = bench.call().path("/x").method("OPTIONS").header("access-control-request-method", "PUT");
        call.header("origin", origin)
    };
    for answer in [ask("https://ui.example.com").http1().await?, ask("https://ui.example.com").http2().await?] {
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("https://ui.example.com"));
        assert_eq!(answer.header("access-control-allow-methods").as_deref(), Some("GET, PUT"));
    }
    let foreign = ask("https://evil.example").http1().await?;
    assert_refused(&foreign, 401, "missing_credential");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    let refused = bench.call().header("origin", "https://ui.example.com").http1().await?;
    assert_refused(&refused, 401, "missing_credential");
    assert_eq!(refused.header("access-control-expose-headers").as_deref(), Some("WWW-Authenticate"));
    Ok(())
}

#[tokio::test]
async fn the_upstream_gets_a_token_of_ours_and_no_other() -> Outcome {
    let bench = bench_with("Enforce").await?;
    for answer in [bench.good()?.http1().await?, bench.good()?.http2().await?] {
        let seen = answer.seen().expect("the application answered");
        let minted = claims(&seen.header("authorization").expect("a credential"));
        assert_eq!(minted["sub"], "alice");
        assert_eq!(minted["exp"].as_i64(), minted["iat"].as_i64().map(|issued| issued + 60), "{minted}");
    }
    // Without identity there is none, not even one that the client brings along.
    let anonymous = bench.call().path("/maybe").header("authorization", "Basic YTpi").http1().await?;
    assert_eq!(anonymous.seen().and_then(|seen| seen.header("authorization")), None, "{anonymous:?}");
    assert_eq!(anonymous.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_policy_on_trial_refuses_nobody_and_names_nobody() -> Outcome {
    let bench = bench_with("Audit").await?;
    let token = bench.alice()?;
    for call in [bench.call(), bench.call().bearer("not-a-token"), bench.call().bearer(&token)] {
        let answer = call.clone().header("x-auth-subject", "root").http1().await?;
        let seen = answer.seen().filter(|_| answer.status == 200).expect("the application answered");
        assert!(!seen.headers.iter().any(|(name, _)| name.starts_with("x-auth-")), "{seen:?}");
        let sent = format!("{call:?}").contains("authorization");
        assert_eq!(seen.header("authorization").is_some(), sent, "credentials stay as they came: {seen:?}");
    }
    Ok(())
}
