//! Signature algorithms a policy may list (RFC 7518 section 3.1, RFC 8037, RFC 9864). Owns their names; never their arithmetic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A JWS algorithm that verifies with a public key. `none` and the HMAC family are not members, so no list can name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519 under its RFC 8037 name.
    EdDSA,
    /// Ed25519 under its fully specified RFC 9864 name.
    Ed25519,
}

impl Algorithm {
    /// Every algorithm this build verifies, in the order of documentation.
    pub const ALL: [Self; 11] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
        Self::Ed25519,
    ];

    /// What an authenticator accepts when it lists nothing.
    pub const DEFAULT: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// The registered name, compared case-sensitively as RFC 7515 section 4.1.1 demands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm of exactly this name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// What a key that stands in a Secret may verify: one algorithm. A type of its own, so that no list of an issuer's algorithms can ever
/// name a symmetric one (RFC 8725 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = without_description)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// As in [`Algorithm`].
    RS256,
    /// As in [`Algorithm`].
    RS384,
    /// As in [`Algorithm`].
    RS512,
    /// As in [`Algorithm`].
    PS256,
    /// As in [`Algorithm`].
    PS384,
    /// As in [`Algorithm`].
    PS512,
    /// As in [`Algorithm`].
    ES256,
    /// As in [`Algorithm`].
    ES384,
    /// As in [`Algorithm`].
    ES512,
    /// As in [`Algorithm`].
    EdDSA,
    /// As in [`Algorithm`].
    Ed25519,
}

/// The symmetric algorithms (RFC 7518 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

/// What a key algorithm needs: a shared secret or a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFamily {
    /// A shared secret.
    Hmac(HmacAlgorithm),
    /// A public key.
    Public(Algorithm),
}

// === impl KeyAlgorithm ===

impl KeyAlgorithm {
    /// What it needs.
    pub const fn family(self) -> KeyFamily {
        match self {
            Self::HS256 => KeyFamily::Hmac(HmacAlgorithm::HS256),
            Self::HS384 => KeyFamily::Hmac(HmacAlgorithm::HS384),
            Self::HS512 => KeyFamily::Hmac(HmacAlgorithm::HS512),
            Self::RS256 => KeyFamily::Public(Algorithm::RS256),
            Self::RS384 => KeyFamily::Public(Algorithm::RS384),
            Self::RS512 => KeyFamily::Public(Algorithm::RS512),
            Self::PS256 => KeyFamily::Public(Algorithm::PS256),
            Self::PS384 => KeyFamily::Public(Algorithm::PS384),
            Self::PS512 => KeyFamily::Public(Algorithm::PS512),
            Self::ES256 => KeyFamily::Public(Algorithm::ES256),
            Self::ES384 => KeyFamily::Public(Algorithm::ES384),
            Self::ES512 => KeyFamily::Public(Algorithm::ES512),
            Self::EdDSA => KeyFamily::Public(Algorithm::EdDSA),
            Self::Ed25519 => KeyFamily::Public(Algorithm::Ed25519),
        }
    }

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self.family() {
            KeyFamily::Hmac(HmacAlgorithm::HS256) => "HS256",
            KeyFamily::Hmac(HmacAlgorithm::HS384) => "HS384",
            KeyFamily::Hmac(HmacAlgorithm::HS512) => "HS512",
            KeyFamily::Public(algorithm) => algorithm.as_str(),
        }
    }
}

// === impl HmacAlgorithm ===

impl HmacAlgorithm {
    /// The shortest secret: the length of the digest (RFC 7518 section 3.2).
    pub const fn min_secret_bytes(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }
}

/// The description of the field stays instead of that of the type.
fn without_description(schema: &mut schemars::Schema) {
    schema.remove("description");
}
