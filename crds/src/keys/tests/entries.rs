//! One entry of a set: what makes a key, and what makes none.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};

use super::{super::KeySetError, RSA, ec, ed25519, p256, rsa, set, with};
use crate::algorithm::Algorithm;

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
    let (pair_okp, jwk_okp) = ed25519();
    let ec_signature = |pair: &EcdsaKeyPair| pair.sign(&random, message).unwrap().as_ref().to_vec();
    let okp_signature = pair_okp.sign(message).as_ref().to_vec();
    let keys = set(&[rsa(), jwk256, jwk384, jwk521, jwk_okp]).unwrap();
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
        (Algorithm::EdDSA, 4, okp_signature.clone()),
        (Algorithm::Ed25519, 4, okp_signature),
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

/// A flawed generator's modulus is a power of 65537 modulo each small prime; 65537^128 is one modulo every prime, and has
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
