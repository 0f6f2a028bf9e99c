//! One key, parsed and validated, with the algorithms it may verify.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::ParsedPublicKey,
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::algorithm::Algorithm;

/// A public key. Cloning shares it. Shows its name, type and algorithms and nothing else.
#[derive(Clone)]
pub struct VerifyingKey {
    inner: Arc<Inner>,
}

struct Inner {
    kid: Option<Box<str>>,
    key_type: KeyType,
    thumbprint: Box<str>,
    /// One parsed key for each algorithm: an RSA key without `alg` has six.
    verifiers: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// Kinds of key this build verifies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum KeyType {
    /// RSA (RFC 7518 section 6.3).
    #[serde(rename = "RSA")]
    Rsa,
    /// An elliptic curve key on P-256 (RFC 7518 section 6.2).
    #[serde(rename = "P-256")]
    P256,
    /// On P-384.
    #[serde(rename = "P-384")]
    P384,
    /// On P-521.
    #[serde(rename = "P-521")]
    P521,
    /// An Ed25519 key (RFC 8037 section 2).
    Ed25519,
}

// === impl KeyType ===

impl KeyType {
    /// What a key of this type may verify when its JWK names no algorithm.
    pub const fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm as A;
        match self {
            Self::Rsa => &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
            Self::P256 => &[A::ES256],
            Self::P384 => &[A::ES384],
            Self::P521 => &[A::ES512],
            Self::Ed25519 => &[A::EdDSA, A::Ed25519],
        }
    }
}

// === impl VerifyingKey ===

impl VerifyingKey {
    pub(super) fn new(
        kid: Option<Box<str>>,
        key_type: KeyType,
        thumbprint: Box<str>,
        verifiers: Box<[(Algorithm, ParsedPublicKey)]>,
    ) -> Self {
        Self { inner: Arc::new(Inner { kid, key_type, thumbprint, verifiers }) }
    }

    /// Whether the signature over exactly these bytes is this key's. False as well if the key does not permit the algorithm.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.inner.verifiers.iter().find(|(own, _)| *own == algorithm);
        verifier.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    /// The key's `kid` (RFC 7517 section 4.5).
    pub fn kid(&self) -> Option<&str> {
        self.inner.kid.as_deref()
    }

    /// What kind of key it is.
    pub fn key_type(&self) -> KeyType {
        self.inner.key_type
    }

    /// The algorithms it may verify, in the order of documentation.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.inner.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Whether it may verify this algorithm.
    pub fn permits(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|own| own == algorithm)
    }

    /// The base64url SHA-256 thumbprint of RFC 7638: names the key material whatever its `kid`.
    pub fn thumbprint(&self) -> &str {
        &self.inner.thumbprint
    }

    /// Covers everything a verdict can depend on: name, material and permitted algorithms. Each text stands in quotes, so no two
    /// different keys write the same.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut text = format!("{:?} {:?}", self.kid(), self.thumbprint());
        for algorithm in self.algorithms() {
            text.push(' ');
            text.push_str(algorithm.as_str());
        }
        crate::digest::array(&digest(&SHA256, text.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifyingKey")
            .field("kid", &self.kid())
            .field("type", &self.key_type())
            .field("algorithms", &self.algorithms().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("VerifyingKey", 4)?;
        shown.serialize_field("kid", &self.kid())?;
        shown.serialize_field("type", &self.key_type())?;
        shown.serialize_field("algorithms", &self.algorithms().collect::<Vec<_>>())?;
        shown.serialize_field("thumbprint", self.thumbprint())?;
        shown.end()
    }
}
