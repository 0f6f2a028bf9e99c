//! Documents, limits, and the choice among keys.

use serde_json::{Value, json};

use super::{super::*, p256, rsa, set, with};
use crate::algorithm::Algorithm;

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
    let no_utf8 = [format!(r#"{{"keys":[{key}],"x":""#).as_bytes(), b"\xff\"}"].concat();
    assert_eq!(KeySet::parse(&no_utf8).unwrap_err(), KeySetError::NotJson);
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
    assert_eq!(
        keys.skipped().iter().map(|one| (one.index, one.reason)).collect::<Vec<_>>(),
        [(100, "more than 100 usable keys"), (101, "more than 100 usable keys"), (102, "more than 100 usable keys"),]
    );
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
        Candidates::Unnamed(_) => 400,
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
    assert_eq!(
        both,
        version(&[with(first.clone(), json!({"x5c": ["a"], "use": "sig"})), second.clone()]),
        "what is not read"
    );
    assert_ne!(both, version(std::slice::from_ref(&first)), "a key less");
    assert_ne!(both, version(&[with(first.clone(), json!({"kid": "c"})), second.clone()]), "another name");
    assert_ne!(both, version(&[with(p256(), json!({"kid": "a"})), second]), "other material of the same name");
    assert_ne!(version(&[rsa()]), version(&[with(rsa(), json!({"alg": "RS256"}))]), "pinned");
    assert_ne!(
        version(std::slice::from_ref(&first)),
        version(&[with(first, json!({"kid": "a\" \"b"}))]),
        "quotes in a name"
    );
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
        assert!(!text.contains(key["n"].as_str().unwrap().get(..16).unwrap()), "{text}");
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
