//! Introspection, UserInfo, keys, token exchange and client credentials of a real Keycloak behind a real Envoy. One test: it takes longest to start.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helper fails the test that calls it")]

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use futures_util::future;
use serde_json::Value;
use tests::{Answer, Bench, Issuer, PeerError, bench::Setup, keycloak::Keycloak, wait};

/// Each of them names the same person.
const KINDS: [&str; 3] = ["introspection", "userinfo", "jwt"];
/// Keycloak takes a moment for each token, and a set is fetched after half a minute at most.
const SLOW: Duration = Duration::from_secs(90);
/// So many tokens of the new key each client takes.
const TOKENS: usize = 10;
const AUDIENCE: &str = "audiences: [gw]";

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
        ("jwt", format!("jwt: {{issuer: '{issuer}', {AUDIENCE}}}")),
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

/// A good token is allowed before, while and after a new key signs; one of the old key until that key is gone. Returns a token of the new one.
async fn keys_rotate_under_traffic(bench: &Bench, keycloak: &Keycloak) -> Result<String, PeerError> {
    let sent = Cell::new(0);
    let clients = future::try_join_all(KINDS.map(|kind| client(bench, keycloak, kind, &sent)));
    let rotation = async {
        wait::until("tokens of the old key", SLOW, || async { (sent.get() >= KINDS.len() * TOKENS).then_some(()) })
            .await?;
        keycloak.rotate().await
    };
    let (clients, ()) = tokio::try_join!(clients, rotation)?;
    println!("{} calls, and none was refused", sent.get());

    // What a signature says is known to be over once the set is fetched again; who is asked knows at once.
    bench.product.edit("jwt.yaml", AUDIENCE, &format!("{AUDIENCE}, jwksCacheDuration: 30s"))?;
    keycloak.remove_old_key().await?;
    for (kind, (old, new)) in KINDS.into_iter().zip(&clients) {
        wait::until("a token of the removed key to be refused", SLOW, || async {
            let answer = ask(bench, kind, new).await.ok()?;
            assert!(matches!(answer.status, 200 | 503), "a good token is refused: {answer:?}");
            (ask(bench, kind, old).await.ok()?.status == 401).then_some(())
        })
        .await?;
        assert_eq!(good(bench, kind, new).await?, 200, "{kind}");
    }
    keycloak.alice().await
}

/// Takes token after token, beyond the rotation, and calls with each new one and with its first. Returns the first and the last.
async fn client(
    bench: &Bench,
    keycloak: &Keycloak,
    kind: &str,
    sent: &Cell<usize>,
) -> Result<(String, String), PeerError> {
    let first = keycloak.alice().await?;
    let mut last = first.clone();
    let mut tokens: BTreeMap<String, usize> = BTreeMap::new();
    while tokens.len() < 2 || tokens[&key_of(&last)] < TOKENS {
        last = keycloak.alice().await?;
        *tokens.entry(key_of(&last)).or_default() += 1;
        for token in [&last, &first] {
            assert_eq!(good(bench, kind, token).await?, 200, "{kind}, after tokens of keys {tokens:?}");
            sent.set(sent.get() + 1);
        }
    }
    assert_ne!(key_of(&first), key_of(&last));
    Ok((first, last))
}

/// The status of the answer: 503 is none, but asks for another try.
async fn good(bench: &Bench, kind: &str, token: &str) -> Result<u16, PeerError> {
    let call = bench.call().host(&format!("{kind}.example.com")).bearer(token);
    call.http1_when_available().await.map(|answer| answer.status)
}

/// The name of the key that signed a token.
fn key_of(token: &str) -> String {
    let header = token.split('.').next().and_then(|part| BASE64URL.decode(part).ok()).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    header["kid"].as_str().expect("Keycloak's keys have names").to_owned()
}

#[tokio::test]
async fn every_way_to_believe_keycloak_names_the_same_person() -> Result<(), PeerError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keycloak = Keycloak::start(folder.path()).await?;
    let bench = Bench::set_up(Issuer::start().await?, |_| documents(&keycloak.issuer), &Setup::default()).await?;
    let token = keycloak.alice().await?;
    let mut users = Vec::new();
    for kind in KINDS {
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

    let rotated = keys_rotate_under_traffic(&bench, &keycloak).await?;

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
