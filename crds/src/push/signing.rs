//! Keys of our own that sign tokens for upstreams, on the way to the data planes that sign.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{secret::Secret, v1alpha1::SigningAlgorithm};

/// Every key of ours. Serialising it writes private keys in the clear: only an authenticated and encrypted channel, or a sealed file, may
/// carry the result.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// The `iss` of what they sign: where upstreams find the public halves.
    pub issuer: Arc<str>,
    /// The keys.
    pub keys: Vec<OwnKey>,
}

/// One key pair.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnKey {
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// When it was made, in seconds since the Unix epoch.
    pub made: i64,
    /// The private half, PKCS#8 in DER.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub pkcs8: Secret,
}

/// How many, and nothing of them.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKeys({}, {} keys)", self.issuer, self.keys.len())
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "OwnKey({:?}, {})", self.algorithm, self.made)
    }
}

fn write<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    STANDARD.encode(secret.expose()).serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    // The text is not repeated: it is a secret.
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Secret::new).map_err(|_| D::Error::custom("a key is not base64"))
}
