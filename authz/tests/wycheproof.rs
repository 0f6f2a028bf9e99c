//! The vectors of Project Wycheproof against our parser, key sets and signatures: every bad one refused, every good one accepted or
//! on the list below.
//!
//! A vector is judged as a signed message, not as a set of claims: most payloads are `foo` or nothing, which no set of claims is, and
//! would be refused before the signature was ever looked at.

#![cfg(test)]

use std::collections::BTreeSet;

use authz::jwt::{Jws, verify_signature};
use crds::{algorithm::Algorithm, keys::KeySet};
use serde::Deserialize;
use serde_json::{Value, json};

const SIGNATURE: (&str, &str) = ("signature", include_str!("vectors/wycheproof/json_web_signature_test.json"));
const KEY: (&str, &str) = ("key", include_str!("vectors/wycheproof/json_web_key_test.json"));
const CRYPTO: (&str, &str) = ("crypto", include_str!("vectors/wycheproof/json_web_crypto_test.json"));

const HMAC: &str = "HMAC: a key set never holds a symmetric key, so nobody who can read it can sign";
const ES521: &str = "the key's `alg` is ES521, which nobody registered";
const PS384: &str = "the key's `alg` is PS256 and the token's PS384: one key, one algorithm (RFC 8725 section 3.1)";
const JWE: &str = "an encrypted message; this build reads signed ones only";

/// Good vectors that are refused on purpose: file, number, reason.
const EXCEPTIONS: [(&str, u32, &str); 22] = [
    ("signature", 1, HMAC),
    ("signature", 346, PS384),
    ("signature", 347, ES521),
    ("signature", 348, HMAC),
    ("signature", 350, PS384),
    ("signature", 351, ES521),
    ("signature", 352, HMAC),
    ("signature", 357, HMAC),
    ("signature", 358, HMAC),
    ("signature", 359, HMAC),
    ("signature", 372, HMAC),
    ("signature", 373, HMAC),
    ("signature", 376, HMAC),
    ("signature", 377, HMAC),
    ("key", 2, HMAC),
    ("key", 13, HMAC),
    ("key", 14, HMAC),
    ("key", 15, HMAC),
    ("crypto", 1, HMAC),
    ("crypto", 48, HMAC),
    ("crypto", 50, JWE),
    ("crypto", 67, JWE),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    private: Option<Value>,
    public: Option<Value>,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    result: Expected,
    #[serde(alias = "jws", alias = "jwe")]
    text: Text,
}

/// Some files hold the JSON serialisation as an object, others as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Compact(String),
    Json(Value),
}

/// `acceptable` stands for what a library may do either way. No vector of these files is marked so: if one ever is, reading fails
/// here, and somebody has to choose.
#[derive(Deserialize, PartialEq, Eq, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Valid,
    Invalid,
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    refused: usize,
    accepted: usize,
    excepted: usize,
}

fn read(text: &str) -> File {
    serde_json::from_str(text).unwrap()
}

/// The key or keys of a group as the key set an issuer would publish.
fn published(key: &Value) -> String {
    if key.get("keys").is_some() { key.to_string() } else { json!({ "keys": [key] }).to_string() }
}

fn accepts(text: &Text, document: &str) -> bool {
    let text = match text {
        Text::Compact(text) => text.clone(),
        Text::Json(value) => value.to_string(),
    };
    let allowed: BTreeSet<_> = Algorithm::ALL.into();
    let keys = KeySet::parse(document.as_bytes());
    let jws = Jws::parse(&text);
    matches!((keys, jws), (Ok(keys), Ok(jws)) if verify_signature(&jws, &allowed, &keys).is_ok())
}

/// Runs a file and says what came of each vector.
fn run((name, text): (&str, &str)) -> Counts {
    let file = read(text);
    let mut counts = Counts::default();
    for group in &file.test_groups {
        let key = group.public.as_ref().or(group.private.as_ref()).unwrap();
        for vector in &group.tests {
            let accepted = accepts(&vector.text, &published(key));
            let exception = EXCEPTIONS.iter().find(|(file, id, _)| *file == name && *id == vector.tc_id);
            let expected = vector.result == Expected::Valid && exception.is_none();
            assert_eq!(accepted, expected, "{name} {} {}", vector.tc_id, vector.comment);
            match (vector.result, exception) {
                (Expected::Invalid, None) => counts.refused += 1,
                (Expected::Invalid, Some(_)) => panic!("{name} {}: a bad vector needs no exception", vector.tc_id),
                (Expected::Valid, None) => counts.accepted += 1,
                (Expected::Valid, Some((_, _, reason))) => {
                    println!("{name} {} {}: {reason}", vector.tc_id, vector.comment);
                    counts.excepted += 1;
                }
            }
        }
    }
    println!("{name}: {counts:?}");
    assert_eq!(
        counts.refused + counts.accepted + counts.excepted,
        file.number_of_tests,
        "{name}: every vector was run"
    );
    counts
}

#[test]
fn signatures() {
    assert_eq!(run(SIGNATURE), Counts { refused: 355, accepted: 32, excepted: 14 });
}

#[test]
fn keys() {
    assert_eq!(run(KEY), Counts { refused: 21, accepted: 1, excepted: 4 });
}

#[test]
fn messages() {
    assert_eq!(run(CRYPTO), Counts { refused: 77, accepted: 2, excepted: 4 });
}

/// The vectors of these groups must fail because of their key: with a good key in its place the same set would do.
#[test]
fn bad_keys_are_refused_for_what_is_wrong_with_them() {
    let file = read(KEY.1);
    let reason = |id: u32| {
        let group = file.test_groups.iter().find(|group| group.tests.iter().any(|one| one.tc_id == id)).unwrap();
        KeySet::parse(published(group.public.as_ref().unwrap()).as_bytes()).unwrap_err().to_string()
    };
    for (id, expected) in [
        (6, "`use` is not `sig`"),
        (7, "an RSA key of a generator with the ROCA flaw"),
        (8, "an RSA key under 2048 bits"),
        (9, "an RSA exponent that is even, under 3, or over 33 bits"),
        (19, "`alg` is not a signature algorithm of this build"),
        (20, "`alg` is not a signature algorithm of this build"),
        (21, "`use` is not `sig`"),
        (22, "not a point of the curve"),
        (23, "`x` or `y` has not the length of the curve"),
        (24, "`n` or `e` is missing or not base64url"),
    ] {
        assert!(reason(id).contains(expected), "{id}: {}", reason(id));
    }
}

/// Four exceptions are about the `alg` of the key and nothing else.
#[test]
fn vectors_refused_for_the_algorithm_of_their_key_are_good_without_it() {
    let file = read(SIGNATURE.1);
    let mut seen = 0;
    for group in &file.test_groups {
        let listed = |id: u32| [ES521, PS384].iter().any(|reason| EXCEPTIONS.contains(&("signature", id, reason)));
        for vector in group.tests.iter().filter(|one| listed(one.tc_id)) {
            let mut key = group.public.clone().unwrap();
            key.as_object_mut().unwrap().remove("alg");
            assert!(accepts(&vector.text, &published(&key)), "{}", vector.tc_id);
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}
