//! Keys that stand in Secrets: each verifies exactly one algorithm (RFC 8725 section 3.1).
//!
//! Owns what may be such a key, and the choice among several. Must never use a public key as a shared secret, whatever its form, and never
//! show a secret.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest::{Context, SHA256},
    hmac,
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{KeySet, KeySetError, VerifyingKey, looks_private, pem};
use crate::algorithm::{Algorithm, HmacAlgorithm, KeyAlgorithm, KeyFamily};

/// How many keys one entry may hold for its algorithm: a token may make us try all of them.
pub const MAX_KEYS_PER_ENTRY: usize = 4;

/// The keys of one authenticator, in order of trial.
pub struct StaticKeys {
    keys: Box<[StaticKey]>,
    /// Algorithms of entries that are not there, or not fit.
    missing: Box<[KeyAlgorithm]>,
    version: u64,
}

/// One key.
#[derive(Clone)]
pub struct StaticKey {
    algorithm: KeyAlgorithm,
    material: Material,
    fingerprint: [u8; 32],
}

#[derive(Clone)]
enum Material {
    Hmac(Arc<hmac::Key>),
    Public(VerifyingKey),
}

/// Why an entry is no key. Says what to do, and nothing of the entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticKeyError {
    /// Too short a secret.
    #[error("has {have} bytes; {algorithm} needs at least {need}, such as from `openssl rand -base64 {need}`", algorithm = .algorithm.as_str())]
    Weak {
        /// For this algorithm.
        algorithm: KeyAlgorithm,
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// A private key in place of a public one.
    #[error(
        "holds a private key; keep that where tokens are signed, and store its public half here, such as from `openssl pkey -pubout`"
    )]
    Private,
    /// A private key in place of a shared secret.
    #[error(
        "holds a private key, which is no shared secret; set the algorithm it is made for, and store its public half"
    )]
    PrivateAsSecret,
    /// A public key in place of a shared secret: everybody could sign.
    #[error(
        "holds a public key or certificate, which everybody may know; for an HMAC algorithm store a shared secret, else set the algorithm of the key"
    )]
    PublicAsSecret,
    /// A JWK in place of a shared secret.
    #[error("holds a JWK; for an HMAC algorithm store the bytes of the shared secret themselves")]
    JwkAsSecret,
    /// PEM that is no public key; fixed words.
    #[error("{0}")]
    Pem(&'static str),
    /// JSON that is no JWK or JWK Set of public keys.
    #[error("{0}")]
    Jwk(#[from] KeySetError),
    /// Something else.
    #[error("is neither PEM (`-----BEGIN PUBLIC KEY-----`) nor a JWK or JWK Set")]
    Unknown,
    /// A key of another kind, or one that is pinned to another algorithm.
    #[error("holds no key that permits {}; set the algorithm of the key", .0.as_str())]
    OtherAlgorithm(KeyAlgorithm),
    /// Too many.
    #[error("holds more than {MAX_KEYS_PER_ENTRY} keys that permit {}; give each an entry of its own", .0.as_str())]
    TooMany(KeyAlgorithm),
}

// === impl StaticKey ===

impl StaticKey {
    /// The keys of one entry: one, or several if it is a JWK Set.
    pub fn read(algorithm: KeyAlgorithm, content: &[u8]) -> Result<Vec<Self>, StaticKeyError> {
        match algorithm.family() {
            KeyFamily::Hmac(hmac) => Self::hmac(algorithm, hmac, content).map(|key| vec![key]),
            KeyFamily::Public(public) => {
                let keys: Vec<_> =
                    public_keys(public, content)?.into_iter().filter(|key| key.permits(public)).collect();
                match keys.len() {
                    0 => Err(StaticKeyError::OtherAlgorithm(algorithm)),
                    1..=MAX_KEYS_PER_ENTRY => Ok(keys.into_iter().map(|key| Self::public(algorithm, key)).collect()),
                    _ => Err(StaticKeyError::TooMany(algorithm)),
                }
            }
        }
    }

    fn hmac(algorithm: KeyAlgorithm, hmac: HmacAlgorithm, secret: &[u8]) -> Result<Self, StaticKeyError> {
        // The classic confusion: a published key as HMAC secret lets everybody sign.
        let is_jwk = json_object(secret).is_some_and(|jwk| jwk.contains_key("kty") || jwk.contains_key("keys"));
        match (holds_pem(secret), is_jwk) {
            // A private key with a damaged first line is one still.
            (true, _) | (_, false) if looks_private(secret) => return Err(StaticKeyError::PrivateAsSecret),
            (true, _) => return Err(StaticKeyError::PublicAsSecret),
            (false, true) => return Err(StaticKeyError::JwkAsSecret),
            (false, false) if pem::is_public_key(secret) => return Err(StaticKeyError::PublicAsSecret),
            (false, false) => {}
        }
        let (have, need) = (secret.len(), hmac.min_secret_bytes());
        if have < need {
            return Err(StaticKeyError::Weak { algorithm, have, need });
        }
        let digest = match hmac {
            HmacAlgorithm::HS256 => hmac::HMAC_SHA256,
            HmacAlgorithm::HS384 => hmac::HMAC_SHA384,
            HmacAlgorithm::HS512 => hmac::HMAC_SHA512,
        };
        let fingerprint = fingerprint(algorithm, secret);
        Ok(Self { algorithm, material: Material::Hmac(Arc::new(hmac::Key::new(digest, secret))), fingerprint })
    }

    fn public(algorithm: KeyAlgorithm, key: VerifyingKey) -> Self {
        let fingerprint = fingerprint(algorithm, &key.fingerprint());
        Self { algorithm, material: Material::Public(key), fingerprint }
    }

    /// The one algorithm it verifies.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The `kid` of a JWK; keys in other forms have none.
    pub fn kid(&self) -> Option<&str> {
        match &self.material {
            Material::Hmac(_) => None,
            Material::Public(key) => key.kid(),
        }
    }

    /// Whether the signature over exactly these bytes is this key's. HMACs are compared in constant time.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, self.algorithm.family()) {
            (Material::Hmac(key), KeyFamily::Hmac(_)) => hmac::verify(key, message, signature).is_ok(),
            (Material::Public(key), KeyFamily::Public(algorithm)) => key.verify(algorithm, message, signature),
            // Never made: `read` pairs material and family.
            (Material::Hmac(_), KeyFamily::Public(_)) | (Material::Public(_), KeyFamily::Hmac(_)) => false,
        }
    }
}

fn public_keys(algorithm: Algorithm, content: &[u8]) -> Result<Vec<VerifyingKey>, StaticKeyError> {
    if looks_private(content) {
        return Err(StaticKeyError::Private);
    }
    if holds_pem(content) {
        return pem::read(content, algorithm).map(|key| vec![key]).map_err(StaticKeyError::Pem);
    }
    let Some(object) = json_object(content) else { return Err(StaticKeyError::Unknown) };
    // One JWK stands for a set of one.
    let set = if object.contains_key("keys") { content.to_vec() } else { [br#"{"keys":["#, content, b"]}"].concat() };
    Ok(KeySet::parse(&set)?.keys().to_vec())
}

fn holds_pem(content: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    content.windows(BEGIN.len()).any(|window| window == BEGIN)
}

fn json_object(content: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(content).ok()
}

fn fingerprint(algorithm: KeyAlgorithm, material: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(algorithm.as_str().as_bytes());
    context.update(b"\n");
    context.update(material);
    crate::digest::finish(context)
}

// === impl StaticKeys ===

impl StaticKeys {
    /// From what is there; `missing` names the algorithm of each entry that is not.
    pub fn new(keys: Vec<StaticKey>, missing: Vec<KeyAlgorithm>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in keys.iter().map(|key| &key.fingerprint[..]).chain(missing.iter().map(|one| one.as_str().as_bytes()))
        {
            context.update(part);
        }
        let version = crate::digest::short(context.finish().as_ref());
        Self { keys: keys.into(), missing: missing.into(), version }
    }

    /// Keys that may have made a signature of this algorithm, in order. A `kid` only ever excludes: keys without one are tried whatever the
    /// token says, because secrets have no names (contract, section 6).
    pub fn candidates<'a>(&'a self, algorithm: &'a str, kid: Option<&'a str>) -> impl Iterator<Item = &'a StaticKey> {
        let names_another = move |key: &StaticKey| matches!((kid, key.kid()), (Some(kid), Some(own)) if kid != own);
        self.keys.iter().filter(move |key| key.algorithm.as_str() == algorithm && !names_another(key))
    }

    /// Whether any key, there or not, is for this algorithm.
    pub fn knows(&self, algorithm: &str) -> bool {
        self.keys.iter().any(|key| key.algorithm.as_str() == algorithm) || self.lacks(algorithm)
    }

    /// Whether a key of this algorithm should be there and is not.
    pub fn lacks(&self, algorithm: &str) -> bool {
        self.missing.iter().any(|one| one.as_str() == algorithm)
    }

    /// Changes whenever the keys do. Not shown: with it, a guessed secret could be confirmed.
    pub const fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.keys.iter().map(|key| key.algorithm).collect();
        formatter
            .debug_struct("StaticKeys")
            .field("keys", &algorithms)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StaticKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Serialize for StaticKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("StaticKeys", 2)?;
        shown.serialize_field("keys", &self.keys.iter().map(|key| key.algorithm).collect::<Vec<_>>())?;
        shown.serialize_field("missing", &self.missing)?;
        shown.end()
    }
}
