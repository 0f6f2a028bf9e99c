//! A key set of an issuer, and the content of an entry of a Secret that is to be a key.
#![no_main]

use crds::{
    algorithm::{Algorithm, KeyAlgorithm},
    keys::{Candidates, KeySet, MAX_CANDIDATES, MAX_KEYS, MAX_KEYS_PER_ENTRY, MAX_KID_BYTES, StaticKey, looks_private},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    if let Ok(set) = KeySet::parse(data) {
        set_is_sound(data, &set);
    }
    entry_is_sound(data);
});

fn set_is_sound(data: &[u8], set: &KeySet) {
    assert!((1..=MAX_KEYS).contains(&set.keys().len()));
    assert_eq!(KeySet::parse(data).map(|again| again.version()), Ok(set.version()), "a version that changes by itself");
    // Half a surrogate in a member that is passed over spoils nothing.
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let entries = document["keys"].as_array().expect("a key set has an array of keys");
    assert_eq!(set.keys().len() + set.skipped().len(), entries.len(), "an entry is lost");
    let shared = entries.iter().filter(|entry| entry["kty"] == "oct").count();
    assert!(set.skipped().len() >= shared, "a shared secret is a key of a set");
    for key in set.keys() {
        assert!(key.kid().is_none_or(|kid| (1..=MAX_KID_BYTES).contains(&kid.len())));
        assert!(key.algorithms().next().is_some(), "a key that verifies nothing");
        assert!(!key.verify(key.algorithms().next().unwrap(), b"message", &[0; 64]), "a signature of zeros is good");
        chosen(set, key.kid());
    }
    chosen(set, Some("no such key"));
    let mut shown = serde_json::to_value(set).expect("a set can be shown");
    shown.as_object_mut().unwrap().remove("skipped");
    for name in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        assert!(!shown.to_string().contains(&format!("\"{name}\":")), "a private part is shown");
    }
    // The order of what can be used says nothing.
    let mut turned = entries.clone();
    turned.reverse();
    let turned = KeySet::parse(json!({ "keys": turned }).to_string().as_bytes()).expect("the same keys");
    if set.skipped().is_empty() {
        assert_eq!(turned.version(), set.version(), "another order is another version");
    }
}

fn chosen(set: &KeySet, kid: Option<&str>) {
    for algorithm in Algorithm::ALL {
        match set.candidates(kid, algorithm) {
            Candidates::Keys(keys) => {
                assert!((1..=MAX_CANDIDATES).contains(&keys.len()));
                assert!(keys.iter().all(|key| key.permits(algorithm) && (kid.is_none() || key.kid() == kid)));
            }
            Candidates::Unnamed(key) => assert!(kid.is_some() && key.kid().is_none() && key.permits(algorithm)),
            Candidates::UnknownKid | Candidates::NoneFits | Candidates::Ambiguous => {}
        }
    }
}

fn entry_is_sound(data: &[u8]) {
    use KeyAlgorithm::{ES256, ES512, EdDSA, HS256, HS512, PS384, RS256};
    for algorithm in [HS256, HS512, RS256, PS384, ES256, ES512, EdDSA] {
        let Ok(keys) = StaticKey::read(algorithm, data) else { continue };
        assert!((1..=MAX_KEYS_PER_ENTRY).contains(&keys.len()));
        assert!(keys.iter().all(|key| key.algorithm() == algorithm));
        if algorithm.as_str().starts_with("HS") {
            assert!(data.len() >= 32 && !looks_private(data), "a weak or private secret");
            assert!(KeySet::parse(data).is_err(), "a public key set is a shared secret");
        } else {
            assert!(!looks_private(data), "a private key is taken for a public one");
        }
    }
}
