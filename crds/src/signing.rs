//! Keys that sign tokens of ours. Owns the check of a key and the one use of it; the key itself is never shown and never leaves.

use std::fmt;

use jsonwebtoken::{EncodingKey, Header};
use serde::{Serialize, Serializer};

use crate::v1alpha1::SigningAlgorithm;

/// A key that is fit for its algorithm: it has signed once.
#[derive(Clone)]
pub struct SigningKey {
    header: Header,
    key: EncodingKey,
}

/// Why bytes are no key for an algorithm. Nothing of them is in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSigningKey {
    /// RFC 7518 section 3.2: a key shorter than the digest weakens it.
    #[error("has {bytes} bytes; {algorithm:?} needs at least {least}, such as from `openssl rand -base64 64`")]
    Weak {
        /// Its length.
        bytes: usize,
        /// The least.
        least: usize,
        /// The algorithm.
        algorithm: SigningAlgorithm,
    },
    /// Another key, or none.
    #[error(
        "is no private key for {0:?}; give one as PKCS#8 in PEM, `-----BEGIN PRIVATE KEY-----`, such as from `openssl genpkey`"
    )]
    Unfit(SigningAlgorithm),
}

// === impl SigningKey ===

impl SigningKey {
    /// Takes the bytes of a Secret in.
    pub fn parse(algorithm: SigningAlgorithm, bytes: &[u8]) -> Result<Self, BadSigningKey> {
        let unfit = || BadSigningKey::Unfit(algorithm);
        let hmac = |least: usize| match bytes.len() {
            short if short < least => Err(BadSigningKey::Weak { bytes: short, least, algorithm }),
            _ => Ok(EncodingKey::from_secret(bytes)),
        };
        let (name, key) = match algorithm {
            SigningAlgorithm::HS256 => (jsonwebtoken::Algorithm::HS256, hmac(32)?),
            SigningAlgorithm::HS384 => (jsonwebtoken::Algorithm::HS384, hmac(48)?),
            SigningAlgorithm::HS512 => (jsonwebtoken::Algorithm::HS512, hmac(64)?),
            SigningAlgorithm::RS256 => {
                (jsonwebtoken::Algorithm::RS256, EncodingKey::from_rsa_pem(bytes).map_err(|_| unfit())?)
            }
            SigningAlgorithm::ES256 => {
                (jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_pem(bytes).map_err(|_| unfit())?)
            }
            SigningAlgorithm::EdDSA => {
                (jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_pem(bytes).map_err(|_| unfit())?)
            }
        };
        let key = Self { header: Header::new(name), key };
        // The library looks at a key only when it signs: a wrong curve or a short modulus is found here, not at the first request.
        key.sign(&serde_json::Map::new()).map(|_| key).ok_or_else(unfit)
    }

    /// The key of a PEM that says itself what it is: RSA, P-256 or Ed25519. `None`: none of them.
    pub fn private(bytes: &[u8]) -> Option<Self> {
        let kinds = [SigningAlgorithm::ES256, SigningAlgorithm::EdDSA, SigningAlgorithm::RS256];
        kinds.into_iter().find_map(|algorithm| Self::parse(algorithm, bytes).ok())
    }

    /// The same key under a `kid`.
    #[must_use]
    pub fn with_key_id(mut self, id: Option<&str>) -> Self {
        self.header.kid = id.map(str::to_owned);
        self
    }

    /// A token with these claims; `None` where signing fails, which a key that was parsed does not.
    pub fn sign(&self, claims: &serde_json::Map<String, serde_json::Value>) -> Option<String> {
        jsonwebtoken::encode(&self.header, claims, &self.key).ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({:?})", self.header.alg)
    }
}

/// The algorithm alone.
impl Serialize for SigningKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.header.alg.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rsa::{KeyPair as RsaKeyPair, KeySize},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
    };
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes()
    }

    fn private(der: &[u8]) -> Vec<u8> {
        pem("PRIVATE KEY", der)
    }

    #[test]
    fn keys_are_fit_or_refused() {
        let p256 =
            private(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref());
        let p384 =
            private(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref());
        let ed25519 = private(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref());
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa = private(AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref());
        let public = pem("PUBLIC KEY", &[0x30, 0]);
        let all = [
            ("p256", p256),
            ("p384", p384),
            ("ed25519", ed25519),
            ("rsa", rsa),
            ("public", public),
            ("text", b"secret".to_vec()),
        ];
        for (algorithm, fit) in
            [(SigningAlgorithm::ES256, "p256"), (SigningAlgorithm::EdDSA, "ed25519"), (SigningAlgorithm::RS256, "rsa")]
        {
            for (name, bytes) in &all {
                let parsed = SigningKey::parse(algorithm, bytes);
                assert_eq!(parsed.is_ok(), *name == fit, "{algorithm:?} {name} {parsed:?}");
            }
        }
    }

    #[test]
    fn symmetric_keys_are_as_long_as_the_digest() {
        for (algorithm, least) in
            [(SigningAlgorithm::HS256, 32), (SigningAlgorithm::HS384, 48), (SigningAlgorithm::HS512, 64)]
        {
            assert!(SigningKey::parse(algorithm, &vec![b'k'; least]).is_ok());
            let weak = SigningKey::parse(algorithm, &vec![b'k'; least - 1]).unwrap_err();
            assert_eq!(weak, BadSigningKey::Weak { bytes: least - 1, least, algorithm });
            assert!(!weak.to_string().contains("kk"));
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let key = SigningKey::parse(SigningAlgorithm::HS256, &[b'k'; 40]).unwrap();
        assert_eq!(format!("{key:?} {}", serde_json::to_string(&key).unwrap()), "SigningKey(HS256) \"HS256\"");
    }
}
