//! Public keys in PEM (RFC 7468 section 13, and the older PKCS #1 form), turned into the JWK that says the same.
//!
//! Owns the two forms only: whether a key is fit to verify with is decided where every other key is judged, in [`super::jwk`].

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use pkcs1::RsaPublicKeyRef;
use serde_json::{Map, Value};
use spki::{
    ObjectIdentifier, SubjectPublicKeyInfoRef,
    der::{Decode, pem},
};

use super::{VerifyingKey, jwk};
use crate::algorithm::Algorithm;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

const NO_KEY: &str = "is PEM, and what it holds is no public key";

/// The key, pinned to the algorithm; or fixed words about why there is none.
pub(super) fn read(content: &[u8], algorithm: Algorithm) -> Result<VerifyingKey, &'static str> {
    let text = std::str::from_utf8(content).map_err(|_| "is PEM with bytes that are not text")?;
    let (label, der) = pem::decode_vec(text.trim().as_bytes())
        .map_err(|_| "is PEM that cannot be read; it must be one block with nothing around it")?;
    let mut key = match label {
        "PUBLIC KEY" => subject_public_key(&der)?,
        "RSA PUBLIC KEY" => rsa(&der)?,
        "CERTIFICATE" => return Err("is a certificate; store its public key, from `openssl x509 -pubkey -noout`"),
        _ => return Err("is PEM of another kind; it must be `PUBLIC KEY` or `RSA PUBLIC KEY`"),
    };
    key.insert("alg".to_owned(), algorithm.as_str().into());
    jwk::read(&key)
}

/// Whether these bytes are a public key in a form other than text in PEM: DER, or a line of `authorized_keys`.
pub(super) fn is_public_key(content: &[u8]) -> bool {
    const LINES: [&[u8]; 3] = [b"ssh-", b"ecdsa-sha2-", b"sk-ssh-"];
    let is_der = SubjectPublicKeyInfoRef::from_der(content).is_ok() || RsaPublicKeyRef::from_der(content).is_ok();
    is_der || LINES.iter().any(|line| content.starts_with(line))
}

fn subject_public_key(der: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| NO_KEY)?;
    let bits = info.subject_public_key.as_bytes().ok_or(NO_KEY)?;
    if info.algorithm.oid == RSA {
        return rsa(bits);
    }
    if info.algorithm.oid == ED25519 {
        return Ok(members([("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", BASE64URL.encode(bits))]));
    }
    if info.algorithm.oid != EC {
        return Err(
            "is a public key of a kind this build does not verify with; use RSA, P-256, P-384, P-521 or Ed25519",
        );
    }
    let curve = match info.algorithm.parameters_oid() {
        Ok(P256) => "P-256",
        Ok(P384) => "P-384",
        Ok(P521) => "P-521",
        _ => return Err("is a key on a curve this build does not verify with; use P-256, P-384 or P-521"),
    };
    // SEC 1 section 2.3.3: 4 and the two coordinates.
    let [4, point @ ..] = bits else {
        return Err("is a compressed point; write it with `openssl ec -pubin -conv_form uncompressed`");
    };
    let (x, y) = point.split_at(point.len() / 2);
    let [x, y] = [x, y].map(|one| BASE64URL.encode(one));
    Ok(members([("kty", "EC".to_owned()), ("crv", curve.to_owned()), ("x", x), ("y", y)]))
}

fn rsa(der: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let key = RsaPublicKeyRef::from_der(der).map_err(|_| NO_KEY)?;
    let (modulus, exponent) =
        (BASE64URL.encode(key.modulus.as_bytes()), BASE64URL.encode(key.public_exponent.as_bytes()));
    Ok(members([("kty", "RSA".to_owned()), ("n", modulus), ("e", exponent)]))
}

fn members<const N: usize>(members: [(&str, String); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}
