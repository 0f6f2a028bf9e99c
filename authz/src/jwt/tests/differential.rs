//! Our verdict about a signature against another implementation's: two libraries' idea of a good signature must be one.

use crds::algorithm::Algorithm;
use jsonwebtoken::{DecodingKey, Validation, decode, jwk::Jwk};
use serde_json::{Value, json};

use super::super::{Jws, testkit::*, verify_signature};

/// `None` where the other library does not know the algorithm.
fn other_name(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    use jsonwebtoken::Algorithm as Other;
    match algorithm {
        Algorithm::RS256 => Some(Other::RS256),
        Algorithm::RS384 => Some(Other::RS384),
        Algorithm::RS512 => Some(Other::RS512),
        Algorithm::PS256 => Some(Other::PS256),
        Algorithm::PS384 => Some(Other::PS384),
        Algorithm::PS512 => Some(Other::PS512),
        Algorithm::ES256 => Some(Other::ES256),
        Algorithm::ES384 => Some(Other::ES384),
        Algorithm::EdDSA => Some(Other::EdDSA),
        Algorithm::ES512 | Algorithm::Ed25519 => None,
    }
}

fn ours(text: &str, jwk: &Value) -> bool {
    let keys = set(std::slice::from_ref(jwk));
    Jws::parse(text).is_ok_and(|jws| verify_signature(&jws, &Algorithm::ALL.into(), &keys).is_ok())
}

fn theirs(text: &str, jwk: &Value, algorithm: jsonwebtoken::Algorithm) -> bool {
    let key: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode::<Value>(text, &DecodingKey::from_jwk(&key).unwrap(), &validation).is_ok()
}

/// The token, and what an attacker or a bad line would make of it.
fn variants(algorithm: Algorithm) -> Vec<String> {
    let head = header(algorithm).to_string();
    let payload = claims().to_string();
    let message = input(&head, &payload);
    let signature = key_of(algorithm).sign(algorithm, message.as_bytes());
    let mut all = vec![compact(&head, &payload, &signature)];
    for index in [0, 1, signature.len() / 2 - 1, signature.len() / 2, signature.len() - 1] {
        for bit in [1, 0x80] {
            let mut flipped = signature.clone();
            flipped[index] ^= bit;
            all.push(compact(&head, &payload, flipped));
        }
    }
    all.push(compact(&head, &payload, &signature[1..]));
    all.push(compact(&head, &payload, [&[0], signature.as_slice()].concat()));
    all.push(compact(&head, &payload, [signature.as_slice(), &[0]].concat()));
    all.push(compact(&head, &payload, vec![0; signature.len()]));
    all.push(compact(&head, &payload, vec![0xff; signature.len()]));
    all.push(compact(&head, with(claims(), json!({"sub": "mallory"})).to_string(), &signature));
    all.push(compact(&with(header(algorithm), json!({"x": 1})).to_string(), &payload, &signature));
    all.push(key_of(algorithm).token(algorithm, &head, "{}"));
    all
}

#[test]
fn both_libraries_agree_about_every_signature() {
    let (mut good, mut bad) = (0, 0);
    for algorithm in Algorithm::ALL {
        let Some(other) = other_name(algorithm) else { continue };
        let jwk = key_of(algorithm).jwk();
        for (index, text) in variants(algorithm).iter().enumerate() {
            let verdict = ours(text, &jwk);
            assert_eq!(verdict, theirs(text, &jwk, other), "{algorithm:?}, variant {index}");
            *(if verdict { &mut good } else { &mut bad }) += 1;
        }
    }
    // Two variants of each algorithm are good: agreement about nothing but refusals would prove little.
    assert_eq!((good, bad), (18, 153));
}

/// Every pair of key and signature, whichever algorithm the header names.
#[test]
fn both_libraries_agree_about_mixed_up_algorithms() {
    let mut seen = 0;
    for named in Algorithm::ALL {
        let Some(other) = other_name(named) else { continue };
        for signed_as in Algorithm::ALL {
            if other_name(signed_as).is_none() {
                continue;
            }
            let text = key_of(signed_as).token(signed_as, &header(named).to_string(), claims().to_string());
            let jwk = key_of(named).jwk();
            let verdict = ours(&text, &jwk);
            assert_eq!(verdict, named == signed_as, "{signed_as:?} signature under {named:?}");
            assert_eq!(verdict, theirs(&text, &jwk, other), "{signed_as:?} signature under {named:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 81);
}
