//! cq unchanged, by its own client: the policy that we show, before a server that checks what cq's checks.

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tests::{
    Call, Issuer, PeerError, Product,
    cq::{CqServer, Knows, session},
    envoy::{Envoy, Options},
    issuer,
};

use crate::Outcome;

/// The document of `docs/applications/cq.md`, as it is there but for host and issuer.
const POLICY: &str = include_str!("../../../crds/tests/documents/cq.yaml");
const SECRET: &str = "a-shared-secret-of-at-least-32-bytes!!";
const PEPPER: &str = "a-pepper-of-at-least-32-bytes-long!!!!!!";
const ID: &str = "0123456789abcdef0123456789abcdef";
const KEY_SECRET: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst";

struct Setting {
    envoy: Envoy,
    _product: Product,
    server: CqServer,
    issuer: Issuer,
    home: tempfile::TempDir,
}

fn tag(key: &str, text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes())
}

fn hash() -> String {
    hex(tag(PEPPER, KEY_SECRET).as_ref())
}

fn digest(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn key() -> String {
    format!("cqa.v1.{ID}.{KEY_SECRET}")
}

/// A token as cq's own sign-in makes it.
fn session_token(claims: &Value) -> String {
    let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#), BASE64.encode(claims.to_string()));
    format!("{signed}.{}", BASE64.encode(tag(SECRET, &signed)))
}

async fn set_up() -> Result<Setting, PeerError> {
    let (issuer, home) = (Issuer::start().await?, tempfile::tempdir().expect("a temporary folder"));
    let policy = POLICY.replace("cq.example.com", "localhost");
    let policy = policy.replace("https://keycloak.example.com/realms/acme", &issuer.url());
    assert_ne!(policy, POLICY);
    let record = json!({"hash": hash(), "user": "alice", "expires_at": null, "revoked_at": null}).to_string();
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {ID: record},
        "metadata": {"name": "keys", "namespace": "knowledge", "labels": {"gatewright.dev/api-keys": "cq"}}});
    let documents = [("cq.yaml".to_owned(), policy), ("keys.yaml".to_owned(), keys.to_string())];
    let server =
        CqServer::start(&Knows { secret: SECRET, pepper: PEPPER, key: [ID, &hash(), "alice"] }, home.path()).await?;
    let product = Product::start(&documents).await?;
    let envoy = Envoy::start(&product.addresses.authz, server.address, &Options::default(), home.path()).await?;
    Ok(Setting { envoy, _product: product, server, issuer, home })
}

#[tokio::test]
async fn the_client_works_with_its_key() -> Outcome {
    let setting = set_up().await?;
    let done = session(setting.envoy.hardened, &key(), setting.home.path()).await?;
    let unit = done["propose"]["ok"].as_str().unwrap_or_default();
    assert!(unit.starts_with("ku_"), "{done}");
    assert_eq!((&done["author"], &done["tier"]), (&json!("alice"), &json!("private")), "{done}");
    assert_eq!((&done["confirm"]["ok"], &done["flag"]["ok"]), (&json!(2), &json!(1)), "{done}");
    assert_eq!(done["query"], json!({"source": "remote", "warnings": [], "units": [unit]}), "{done}");
    assert_eq!(done["stats"], json!(["local", "private"]), "{done}");
    let seen = setting.server.seen();
    assert_eq!(seen.len(), 5, "discovery is answered before cq: {seen:?}");
    for one in seen.iter().filter(|one| one["method"] == "POST") {
        assert_eq!((&one["user"], &one["identity"]), (&json!("alice"), &json!("alice")), "{one}");
        assert_eq!(one["credential"], json!(digest(&format!("Bearer {}", key()))), "cq checks the key again: {one}");
    }
    Ok(())
}

#[tokio::test]
async fn the_client_is_told_what_cq_tells_it() -> Outcome {
    let setting = set_up().await?;
    for wrong in ["nonsense", &key().replace("abc", "xyz"), &key().replace(ID, &ID.replace('0', "f"))] {
        let home = tempfile::tempdir().expect("a temporary folder");
        let through = session(setting.envoy.hardened, wrong, home.path()).await?;
        let home = tempfile::tempdir().expect("a temporary folder");
        let straight = session(setting.server.address, wrong, home.path()).await?;
        for call in ["propose", "confirm", "flag"] {
            let detail = |done: &Value| {
                let text = done[call]["detail"].as_str().unwrap_or_default().to_owned();
                serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{done}"))
            };
            assert_eq!(through[call]["status"], json!(401), "{through}");
            assert_eq!(through[call]["status"], straight[call]["status"]);
            assert_eq!(detail(&through), detail(&straight), "{wrong} {call}");
        }
        assert_eq!(through["query"]["source"], json!("remote"), "reading needs no key: {through}");
    }
    let refused_by_cq = |one: &Value| one["status"] == 401 && one["identity"] != Value::Null;
    assert!(!setting.server.seen().iter().any(refused_by_cq), "what we let through is good to cq");
    Ok(())
}

#[tokio::test]
async fn people_of_the_provider_are_people_of_cq() -> Outcome {
    let setting = set_up().await?;
    let ask = |token: &str| Call::to(setting.envoy.hardened).host("localhost").path("/api/v1/users/me").bearer(token);
    let person =
        json!({"aud": "cq", "sub": "7", "preferred_username": "bob", "email": "b@example.com", "email_verified": true});
    let sso = setting.issuer.token(&person)?;
    let own = session_token(&json!({"sub": "carol", "iat": issuer::now(), "exp": issuer::now() + 3600}));
    for (token, user) in [(&sso, "bob"), (&own, "carol")] {
        let answer = ask(token).path("/api/v1/review/queue").http1().await?;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, &*format!("{{\"username\": \"{user}\"}}")),
            "{answer:?}"
        );
        let seen = setting.server.seen().pop().expect("it reached cq");
        assert_ne!(seen["credential"], json!(digest(&format!("Bearer {token}"))), "cq gets a token of ours: {seen}");
    }
    let reached = setting.server.seen().len();
    let unverified = setting
        .issuer
        .token(&json!({"aud": "cq", "sub": "8", "preferred_username": "alice", "email_verified": false}))?;
    let old = session_token(&json!({"sub": "carol", "exp": issuer::now() - 60}));
    let words = "Invalid or expired token";
    for (token, status, detail) in [(&unverified, 403, None), (&old, 401, Some(words)), (&key(), 401, Some(words))] {
        let answer = ask(token).path("/api/v1/review/queue").http1().await?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(body["detail"].as_str().is_some_and(|own| detail.is_none_or(|detail| own == detail)), "{answer:?}");
    }
    assert_eq!(setting.server.seen().len(), reached, "none of these reached cq");
    Ok(())
}
