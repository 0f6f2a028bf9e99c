//! Tokens of ours for upstreams, signed by real data planes with the installation's own keys.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use tests::{
    PeerError,
    operator::{DataPlane, HOME, Operator},
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, apply_secret, signed, token};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "/api/v1/namespaces/gatewright/secrets/gatewright-signing-keys";

/// Puts a token of ours in place of the caller's.
fn minted(host: &str) -> Value {
    let mut spec = signed(host, "app");
    spec["forward"] = json!({"replaceCredential": {"signedJWT": {"algorithm": "ES256", "audience": "shop", "claims": {"sub": "principal.subject"}}}});
    spec
}

/// The token that the upstream gets, once it gets one.
async fn upstream_token(plane: &DataPlane) -> Result<String, PeerError> {
    let caller = token(KEY);
    let waited = wait::until("a token for the upstream", LONG, || async {
        let header = plane.upstream_header("shop.test", &[("authorization", &caller)], "authorization").await?;
        header.strip_prefix("Bearer ").filter(|_| header != caller).map(str::to_owned)
    });
    waited.await.map_err(|late| PeerError::unreadable(late.to_string(), &plane.output()))
}

async fn document(plane: &DataPlane, path: &str) -> Value {
    let (status, body) = plane.admin(path).await;
    if status == 200 { serde_json::from_str(&body).unwrap_or_default() } else { Value::Null }
}

fn part(token: &str, index: usize) -> Vec<u8> {
    token.split('.').nth(index).and_then(|part| BASE64URL.decode(part).ok()).unwrap_or_default()
}

/// Whether an upstream that reads these keys takes the token.
fn verifies(jwks: &Value, token: &str) -> bool {
    let header: Value = serde_json::from_slice(&part(token, 0)).unwrap_or_default();
    let keys = jwks["keys"].as_array().cloned().unwrap_or_default();
    let Some(key) = keys.iter().find(|key| key["kid"] == header["kid"]) else { return false };
    let number = |name: &str| BASE64URL.decode(key[name].as_str().unwrap_or_default()).unwrap_or_default();
    let point = [&[4], &number("x")[..], &number("y")].concat();
    let input = token.rsplit_once('.').map_or("", |(input, _)| input);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input.as_bytes(), &part(token, 2)).is_ok()
}

#[tokio::test]
async fn every_data_plane_signs_with_one_key_that_nothing_loses() -> Outcome {
    let World { plane, mut operator, api } = World::start().await?;
    assert_eq!(plane.admin("/.well-known/jwks.json").await.0, 404, "nobody needs a key yet");
    apply_secret(&api, "app", "jwt", KEY).await?;
    apply(&api, "shop", minted("shop.test")).await?;
    let first = upstream_token(&plane).await?;
    let jwks = document(&plane, "/.well-known/jwks.json").await;
    assert!(verifies(&jwks, &first), "{jwks}");
    let claims: Value = serde_json::from_slice(&part(&first, 1)).unwrap_or_default();
    let discovery = document(&plane, "/.well-known/openid-configuration").await;
    assert_eq!(claims["iss"], "http://gatewright-authz.gatewright.svc:9003");
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["sub"]),
        (&discovery["issuer"], &json!("shop"), &json!("alice"))
    );
    assert_eq!(discovery["jwks_uri"], "http://gatewright-authz.gatewright.svc:9003/.well-known/jwks.json");
    let kept = api.get(SECRET).await?.body;
    assert!(kept["data"]["sealed"].is_string(), "{kept}");

    // Another data plane, of another replica of the operator, which then leads.
    let mut next = Operator::start(&api, "operator-1").await?;
    next.until_ready().await?;
    let other = DataPlane::start(&api, &next, "authz-1").await?;
    let second = upstream_token(&other).await?;
    assert_eq!(document(&other, "/.well-known/jwks.json").await, jwks, "in {HOME} all publish the same");
    assert!(verifies(&jwks, &second));
    operator.kill();
    api.delete(SECRET).await?;
    wait::until("the new leader to write the keys back", LONG * 3, || async {
        (api.get(SECRET).await.ok()?.status == 200).then_some(())
    })
    .await?;
    let late = DataPlane::start(&api, &next, "authz-2").await?;
    let third = upstream_token(&late).await?;
    for (what, plane) in [("before", &plane), ("other", &other), ("late", &late)] {
        let published = document(plane, "/.well-known/jwks.json").await;
        assert!([&first, &second, &third].iter().all(|token| verifies(&published, token)), "{what}: {published}");
    }
    Ok(())
}
