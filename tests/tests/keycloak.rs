//! Introspection, UserInfo, keys, token exchange and client credentials of a real Keycloak behind a real Envoy. One test: it takes longest to start.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helper fails the test that calls it")]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::Value;
use tests::{Answer, Bench, Issuer, PeerError, bench::Setup, keycloak::Keycloak, wait};

/// An unknown key is asked for again only after a pause.
const COOLDOWN: Duration = Duration::from_secs(90);

/// One policy for each way to believe Keycloak.
fn documents(issuer: &str) -> Vec<(String, String)> {
    let kinds = [
        (
            "introspection",
            format!(
                "introspection: {{endpoint: '{issuer}/protocol/openid-connect/token/introspect', issuer: '{issuer}', audiences: [gw], cacheDuration: 1s, \
                 client: {{clientID: gw, clientSecretRef: {{name: client, key: secret}}}}}}"
            ),
        ),
        (
            "userinfo",
            format!(
                "userInfo: {{endpoint: '{issuer}/protocol/openid-connect/userinfo', cacheDuration: 1s}}\n    identityIssuer: '{issuer}'"
            ),
        ),
        ("jwt", format!("jwt: {{issuer: '{issuer}', audiences: [gw]}}")),
        ("exchange", format!("jwt: {{issuer: '{issuer}', audiences: [gw]}}{}", replaced("tokenExchange", issuer))),
        ("machine", format!("jwt: {{issuer: '{issuer}', audiences: [gw]}}{}", replaced("clientCredentials", issuer))),
    ];
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: demo}\nstringData: {secret: \"gw's secret: 100%\"}\n";
    let policies = kinds.map(|(name, kind)| {
        let text = format!(
            "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: {name}, namespace: demo}}
spec:
  externalHostnames: [{name}.example.com]
  authenticators:
  - name: keycloak
    {kind}
"
        );
        (format!("{name}.yaml"), text)
    });
    policies.into_iter().chain([("secret.yaml".to_owned(), secret.to_owned())]).collect()
}

/// The upstream is sent a token that Keycloak gives for the caller's, or for the client itself.
fn replaced(grant: &str, issuer: &str) -> String {
    format!(
        "\n  forward: {{replaceCredential: {{{grant}: {{tokenURL: '{issuer}/protocol/openid-connect/token', \
         client: {{clientID: gw, clientSecretRef: {{name: client, key: secret}}}}}}}}}}"
    )
}

/// What the token says that the upstream was sent.
#[track_caller]
fn claims(answer: &Answer) -> Value {
    let sent = header(answer, "authorization").unwrap_or_default();
    let payload = sent.split('.').nth(1).and_then(|part| BASE64URL.decode(part).ok()).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_else(|_| panic!("no token was sent: {answer:?}"))
}

async fn ask(bench: &Bench, kind: &str, token: &str) -> Result<Answer, PeerError> {
    bench.call().host(&format!("{kind}.example.com")).bearer(token).http1().await
}

#[track_caller]
fn header(answer: &Answer, name: &str) -> Option<String> {
    let Some(seen) = answer.seen() else { panic!("the application did not answer: {answer:?}") };
    seen.header(name)
}

#[tokio::test]
async fn every_way_to_believe_keycloak_names_the_same_person() -> Result<(), PeerError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keycloak = Keycloak::start(folder.path()).await?;
    let bench = Bench::set_up(Issuer::start().await?, |_| documents(&keycloak.issuer), &Setup::default()).await?;
    let token = keycloak.alice().await?;
    let mut users = Vec::new();
    for kind in ["introspection", "userinfo", "jwt"] {
        // The first answer may come after the first request's deadline, and is there for the next.
        let answer = wait::until("the first answer", wait::LONG, || async {
            ask(&bench, kind, &token).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
        assert_eq!(header(&answer, "x-auth-type").as_deref(), Some(kind));
        assert_eq!(header(&answer, "x-auth-email").as_deref(), Some("alice@example.com"), "{kind}");
        users.push(header(&answer, "x-auth-user"));
        let forged = format!("{}x", token.trim_end_matches('x'));
        assert_eq!(ask(&bench, kind, &forged).await?.status, 401, "{kind}");
    }
    assert!(users[0].is_some() && users.iter().all(|user| *user == users[0]), "one person: {users:?}");

    // The first of these tokens may come too late for the request that asked for it, and is there for the next.
    let subject = ask(&bench, "jwt", &token).await?;
    let caller = header(&subject, "x-auth-subject");
    let mut sent = Vec::new();
    for kind in ["exchange", "machine", "exchange"] {
        let answer = wait::until("a token for the upstream", wait::LONG, || async {
            ask(&bench, kind, &token).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
        assert_ne!(header(&answer, "authorization"), Some(format!("Bearer {token}")), "{kind}");
        sent.push(claims(&answer));
    }
    assert_eq!(sent[0]["preferred_username"], "alice", "still about the caller: {}", sent[0]);
    assert!(caller.is_none() || caller.as_deref() == sent[0]["sub"].as_str(), "{caller:?} {}", sent[0]);
    assert_eq!(sent[1]["preferred_username"], "service-account-gw", "about the client: {}", sent[1]);
    assert_eq!(sent[0]["jti"], sent[2]["jti"], "exchanged once");

    keycloak.rotate().await?;
    let rotated = keycloak.alice().await?;
    for kind in ["introspection", "userinfo", "jwt"] {
        wait::until("a token of the new key to be good", COOLDOWN, || async {
            ask(&bench, kind, &rotated).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
    }

    // Who asks hears of the end of a session; a signature does not.
    keycloak.end_sessions().await?;
    for kind in ["introspection", "userinfo"] {
        wait::until("the end of the session to be known", wait::LONG, || async {
            ask(&bench, kind, &rotated).await.ok().filter(|answer| answer.status == 401)
        })
        .await?;
    }
    assert_eq!(ask(&bench, "jwt", &rotated).await?.status, 200);
    Ok(())
}
