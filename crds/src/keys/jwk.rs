//! One JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2) to one checked key, or the reason why not.
//!
//! Reads the parameters of the key alone: `x5c` and its relatives are somebody else's claim about the key and are never looked at.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
        VerificationAlgorithm,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Value};

use super::{KeyType, VerifyingKey, private, rsa};
use crate::algorithm::Algorithm;

/// The longest `kid` kept, in bytes.
pub const MAX_KID_BYTES: usize = 256;

/// Encodings of the points of small order: with one of them as key, one signature fits every message. The bit that holds the sign of
/// x is clear in all of them and ignored in the comparison. In order: y = 0, 1, the two of order eight, p - 1, p and p + 1.
const ED25519_SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    edge(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    edge(0xec, 0xff, 0x7f),
    edge(0xed, 0xff, 0x7f),
    edge(0xee, 0xff, 0x7f),
];

/// The public parameters, as bytes that have been checked.
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: KeyType, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

/// The key of an entry, or why there is none.
pub(super) fn read(jwk: &Map<String, Value>) -> Result<VerifyingKey, &'static str> {
    if private::is_private(jwk) {
        return Err("holds a private or symmetric key");
    }
    permit_use(jwk)?;
    let kid = kid(jwk)?;
    let material = Material::read(jwk)?;
    let algorithms = match pinned(jwk)? {
        None => material.key_type().algorithms().to_vec(),
        Some(own) if material.key_type().algorithms().contains(&own) => vec![own],
        Some(_) => return Err("`alg` does not fit the type of the key"),
    };
    let verifiers = algorithms
        .into_iter()
        .map(|one| Ok((one, material.parse(one)?)))
        .collect::<Result<Box<[_]>, &'static str>>()?;
    Ok(VerifyingKey::new(kid.map(Into::into), material.key_type(), material.thumbprint(), verifiers))
}

/// The `kid`, if it is usable as one.
pub(super) fn kid(jwk: &Map<String, Value>) -> Result<Option<&str>, &'static str> {
    match text(jwk, "kid", "`kid` is not text")? {
        Some("") => Err("`kid` is empty"),
        Some(kid) if kid.len() > MAX_KID_BYTES => Err("`kid` is over 256 bytes"),
        kid => Ok(kid),
    }
}

/// A key that says what it is for must say that it is for verifying.
fn permit_use(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    match text(jwk, "use", "`use` is not text")? {
        None | Some("sig") => {}
        Some(_) => return Err("`use` is not `sig`"),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(all)) if all.iter().any(|one| one == "verify") => Ok(()),
        Some(_) => Err("`key_ops` does not hold `verify`"),
    }
}

fn pinned(jwk: &Map<String, Value>) -> Result<Option<Algorithm>, &'static str> {
    text(jwk, "alg", "`alg` is not text")?
        .map(|name| Algorithm::from_name(name).ok_or("`alg` is not a signature algorithm of this build"))
        .transpose()
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str, otherwise: &'static str) -> Result<Option<&'a str>, &'static str> {
    jwk.get(name).map(|value| value.as_str().ok_or(otherwise)).transpose()
}

fn bytes(jwk: &Map<String, Value>, name: &str, otherwise: &'static str) -> Result<Vec<u8>, &'static str> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(otherwise)?;
    BASE64URL.decode(text).map_err(|_| otherwise)
}

// === impl Material ===

impl Material {
    fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let curve = jwk.get("crv").and_then(Value::as_str);
        match jwk.get("kty").and_then(Value::as_str) {
            Some("RSA") => Self::rsa(jwk),
            Some("EC") => match curve {
                Some("P-256") => Self::ec(jwk, KeyType::P256, 32),
                Some("P-384") => Self::ec(jwk, KeyType::P384, 48),
                Some("P-521") => Self::ec(jwk, KeyType::P521, 66),
                _ => Err("an EC curve this build does not verify with"),
            },
            Some("OKP") if curve == Some("Ed25519") => Self::ed25519(jwk),
            Some("OKP") => Err("an OKP curve other than Ed25519"),
            Some("oct") => Err("a symmetric key"),
            Some(_) => Err("a `kty` this build does not know"),
            None => Err("`kty` is missing or not text"),
        }
    }

    /// Leading zeros are against RFC 7518 section 6.3.1.1, widespread, and change no number.
    fn rsa(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let number = |name| {
            let mut number = bytes(jwk, name, "`n` or `e` is missing or not base64url")?;
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number.drain(..zeros);
            Ok::<_, &'static str>(number)
        };
        let (modulus, exponent) = (number("n")?, number("e")?);
        rsa::refuse(&modulus, &exponent).map_or(Ok(Self::Rsa { modulus, exponent }), Err)
    }

    /// Coordinates have the full length of the field (RFC 7518 section 6.2.1.2). Whether the point is on the curve is checked when
    /// it is parsed.
    fn ec(jwk: &Map<String, Value>, curve: KeyType, length: usize) -> Result<Self, &'static str> {
        let coordinate = |name| {
            let coordinate = bytes(jwk, name, "`x` or `y` is missing or not base64url")?;
            if coordinate.len() == length { Ok(coordinate) } else { Err("`x` or `y` has not the length of the curve") }
        };
        Ok(Self::Ec { curve, x: coordinate("x")?, y: coordinate("y")? })
    }

    fn ed25519(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let x = bytes(jwk, "x", "`x` is missing or not base64url")?;
        let mut point = <[u8; 32]>::try_from(x.as_slice()).map_err(|_| "`x` has not 32 bytes")?;
        if let Some(last) = point.last_mut() {
            *last &= 0x7f;
        }
        if ED25519_SMALL_ORDER.contains(&point) {
            return Err("an Ed25519 point of small order");
        }
        Ok(Self::Ed25519 { x })
    }

    fn key_type(&self) -> KeyType {
        match self {
            Self::Rsa { .. } => KeyType::Rsa,
            Self::Ec { curve, .. } => *curve,
            Self::Ed25519 { .. } => KeyType::Ed25519,
        }
    }

    fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, &'static str> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let parameters = rsa_parameters(algorithm).ok_or("`alg` does not fit the type of the key")?;
                let components = RsaPublicKeyComponents { n: modulus, e: exponent };
                components.to_parsed_public_key(parameters).map_err(|_| "not an RSA key")
            }
            Self::Ec { x, y, .. } => {
                // SEC 1 section 2.3.3: an uncompressed point.
                let point = [&[4], x.as_slice(), y].concat();
                let verification = other_verification(algorithm).ok_or("`alg` does not fit the type of the key")?;
                ParsedPublicKey::new(verification, point).map_err(|_| "not a point of the curve")
            }
            Self::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x).map_err(|_| "not an Ed25519 key"),
        }
    }

    /// RFC 7638 section 3: the required members in the order of their names, without blanks.
    fn thumbprint(&self) -> Box<str> {
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        let members = match self {
            Self::Rsa { modulus, exponent } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(exponent), encode(modulus))
            }
            Self::Ec { curve, x, y } => {
                let curve = match curve {
                    KeyType::P384 => "P-384",
                    KeyType::P521 => "P-521",
                    KeyType::P256 | KeyType::Rsa | KeyType::Ed25519 => "P-256",
                };
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        };
        encode(digest(&SHA256, members.as_bytes()).as_ref()).into()
    }
}

const fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA | Algorithm::Ed25519 => None,
    }
}

fn other_verification(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::ES512 => Some(&ECDSA_P521_SHA512_FIXED),
        Algorithm::EdDSA | Algorithm::Ed25519 => Some(&ED25519),
        _ => None,
    }
}

/// A little-endian number whose 30 middle bytes are the same.
const fn edge(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [head, .., tail] = &mut bytes;
    *head = first;
    *tail = last;
    bytes
}
