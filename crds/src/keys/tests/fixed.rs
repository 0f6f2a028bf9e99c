//! Keys that stand in Secrets: every form that is taken verifies, and every form that is not is refused with the reason a person needs.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, KeyPair,
        RSA_PKCS1_SHA256, RSA_PSS_SHA512,
    },
};
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    algorithm::KeyAlgorithm::{self, *},
    keys::{StaticKey, StaticKeyError, StaticKeys},
};

const SECP256K1: &str = "\
-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEKaFNFi9yB/jywl9fHeDEfQvor7EnJcLf
l1WML0NkIM5yH+cEdxAWbNcYfDMXbmv4lxGJGr91YJEzYzDB1VFuLw==
-----END PUBLIC KEY-----";
const X25519: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEA57rDoRLGCEedHsSYJnI+5jXQ4NEB55jgswyXCECbhx8=
-----END PUBLIC KEY-----";
const COMPRESSED: &str = "\
-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADJ4zSRuGGi8/40tgbRKucEQXp6Ivi
PoFVCmHiWTgyjxU=
-----END PUBLIC KEY-----";
const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD4IyAkE3IX7K11GJ2HU6CmI0rm
YTeyGrfxDN6VT+Sa7q9qfpnnTkiAg/M8VKT293ILW4VIs3F8hzOqVhFuMPiTBXOT
ft2IsWHsYTrLKlm7S1BUSAlA3MzdAO+Bc28CkjBLG3dJpS7V95QuDMxo+RjgRIc+
a3fi7YDHamTaagG6JQIDAQAB
-----END PUBLIC KEY-----";

const MESSAGE: &[u8] = b"header.payload";

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn spki(der: Result<PublicKeyX509Der<'_>, aws_lc_rs::error::Unspecified>) -> String {
    pem("PUBLIC KEY", der.unwrap().as_ref())
}

fn rsa_signature(encoding: &'static dyn aws_lc_rs::signature::RsaEncoding) -> Vec<u8> {
    let mut signature = vec![0; RSA.public_modulus_len()];
    RSA.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
    signature
}

/// Whether the only key of the entry made this signature, and none of another message.
fn verifies(algorithm: KeyAlgorithm, content: &str, signature: &[u8]) -> bool {
    let keys = StaticKey::read(algorithm, content.as_bytes()).unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(!key.verify(b"header.other", signature), "{algorithm:?}");
    key.verify(MESSAGE, signature)
}

#[test]
fn every_form_of_a_public_key_verifies() {
    let pkcs1 = rsa_signature(&RSA_PKCS1_SHA256);
    assert!(verifies(RS256, &spki(RSA.public_key().as_der()), &pkcs1));
    assert!(verifies(RS256, &pem("RSA PUBLIC KEY", RSA.public_key().as_ref()), &pkcs1));
    assert!(verifies(RS256, &rsa().to_string(), &pkcs1), "a JWK");
    assert!(verifies(RS256, &json!({"keys": [rsa(), p256()]}).to_string(), &pkcs1), "a set");
    assert!(!verifies(RS384, &spki(RSA.public_key().as_der()), &pkcs1), "one key, one algorithm");
    assert!(!verifies(PS256, &spki(RSA.public_key().as_der()), &pkcs1));
    assert!(
        verifies(PS512, &format!("\n{}\n", spki(RSA.public_key().as_der())), &rsa_signature(&RSA_PSS_SHA512)),
        "blanks around it"
    );
    for (algorithm, signing, curve) in [
        (ES256, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        (ES384, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
        (ES512, &ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
    ] {
        let (pair, jwk) = ec(signing, curve);
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        assert!(verifies(algorithm, &spki(pair.public_key().as_der()), signature.as_ref()), "{curve}");
        assert!(verifies(algorithm, &jwk.to_string(), signature.as_ref()), "{curve}");
    }
    let (pair, jwk) = ed25519();
    let signature = pair.sign(MESSAGE);
    assert!(verifies(EdDSA, &spki(pair.public_key().as_der()), signature.as_ref()));
    assert!(verifies(Ed25519, &jwk.to_string(), signature.as_ref()));
}

#[test]
fn a_shared_secret_verifies_its_own_algorithm() {
    for (algorithm, digest, length) in
        [(HS256, hmac::HMAC_SHA256, 32), (HS384, hmac::HMAC_SHA384, 48), (HS512, hmac::HMAC_SHA512, 64)]
    {
        let secret = "s".repeat(length);
        let tag = hmac::sign(&hmac::Key::new(digest, secret.as_bytes()), MESSAGE);
        assert!(verifies(algorithm, &secret, tag.as_ref()));
        assert!(!verifies(algorithm, &secret, &tag.as_ref()[..16]), "a truncated tag");
        assert!(!verifies(algorithm, &format!("{secret}\n"), tag.as_ref()), "every byte of the secret counts");
        let short = StaticKey::read(algorithm, &secret.as_bytes()[1..]).unwrap_err();
        assert_eq!(short, StaticKeyError::Weak { algorithm, have: length - 1, need: length });
    }
}

#[test]
fn what_is_no_key_says_what_to_do() {
    let public = spki(RSA.public_key().as_der());
    let private = pem("PRIVATE KEY", &[0; 48]);
    let oct = json!({"kty": "oct", "k": "c2VjcmV0"});
    let many = json!({"keys": (0..5).map(|_| p256()).collect::<Vec<_>>()});
    for (algorithm, content, hint) in [
        // A published key as shared secret would let everybody sign.
        (HS256, public.as_str(), "public key or certificate"),
        (HS512, &pem("CERTIFICATE", &[0; 90]), "public key or certificate"),
        (HS256, &private, "private key, which is no shared secret"),
        (HS256, &private.replace("BEGIN", "BEGN"), "private key, which is no shared secret"),
        (HS256, &rsa().to_string(), "JWK"),
        (HS256, &json!({"keys": [rsa()]}).to_string(), "JWK"),
        (HS256, &with(oct.clone(), json!({"alg": "HS256"})).to_string(), "the bytes of the shared secret themselves"),
        (RS256, &private, "public half"),
        (RS256, &pem("RSA PRIVATE KEY", &[0; 48]), "public half"),
        (ES256, &pem("EC PRIVATE KEY", &[0; 48]), "public half"),
        (ES256, &pem("ENCRYPTED PRIVATE KEY", &[0; 48]), "public half"),
        (RS256, &format!("{public}{private}"), "public half"),
        (RS256, &with(rsa(), json!({"d": "AQAB"})).to_string(), "public half"),
        (RS256, &json!({"keys": [rsa(), with(rsa(), json!({"d": "AQAB"}))]}).to_string(), "public half"),
        (RS256, &oct.to_string(), "public half"),
        (RS256, &pem("CERTIFICATE", &[0; 90]), "openssl x509 -pubkey"),
        (RS256, &pem("OPENSSH KEY", &[0; 90]), "another kind"),
        (RS256, "-----BEGIN PUBLIC KEY-----\nnot base64!\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (RS256, &pem("PUBLIC KEY", &[0; 90]), "no public key"),
        (RS256, &pem("RSA PUBLIC KEY", &[0; 90]), "no public key"),
        (RS256, &format!("{public}{public}"), "one block"),
        (RS256, RSA_1024, "under 2048 bits"),
        (ES256, SECP256K1, "curve this build does not verify with"),
        (EdDSA, X25519, "kind this build does not verify with"),
        (ES256, COMPRESSED, "compressed point"),
        (ES256, &public, "does not fit"),
        (ES384, &p256().to_string(), "permits ES384"),
        (RS256, &with(rsa(), json!({"alg": "PS256"})).to_string(), "permits RS256"),
        (ES256, &many.to_string(), "more than 4"),
        (RS256, "ssh-rsa AAAA", "neither PEM"),
        (RS256, "[]", "neither PEM"),
        (RS256, "", "neither PEM"),
    ] {
        match StaticKey::read(algorithm, content.as_bytes()) {
            Ok(keys) => panic!("{algorithm:?} {content}: {keys:?}"),
            Err(error) => assert!(error.to_string().contains(hint), "{algorithm:?} {content}: {error}"),
        }
    }
}

#[test]
fn a_public_key_in_bytes_is_no_shared_secret_either() {
    let spki: PublicKeyX509Der<'_> = RSA.public_key().as_der().unwrap();
    for content in [spki.as_ref(), RSA.public_key().as_ref(), b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJrD0kD0"] {
        assert_eq!(StaticKey::read(HS256, content).unwrap_err(), StaticKeyError::PublicAsSecret);
    }
}

#[test]
fn candidates_are_those_of_the_algorithm_and_a_kid_only_excludes() {
    let read = |algorithm, content: String| StaticKey::read(algorithm, content.as_bytes()).unwrap();
    let named = |kid: &str| with(p256(), json!({"kid": kid})).to_string();
    let keys = [
        read(ES256, named("a")),
        read(ES256, named("b")),
        read(ES256, p256().to_string()),
        read(HS256, "s".repeat(32)),
    ]
    .concat();
    let keys = StaticKeys::new(keys, vec![RS256]);
    for (algorithm, kid, count) in [
        ("ES256", None, 3),
        ("ES256", Some("a"), 2),
        ("ES256", Some("other"), 1),
        ("HS256", Some("other"), 1),
        ("HS256", None, 1),
        ("RS256", None, 0),
        ("hs256", None, 0),
        ("none", None, 0),
    ] {
        assert_eq!(keys.candidates(algorithm, kid).count(), count, "{algorithm} {kid:?}");
    }
    assert!(
        keys.knows("RS256")
            && keys.lacks("RS256")
            && keys.knows("ES256")
            && !keys.lacks("ES256")
            && !keys.knows("PS256")
    );
}

#[test]
fn the_version_follows_keys_order_and_gaps_and_nothing_shows_a_secret() {
    let read = |content: &str| StaticKey::read(HS256, content.as_bytes()).unwrap();
    let (one, other) = ("canary-secret-of-at-least-32-bytes-1", "canary-secret-of-at-least-32-bytes-2");
    let versions = [
        StaticKeys::new(read(one), Vec::new()),
        StaticKeys::new(read(other), Vec::new()),
        StaticKeys::new([read(one), read(other)].concat(), Vec::new()),
        StaticKeys::new([read(other), read(one)].concat(), Vec::new()),
        StaticKeys::new(read(one), vec![HS256]),
    ];
    let distinct: std::collections::BTreeSet<u64> = versions.iter().map(StaticKeys::version).collect();
    assert_eq!(distinct.len(), versions.len());
    assert_eq!(StaticKeys::new(read(one), Vec::new()).version(), versions[0].version());
    for keys in versions {
        let shown = format!("{keys:?} {}", serde_json::to_string(&keys).unwrap());
        assert!(!shown.contains("canary") && !shown.contains(&keys.version().to_string()), "{shown}");
    }
}
