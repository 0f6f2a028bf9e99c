//! Tokens of AgentFlow's form, and every way to send one.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tests::issuer;

use crate::SECRET;

/// A token of AgentFlow's form.
pub(crate) fn signed(secret: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{signed}.{}", BASE64.encode(hmac::sign(&key, signed.as_bytes())))
}

/// `claims` over those of a good token; null takes one away.
pub(crate) fn token(claims: &Value) -> String {
    let mut all = json!({"user_id": "alice", "exp": issuer::now() + 600});
    for (name, value) in claims.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    signed(SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, &all.to_string())
}

pub(crate) fn good() -> String {
    token(&json!({}))
}

/// Places of the credential and claims that both refuse, or take, with the same words.
pub(crate) fn credentials() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let good = good();
    let bearer = |token: String| vec![("authorization", format!("Bearer {token}"))];
    let claims = |claims: Value| bearer(token(&claims));
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let old = issuer::now() - 60;
    vec![
        ("none", vec![]),
        ("good", bearer(good.clone())),
        ("the scheme in small letters", vec![("authorization", format!("bearer {good}"))]),
        ("the scheme in capitals", vec![("authorization", format!("BEARER {good}"))]),
        ("the scheme alone", vec![("authorization", "Bearer".to_owned())]),
        ("another scheme", vec![("authorization", format!("Basic {good}"))]),
        ("no scheme", vec![("authorization", good.clone())]),
        ("garbage", bearer("not-a-token".to_owned())),
        ("two parts", bearer(head.to_owned())),
        ("four parts", bearer(format!("{good}.{signature}"))),
        ("no signature", bearer(format!("{head}."))),
        ("another signature", bearer(format!("{head}.{}", BASE64.encode([7; 32])))),
        (
            "an unknown secret",
            bearer(signed(
                "another-secret-of-32-bytes-and-more",
                r#"{"alg":"HS256"}"#,
                r#"{"user_id":"alice","exp":9999999999}"#,
            )),
        ),
        (
            "alg none",
            bearer(format!(
                "{}.{}.",
                BASE64.encode(r#"{"alg":"none"}"#),
                BASE64.encode(r#"{"user_id":"alice","exp":9999999999}"#)
            )),
        ),
        (
            "another alg with the right secret",
            bearer(signed(SECRET, r#"{"alg":"HS512","typ":"JWT"}"#, r#"{"user_id":"alice","exp":9999999999}"#)),
        ),
        ("expired", claims(json!({"exp": old}))),
        (
            "expired, and another's signature",
            bearer(signed(
                "another-secret-of-32-bytes-and-more",
                r#"{"alg":"HS256"}"#,
                &json!({"user_id": "alice", "exp": old}).to_string(),
            )),
        ),
        ("no exp", claims(json!({"exp": null}))),
        ("exp is a word", claims(json!({"exp": "soon"}))),
        ("not yet", claims(json!({"nbf": issuer::now() + 600}))),
        ("nbf is a word", claims(json!({"nbf": "soon"}))),
        ("made in the future", claims(json!({"iat": issuer::now() + 600}))),
        ("no user_id", claims(json!({"user_id": null, "sub": "alice"}))),
        ("a subject that is a number", claims(json!({"sub": 7}))),
        ("no scope at all", claims(json!({"scopes": []}))),
        ("another scope", claims(json!({"scopes": ["graph:invoke", "store:read"]}))),
        ("the scope", claims(json!({"scopes": ["graph:read"]}))),
        ("a role without meaning", claims(json!({"roles": ["nobody"]}))),
    ]
}
