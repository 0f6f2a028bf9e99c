//! Signing keys, tokens and settings for the tests beside it. The private halves exist in memory alone.

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::{
    algorithm::Algorithm,
    keys::KeySet,
    snapshot::{AudienceRule, DeniedTokenIds, Jwt, JwtKeys},
};
use serde_json::{Map, Value, json};

use super::{Failure, Token, Verified, verify};

/// The issuer of every good token.
pub(crate) const ISSUER: &str = "https://issuer.example";

/// The moment of every test: 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

/// A key pair that goes by its name.
pub(crate) struct TestKey {
    name: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub(crate) static RSA: LazyLock<TestKey> = LazyLock::new(|| rsa("rsa"));
pub(crate) static P256: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    TestKey { name: "p256", pair: Pair::Ec("P-256", pair) }
});
pub(crate) static P384: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    TestKey { name: "p384", pair: Pair::Ec("P-384", pair) }
});
pub(crate) static P521: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    TestKey { name: "p521", pair: Pair::Ec("P-521", pair) }
});
pub(crate) static ED25519: LazyLock<TestKey> =
    LazyLock::new(|| TestKey { name: "ed25519", pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) });

/// Not in any set, though it claims the names of those that are.
pub(crate) static ROGUE_RSA: LazyLock<TestKey> = LazyLock::new(|| rsa("rsa"));
pub(crate) static ROGUE_P256: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    TestKey { name: "p256", pair: Pair::Ec("P-256", pair) }
});

/// The issuer's set: one key of each kind.
pub(crate) static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| set(&[RSA.jwk(), P256.jwk(), P384.jwk(), P521.jwk(), ED25519.jwk()]));

fn rsa(name: &'static str) -> TestKey {
    TestKey { name, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
}

pub(crate) fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// The key that signs with an algorithm.
pub(crate) fn key_of(algorithm: Algorithm) -> &'static TestKey {
    match algorithm {
        Algorithm::ES256 => &P256,
        Algorithm::ES384 => &P384,
        Algorithm::ES512 => &P521,
        Algorithm::EdDSA | Algorithm::Ed25519 => &ED25519,
        _ => &RSA,
    }
}

/// Everything allowed, nothing asked for beyond the defaults.
pub(crate) fn settings() -> Jwt {
    Jwt {
        issuer: Some(ISSUER.into()),
        keys: JwtKeys::Missing,
        audiences: AudienceRule::AnyOf(vec!["api".into()]),
        algorithms: Algorithm::ALL.into(),
        clock_skew: Duration::ZERO,
        require_expiry: true,
        accepted_types: None,
        authorized_parties: None,
        required_claims: Vec::new(),
        denied: DeniedTokenIds::Nobody,
    }
}

/// Claims that are good at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "api", "sub": "alice", "iat": NOW - 60, "exp": NOW + 600})
}

/// The first with the members of the second; null removes.
pub(crate) fn with(base: Value, change: Value) -> Value {
    let (Value::Object(mut base), Value::Object(change)) = (base, change) else { panic!("two objects") };
    for (name, value) in change {
        if value.is_null() {
            base.remove(&name);
        } else {
            base.insert(name, value);
        }
    }
    Value::Object(base)
}

/// Three parts, encoded.
pub(crate) fn compact(header: &str, payload: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}", input(header, payload), BASE64URL.encode(signature))
}

pub(crate) fn input(header: &str, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload))
}

/// A token that the key of the algorithm signed, whatever header and payload are.
pub(crate) fn signed(algorithm: Algorithm, header: &str, payload: impl AsRef<[u8]>) -> String {
    key_of(algorithm).token(algorithm, header, payload)
}

/// A good header.
pub(crate) fn header(algorithm: Algorithm) -> Value {
    json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": key_of(algorithm).name})
}

/// A good ES256 token with these claims.
pub(crate) fn claiming(claims: &Value) -> String {
    signed(Algorithm::ES256, &header(Algorithm::ES256).to_string(), claims.to_string())
}

/// The verdict as text, so that a table can say which check must refuse.
pub(crate) fn verdict_of(text: &str, settings: &Jwt, keys: &KeySet) -> String {
    match Token::parse(text) {
        Err(malformed) => format!("malformed: {}", malformed.0),
        Ok(token) => match verify(&token, settings, keys, NOW * 1000) {
            Ok(Verified { .. }) => "ok".to_owned(),
            Err(Failure::Invalid(why)) => format!("invalid: {why}"),
            Err(Failure::NotOfTheseKeys(why)) => format!("not of these keys: {why}"),
            Err(failure) => format!("{failure:?}"),
        },
    }
}

pub(crate) fn verdict(text: &str) -> String {
    verdict_of(text, &settings(), &KEYS)
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

// === impl TestKey ===

impl TestKey {
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                // PKCS#1 DER: 9 bytes before a modulus of 2048 bits, and 65537 after it.
                let der = pair.public_key().as_ref();
                assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
                json!({"kty": "RSA", "n": BASE64URL.encode(&der[9..265]), "e": "AQAB"})
            }
            Pair::Ec(curve, pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.name);
        jwk
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let with_rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match (&self.pair, algorithm) {
            (Pair::Rsa(pair), Algorithm::RS256) => with_rsa(pair, &RSA_PKCS1_SHA256),
            (Pair::Rsa(pair), Algorithm::RS384) => with_rsa(pair, &RSA_PKCS1_SHA384),
            (Pair::Rsa(pair), Algorithm::RS512) => with_rsa(pair, &RSA_PKCS1_SHA512),
            (Pair::Rsa(pair), Algorithm::PS256) => with_rsa(pair, &RSA_PSS_SHA256),
            (Pair::Rsa(pair), Algorithm::PS384) => with_rsa(pair, &RSA_PSS_SHA384),
            (Pair::Rsa(pair), Algorithm::PS512) => with_rsa(pair, &RSA_PSS_SHA512),
            (Pair::Ec(_, pair), _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            (Pair::Ed25519(pair), _) => pair.sign(message).as_ref().to_vec(),
            (Pair::Rsa(_), other) => panic!("RSA signs no {other:?}"),
        }
    }

    pub(crate) fn token(&self, algorithm: Algorithm, header: &str, payload: impl AsRef<[u8]>) -> String {
        let input = input(header, payload);
        let signature = self.sign(algorithm, input.as_bytes());
        format!("{input}.{}", BASE64URL.encode(signature))
    }
}
