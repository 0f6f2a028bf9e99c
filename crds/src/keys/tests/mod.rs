//! Rows of the attack corpus that concern keys (B), each with a good key beside the bad one.

use std::sync::LazyLock;

use aws_lc_rs::{
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};

use super::{KeySet, KeySetError};

mod entries;
mod fixed;
mod sets;

pub(super) static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// The public key is PKCS#1 DER: 9 bytes before a modulus of 2048 bits, and 65537 after it.
pub(super) fn rsa() -> Value {
    let der = RSA.public_key().as_ref();
    assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
    json!({"kty": "RSA", "n": BASE64URL.encode(&der[9..265]), "e": "AQAB"})
}

pub(super) fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)});
    (pair, jwk)
}

pub(super) fn p256() -> Value {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256").1
}

pub(super) fn ed25519() -> (Ed25519KeyPair, Value) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref())});
    (pair, jwk)
}

pub(super) fn with(mut jwk: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("members") };
    for (name, value) in members {
        jwk[name] = value;
    }
    jwk
}

pub(super) fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}
