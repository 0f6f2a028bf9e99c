//! New key pairs, and their public halves as JSON Web Keys (RFC 7517).

use std::{io, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine, engine::general_purpose::STANDARD as BASE64, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL,
};
use crds::{secret::Secret, signing::SigningKey, v1alpha1::SigningAlgorithm};
use pkcs1::{RsaPublicKey, der::Decode};
use serde_json::{Value, json};

/// A pair of ours.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The private half as PKCS#8 in DER.
    pub(super) private: Secret,
    /// What signs with it.
    pub(super) key: Arc<SigningKey>,
    /// The public half, with `kid`, `alg` and `use`.
    pub(super) jwk: Value,
    /// When it was made, in seconds since the Unix epoch.
    pub(super) made: i64,
}

impl Pair {
    /// A new one. RSA takes a moment.
    pub(super) fn generate(algorithm: SigningAlgorithm, made: i64) -> io::Result<Self> {
        let failed = |_| io::Error::other("a key pair could not be made");
        let der = match algorithm {
            SigningAlgorithm::RS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?.as_ref().to_vec()
            }
            SigningAlgorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()
            }
            SigningAlgorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()
            }
            SigningAlgorithm::HS256 | SigningAlgorithm::HS384 | SigningAlgorithm::HS512 => {
                return Err(io::Error::other("a shared secret has no public half"));
            }
        };
        Self::restore(algorithm, &der, made)
    }

    /// One that was made before.
    pub(super) fn restore(algorithm: SigningAlgorithm, der: &[u8], made: i64) -> io::Result<Self> {
        let unfit = || io::Error::new(io::ErrorKind::InvalidData, "it is no key of this algorithm");
        let mut jwk = public(algorithm, der).ok_or_else(unfit)?;
        let id = thumbprint(&jwk);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der));
        let key = SigningKey::parse(algorithm, pem.as_bytes()).map_err(|_| unfit())?.with_key_id(Some(&id));
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".to_owned(), id.into());
            members.insert("alg".to_owned(), name(algorithm).into());
            members.insert("use".to_owned(), "sig".into());
        }
        Ok(Self { private: Secret::new(der), key: Arc::new(key), jwk, made })
    }
}

/// The name of the registry (RFC 7518 section 3.1).
pub(super) const fn name(algorithm: SigningAlgorithm) -> &'static str {
    match algorithm {
        SigningAlgorithm::HS256 => "HS256",
        SigningAlgorithm::HS384 => "HS384",
        SigningAlgorithm::HS512 => "HS512",
        SigningAlgorithm::RS256 => "RS256",
        SigningAlgorithm::ES256 => "ES256",
        SigningAlgorithm::EdDSA => "EdDSA",
    }
}

/// The required members of the public half, and no other.
fn public(algorithm: SigningAlgorithm, der: &[u8]) -> Option<Value> {
    let base64url = |bytes: &[u8]| BASE64URL.encode(bytes);
    match algorithm {
        SigningAlgorithm::RS256 => {
            let pair = RsaKeyPair::from_pkcs8(der).ok()?;
            let public = RsaPublicKey::from_der(pair.public_key().as_ref()).ok()?;
            let number = |number: pkcs1::UintRef<'_>| base64url(number.as_bytes());
            Some(json!({"kty": "RSA", "n": number(public.modulus), "e": number(public.public_exponent)}))
        }
        SigningAlgorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
            // Uncompressed point (SEC 1 section 2.3.3): 4, x, y.
            let point = pair.public_key().as_ref().strip_prefix(&[4])?;
            let (x, y) = point.split_at_checked(32).filter(|(_, y)| y.len() == 32)?;
            Some(json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)}))
        }
        SigningAlgorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
            Some(json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}))
        }
        SigningAlgorithm::HS256 | SigningAlgorithm::HS384 | SigningAlgorithm::HS512 => None,
    }
}

/// RFC 7638: members in the order of their names, without blanks, which is how a map is written here.
fn thumbprint(jwk: &Value) -> String {
    BASE64URL.encode(digest(&SHA256, jwk.to_string().as_bytes()))
}
