//! Rows of the attack corpus that concern keys (B), each with a good key beside the bad one.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::*;
use crate::algorithm::Algorithm;

static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// The public key is PKCS#1 DER: 9 bytes before a modulus of 2048 bits, and 65537 after it.
fn rsa() -> Value {
    let der = RSA.public_key().as_ref();
    assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
    json!({"kty": "RSA", "n": BASE64URL.encode(&der[9..265]), "e": "AQAB"})
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)});
    (pair, jwk)
}

fn p256() -> Value {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256").1
}

fn ed25519() -> (Ed25519KeyPair, Value) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref())});
    (pair, jwk)
}

fn with(mut jwk: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("members") };
    for (name, value) in members {
        jwk[name] = value;
    }
    jwk
}

fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn reason(jwk: Value) -> &'static str {
    match set(&[jwk]) {
        Err(KeySetError::NoUsableKey { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn number(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

#[test]
fn every_algorithm_verifies_with_its_key_and_with_no_other() {
    let random = SystemRandom::new();
    let message = b"header.payload";
    let rsa_signature = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(encoding, &random, message, &mut signature).unwrap();
        signature
    };
    let (pair256, jwk256) = ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let (pair384, jwk384) = ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384");
    let (pair521, jwk521) = ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521");
    let (pair_ed, jwk_ed) = ed25519();
    let ec_signature = |pair: &EcdsaKeyPair| pair.sign(&random, message).unwrap().as_ref().to_vec();
    let ed_signature = pair_ed.sign(message).as_ref().to_vec();
    let keys = set(&[rsa(), jwk256, jwk384, jwk521, jwk_ed]).unwrap();
    let cases = [
        (Algorithm::RS256, 0, rsa_signature(&RSA_PKCS1_SHA256)),
        (Algorithm::RS384, 0, rsa_signature(&RSA_PKCS1_SHA384)),
        (Algorithm::RS512, 0, rsa_signature(&RSA_PKCS1_SHA512)),
        (Algorithm::PS256, 0, rsa_signature(&RSA_PSS_SHA256)),
        (Algorithm::PS384, 0, rsa_signature(&RSA_PSS_SHA384)),
        (Algorithm::PS512, 0, rsa_signature(&RSA_PSS_SHA512)),
        (Algorithm::ES256, 1, ec_signature(&pair256)),
        (Algorithm::ES384, 2, ec_signature(&pair384)),
        (Algorithm::ES512, 3, ec_signature(&pair521)),
        (Algorithm::EdDSA, 4, ed_signature.clone()),
        (Algorithm::Ed25519, 4, ed_signature),
    ];
    assert_eq!(cases.len(), Algorithm::ALL.len());
    for (algorithm, index, signature) in cases {
        for (other, key) in keys.keys().iter().enumerate() {
            assert_eq!(key.verify(algorithm, message, &signature), other == index, "{algorithm:?} with key {other}");
        }
        let key = &keys.keys()[index];
        for other in Algorithm::ALL {
            let same = other == algorithm || (algorithm.as_str().starts_with("Ed") && other.as_str().starts_with("Ed"));
            assert_eq!(key.verify(other, message, &signature), same, "{algorithm:?} signature as {other:?}");
        }
        let mut tampered = signature;
        tampered[5] ^= 1;
        assert!(!key.verify(algorithm, message, &tampered), "{algorithm:?}");
    }
}

/// Each row changes one thing of a key that is good without it.
#[test]
fn bad_entries_are_refused_with_a_reason() {
    let good_rsa = rsa();
    let modulus = BASE64URL.decode(good_rsa["n"].as_str().unwrap()).unwrap();
    let even = {
        let mut even = modulus.clone();
        *even.last_mut().unwrap() &= 0xfe;
        even
    };
    let ec_key = p256();
    let x = BASE64URL.decode(ec_key["x"].as_str().unwrap()).unwrap();
    let y_off = {
        let mut y = BASE64URL.decode(ec_key["y"].as_str().unwrap()).unwrap();
        y[31] ^= 1;
        y
    };
    let (_, ed) = ed25519();
    let size = "an RSA key under 2048 bits";
    let exponent = "an RSA exponent that is even, under 3, or over 33 bits";
    let length = "`x` or `y` has not the length of the curve";
    let rows: Vec<(&str, Value, Value, &str)> = vec![
        ("52 oct", json!({"kty": "oct", "k": "AAAA"}), json!({}), "holds a private or symmetric key"),
        ("52 oct without k", json!({"kty": "oct"}), json!({}), "a symmetric key"),
        ("56 1024 bits", rsa(), json!({"n": number(&modulus[..128])}), size),
        ("56 2047 bits", rsa(), json!({"n": number(&[&[0x7f], &modulus[1..]].concat())}), size),
        ("56 16384 bits", rsa(), json!({"n": number(&[0xff; 2048])}), "an RSA key over 8192 bits"),
        ("56 even modulus", rsa(), json!({"n": number(&even)}), "an RSA modulus that is even"),
        ("56 e=1", rsa(), json!({"e": number(&[1])}), exponent),
        ("56 e=2", rsa(), json!({"e": number(&[2])}), exponent),
        ("56 e even", rsa(), json!({"e": number(&[1, 0, 0])}), exponent),
        ("56 e=0", rsa(), json!({"e": number(&[0])}), exponent),
        ("56 e of 34 bits", rsa(), json!({"e": number(&[2, 0, 0, 0, 1])}), exponent),
        ("56 e of 65537 bits", rsa(), json!({"e": number(&[1; 8193])}), exponent),
        ("56 e>=n", rsa(), json!({"e": number(&[0xff; 257])}), exponent),
        ("58 off the curve", p256(), json!({"x": number(&x), "y": number(&y_off)}), "not a point of the curve"),
        ("58 (0,0)", p256(), json!({"x": number(&[0; 32]), "y": number(&[0; 32])}), "not a point of the curve"),
        ("58 x>=p", p256(), json!({"x": number(&[0xff; 32])}), "not a point of the curve"),
        ("58 31 bytes", p256(), json!({"x": number(&x[1..])}), length),
        ("58 33 bytes", p256(), json!({"x": number(&[&[0], x.as_slice()].concat())}), length),
        ("58 curve of another length", p256(), json!({"crv": "P-384"}), length),
        ("58 secp256k1", p256(), json!({"crv": "secp256k1"}), "an EC curve this build does not verify with"),
        ("60 X25519", ed.clone(), json!({"crv": "X25519"}), "an OKP curve other than Ed25519"),
        ("60 Ed448", ed.clone(), json!({"crv": "Ed448"}), "an OKP curve other than Ed25519"),
        ("60 short", ed.clone(), json!({"x": number(&[7; 31])}), "`x` has not 32 bytes"),
        ("60 small order", ed.clone(), json!({"x": number(&[0; 32])}), "an Ed25519 point of small order"),
        ("61 use enc", rsa(), json!({"use": "enc"}), "`use` is not `sig`"),
        ("61 use null", rsa(), json!({"use": null}), "`use` is not text"),
        ("61 key_ops sign", rsa(), json!({"key_ops": ["sign"]}), "`key_ops` does not hold `verify`"),
        ("61 key_ops text", rsa(), json!({"key_ops": "verify"}), "`key_ops` does not hold `verify`"),
        ("62 alg of another curve", p256(), json!({"alg": "ES384"}), "`alg` does not fit the type of the key"),
        ("62 alg of another type", rsa(), json!({"alg": "ES256"}), "`alg` does not fit the type of the key"),
        ("62 alg HS256", rsa(), json!({"alg": "HS256"}), "`alg` is not a signature algorithm of this build"),
        ("62 alg none", rsa(), json!({"alg": "none"}), "`alg` is not a signature algorithm of this build"),
        ("62 alg a number", rsa(), json!({"alg": 5}), "`alg` is not text"),
        ("65 kty unknown", rsa(), json!({"kty": "new"}), "a `kty` this build does not know"),
        ("65 kty in lower case", rsa(), json!({"kty": "rsa"}), "a `kty` this build does not know"),
        ("65 kty a number", rsa(), json!({"kty": 1}), "`kty` is missing or not text"),
        ("65 padded", rsa(), json!({"e": "AQAB===="}), "`n` or `e` is missing or not base64url"),
        ("kid a number", rsa(), json!({"kid": 5}), "`kid` is not text"),
        ("kid empty", rsa(), json!({"kid": ""}), "`kid` is empty"),
        ("kid long", rsa(), json!({"kid": "k".repeat(257)}), "`kid` is over 256 bytes"),
        ("private d", rsa(), json!({"d": "AAAA"}), "holds a private or symmetric key"),
        ("private p", rsa(), json!({"p": "AAAA"}), "holds a private or symmetric key"),
        ("private EC", p256(), json!({"d": "AAAA"}), "holds a private or symmetric key"),
        ("private OKP", ed, json!({"d": null}), "holds a private or symmetric key"),
    ];
    for (name, good, change, expected) in rows {
        if good["kty"] != "oct" {
            assert!(set(std::slice::from_ref(&good)).is_ok(), "{name}: the control");
        }
        assert_eq!(reason(with(good, change)), expected, "{name}");
    }
}

#[test]
fn entries_that_are_merely_odd_are_kept() {
    let padded = [&[0, 0], BASE64URL.decode(rsa()["n"].as_str().unwrap()).unwrap().as_slice()].concat();
    let odd = [
        json!({"use": "sig"}),
        json!({"key_ops": ["sign", "verify"]}),
        json!({"x5c": ["not a certificate"], "x5t": 7, "nonsense": {"a": []}}),
        json!({"kid": "k".repeat(256)}),
        json!({"n": number(&padded)}),
        json!({"e": number(&[1, 0xff, 0xff, 0xff, 0xff])}),
    ];
    for change in odd {
        assert!(set(&[with(rsa(), change.clone())]).is_ok(), "{change}");
    }
}

/// The sign bit does not get any of them through, and a point beside them passes.
#[test]
fn small_order_points_are_refused_with_either_sign() {
    for last in [0x7f, 0xff] {
        let mut point = [0xff; 32];
        point[31] = last;
        for first in [0xec, 0xed, 0xee] {
            point[0] = first;
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": number(&point)});
            assert_eq!(reason(jwk), "an Ed25519 point of small order");
        }
    }
    let mut neighbour = [0; 32];
    neighbour[0] = 3;
    assert!(set(&[json!({"kty": "OKP", "crv": "Ed25519", "x": number(&neighbour)})]).is_ok());
}

/// Row 57. A flawed generator's modulus is a power of 65537 modulo each small prime; 65537^128 is one modulo every prime, and has
/// 2049 bits.
#[test]
fn the_fingerprint_of_a_flawed_generator_is_seen_and_good_keys_have_none() {
    let mut power = vec![1_u8];
    for _ in 0..128 {
        // Times 65537: the number, and itself shifted by two bytes.
        let shifted = [power.as_slice(), &[0, 0]].concat();
        let mut carry = 0_u16;
        let mut sum = vec![0_u8; shifted.len()];
        for place in 0..shifted.len() {
            let at = shifted.len() - 1 - place;
            let low = power.len().checked_sub(place + 1).map_or(0, |index| power[index]);
            let total = u16::from(shifted[at]) + u16::from(low) + carry;
            sum[at] = (total & 0xff) as u8;
            carry = total >> 8;
        }
        assert_eq!(carry, 0);
        power = sum;
    }
    let flawed = with(rsa(), json!({"n": number(&power)}));
    assert_eq!(reason(flawed), "an RSA key of a generator with the ROCA flaw");
    assert!(set(&[rsa()]).is_ok());
}

#[test]
fn one_bad_entry_does_not_spoil_the_set() {
    let document = json!({"extra": 1, "keys": [
        null, 7, "text", [], {}, {"kty": "EC", "crv": "P-256", "kid": "off", "x": "AAAA", "y": "AAAA"}, {"kty": "new", "kid": "x"},
        with(rsa(), json!({"kid": "good"})),
    ]});
    let keys = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(keys.keys().iter().map(VerifyingKey::kid).collect::<Vec<_>>(), [Some("good")]);
    let skipped: Vec<_> = keys.skipped().iter().map(|one| (one.index, one.kid.as_deref(), one.reason)).collect();
    assert_eq!(
        skipped,
        [
            (0, None, "not an object"),
            (1, None, "not an object"),
            (2, None, "not an object"),
            (3, None, "not an object"),
            (4, None, "`kty` is missing or not text"),
            (5, Some("off"), "`x` or `y` has not the length of the curve"),
            (6, Some("x"), "a `kty` this build does not know"),
        ]
    );
}

#[test]
fn a_member_said_twice_makes_an_entry_useless() {
    let good = rsa().to_string();
    let twice = good.replacen('{', r#"{"use":"enc","u\u0073e":"sig","#, 1);
    let document = format!(r#"{{"keys":[{twice}]}}"#);
    assert_eq!(
        KeySet::parse(document.as_bytes()).unwrap_err(),
        KeySetError::NoUsableKey { reason: "says a member twice" }
    );
}

#[test]
fn documents_over_their_limits_or_of_another_shape_are_refused_whole() {
    let key = rsa().to_string();
    let many = |count: usize| format!(r#"{{"keys":[{}{key}]}}"#, "0,".repeat(count));
    let padded = |size: usize| format!(r#"{{"keys":[{key}]{}}}"#, " ".repeat(size - key.len() - 11));
    assert!(KeySet::parse(many(999).as_bytes()).is_ok());
    assert_eq!(padded(MAX_DOCUMENT_BYTES).len(), MAX_DOCUMENT_BYTES);
    assert!(KeySet::parse(padded(MAX_DOCUMENT_BYTES).as_bytes()).is_ok());
    let deep = format!(r#"{{"keys":[{{"x5c":{}{}}}]}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let rows = [
        (many(1_000), KeySetError::TooManyKeys),
        (padded(MAX_DOCUMENT_BYTES + 1), KeySetError::TooLarge),
        (String::new(), KeySetError::NotJson),
        ("<html>".to_owned(), KeySetError::NotJson),
        (deep, KeySetError::NotJson),
        (format!(r#"{{"keys":[{key}]}} x"#), KeySetError::NotJson),
        (format!("[[{key}]]"), KeySetError::NotJson),
        ("null".to_owned(), KeySetError::NotJson),
        (key.clone(), KeySetError::NoKeysArray),
        (r#"{"keys":null}"#.to_owned(), KeySetError::NoKeysArray),
        (format!(r#"{{"keys":{{"a":{key}}}}}"#), KeySetError::NoKeysArray),
        (format!(r#"{{"keys":[],"keys":[{key}]}}"#), KeySetError::NoKeysArray),
        (r#"{"keys":[]}"#.to_owned(), KeySetError::NoUsableKey { reason: "there is no entry" }),
    ];
    for (document, expected) in rows {
        let error = KeySet::parse(document.as_bytes()).unwrap_err();
        assert_eq!(error, expected, "{}", document.chars().take(60).collect::<String>());
        assert!(error.to_string().contains("key set"), "{error}");
    }
}

#[test]
fn at_most_a_hundred_keys_are_kept() {
    let keys: Vec<_> = (0..103).map(|index| with(p256(), json!({"kid": format!("k{index}")}))).collect();
    let keys = set(&keys).unwrap();
    assert_eq!(keys.keys().len(), MAX_KEYS);
    assert_eq!(keys.skipped().iter().map(|one| (one.index, one.reason)).collect::<Vec<_>>(), [
        (100, "more than 100 usable keys"),
        (101, "more than 100 usable keys"),
        (102, "more than 100 usable keys"),
    ]);
}

#[test]
fn candidates_are_chosen_by_exact_identifier_and_algorithm() {
    let same = |kid: &str| with(p256(), json!({ "kid": kid }));
    let keys = set(&[
        with(rsa(), json!({"kid": "a", "alg": "RS256"})),
        same("a"),
        same("many"),
        same("many"),
        same("many"),
        same("many"),
        same("more"),
        same("more"),
        same("more"),
        same("more"),
        same("more"),
    ])
    .unwrap();
    let count = |kid, algorithm| match keys.candidates(kid, algorithm) {
        Candidates::Keys(found) => found.len(),
        Candidates::UnknownKid => 100,
        Candidates::NoneFits => 200,
        Candidates::Ambiguous => 300,
    };
    let rows = [
        (Some("a"), Algorithm::RS256, 1),
        (Some("a"), Algorithm::ES256, 1),
        (Some("a"), Algorithm::RS512, 200),
        (Some("A"), Algorithm::RS256, 100),
        (Some("a "), Algorithm::RS256, 100),
        (Some("../../dev/null"), Algorithm::RS256, 100),
        (Some("many"), Algorithm::ES256, 4),
        (Some("more"), Algorithm::ES256, 300),
        (None, Algorithm::RS256, 1),
        (None, Algorithm::ES256, 300),
        (None, Algorithm::ES384, 200),
    ];
    for (kid, algorithm, expected) in rows {
        assert_eq!(count(kid, algorithm), expected, "{kid:?} {algorithm:?}");
    }
}

#[test]
fn the_version_follows_the_usable_keys_alone() {
    let (first, second) = (with(p256(), json!({"kid": "a"})), with(p256(), json!({"kid": "b"})));
    let version = |keys: &[Value]| set(keys).unwrap().version();
    let both = version(&[first.clone(), second.clone()]);
    assert_eq!(both, version(&[second.clone(), first.clone()]), "order");
    assert_eq!(both, version(&[json!(null), second.clone(), first.clone(), second.clone()]), "what verifies nothing");
    assert_eq!(both, version(&[with(first.clone(), json!({"x5c": ["a"], "use": "sig"})), second.clone()]), "what is not read");
    assert_ne!(both, version(&[first.clone()]), "a key less");
    assert_ne!(both, version(&[with(first.clone(), json!({"kid": "c"})), second.clone()]), "another name");
    assert_ne!(both, version(&[with(p256(), json!({"kid": "a"})), second]), "other material of the same name");
    assert_ne!(version(&[rsa()]), version(&[with(rsa(), json!({"alg": "RS256"}))]), "pinned");
    assert_ne!(version(&[first.clone()]), version(&[with(first, json!({"kid": "a\" \"b"}))]), "quotes in a name");
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let modulus = concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM",
        "stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5",
        "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    );
    let keys = set(&[json!({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})]).unwrap();
    assert_eq!(keys.keys()[0].thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn only_public_facts_are_shown() {
    let key = with(rsa(), json!({"kid": "a", "alg": "RS256"}));
    let keys = set(&[key.clone(), json!(null)]).unwrap();
    let shown = serde_json::to_value(&keys).unwrap();
    assert_eq!(shown["keys"][0]["kid"], "a");
    assert_eq!(shown["keys"][0]["type"], "RSA");
    assert_eq!(shown["keys"][0]["algorithms"], json!(["RS256"]));
    assert_eq!(shown["skipped"][0]["index"], 1);
    for text in [shown.to_string(), format!("{keys:?}")] {
        assert!(text.contains("RS256"));
        assert!(!text.contains(&key["n"].as_str().unwrap()[..16]), "{text}");
    }
}

#[test]
fn private_documents_are_recognised() {
    let good = rsa().to_string();
    let private = with(rsa(), json!({"d": "AAAA"})).to_string();
    let rows = [
        (good.clone(), false),
        (format!(r#"{{"keys":[{good}]}}"#), false),
        (private.clone(), true),
        (format!(r#"{{"keys":[null,{good},{private}]}}"#), true),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_owned(), true),
        (r#"{"d":"a document with a member of this name"}"#.to_owned(), false),
        ("-----BEGIN PRIVATE KEY-----\nAAAA".to_owned(), true),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA".to_owned(), true),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA".to_owned(), true),
        ("-----BEGIN PUBLIC KEY-----\nAAAA".to_owned(), false),
        ("not JSON".to_owned(), false),
    ];
    for (document, expected) in rows {
        assert_eq!(looks_private(document.as_bytes()), expected, "{document}");
    }
}
