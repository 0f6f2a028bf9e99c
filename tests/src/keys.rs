//! Signing keys for test tokens: made once per process and name, because an RSA key takes long to find.
//! Never used for anything but tests: the private halves exist in memory alone.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};

use crate::PeerError;

/// A key pair with its identifier.
#[derive(Debug)]
pub struct SigningKey {
    /// The `kid`, equal to the name it was asked for by.
    pub kid: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    RsaPss(RsaKeyPair),
    P256(EcdsaKeyPair),
    P521(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

static MADE: LazyLock<Mutex<HashMap<String, Arc<SigningKey>>>> = LazyLock::new(Mutex::default);

/// The key of that name. Its beginning chooses the kind: `rsa…` RS256, `pss…` PS256, `p256…` ES256, `p521…` ES512,
/// `ed25519…` EdDSA; the rest tells keys of a kind apart.
pub fn named(name: &str) -> Result<Arc<SigningKey>, PeerError> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = made.get(name) {
        return Ok(Arc::clone(key));
    }
    let key = Arc::new(SigningKey { kid: name.to_owned(), pair: Pair::generate(name)? });
    made.insert(name.to_owned(), Arc::clone(&key));
    Ok(key)
}

impl SigningKey {
    /// The `alg` of what it signs.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::RsaPss(_) => "PS256",
            Pair::P256(_) => "ES256",
            Pair::P521(_) => "ES512",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half as a JWK (RFC 7517).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) | Pair::RsaPss(pair) => {
                let public = pair.public_key();
                let number = |bytes: &[u8]| BASE64URL.encode(bytes);
                json!({
                    "kty": "RSA",
                    "n": number(public.modulus().big_endian_without_leading_zero()),
                    "e": number(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) => point("P-256", pair),
            Pair::P521(pair) => point("P-521", pair),
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A compact JWS (RFC 7515) of the two parts as they are given: nothing is added or checked.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, PeerError> {
        let input = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(input.as_bytes()).map_err(|error| crypto("signing", error))?;
        Ok(format!("{input}.{}", BASE64URL.encode(signature)))
    }
}

impl Pair {
    fn generate(name: &str) -> Result<Self, PeerError> {
        let failed = |error| crypto("making a key", error);
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed);
        match name {
            _ if name.starts_with("rsa") => Ok(Self::Rsa(rsa()?)),
            _ if name.starts_with("pss") => Ok(Self::RsaPss(rsa()?)),
            _ if name.starts_with("p256") => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256).map_err(failed)
            }
            _ if name.starts_with("p521") => {
                EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).map(Self::P521).map_err(failed)
            }
            _ if name.starts_with("ed25519") => Ed25519KeyPair::generate().map(Self::Ed25519).map_err(failed),
            _ => Err(PeerError::unreadable(format!("key name {name}"), &"no kind of key begins like this")),
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        let with_rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, input, &mut signature).map(|()| signature)
        };
        match self {
            Self::Rsa(pair) => with_rsa(pair, &RSA_PKCS1_SHA256),
            Self::RsaPss(pair) => with_rsa(pair, &RSA_PSS_SHA256),
            Self::P256(pair) | Self::P521(pair) => Ok(pair.sign(&random, input)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(input).as_ref().to_vec()),
        }
    }
}

/// An uncompressed point is one byte 4, then both coordinates at full length (SEC 1, 2.3.3).
fn point(curve: &str, pair: &EcdsaKeyPair) -> Value {
    let coordinates = pair.public_key().as_ref().split_first().map_or(&[][..], |(_, rest)| rest);
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)})
}

fn crypto(what: &str, error: aws_lc_rs::error::Unspecified) -> PeerError {
    PeerError::unreadable(format!("{what} of a test token"), &error)
}
