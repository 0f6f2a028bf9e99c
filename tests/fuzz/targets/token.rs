//! A token: the strict reader of its form, and the verdict under fixed keys.
//!
//! `=HEADER\nPAYLOAD` is signed with the right key, so that the claims are reached, `~HEADER\nPAYLOAD` with the secret of a static key;
//! anything else is the text of a token.
#![no_main]

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use authz::jwt::{Jws, Token, verify, verify_signature, verify_static};
use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::{
    algorithm::{Algorithm, KeyAlgorithm},
    keys::{KeySet, StaticKey, StaticKeys},
    snapshot::{AudienceRule, DeniedTokenIds, Jwt, JwtKeys},
};
use fuzz::NOW_MS;
use jsonwebtoken::{DecodingKey, Validation};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";

static PAIR: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

/// Ours, and those of RFC 7515, appendices A.2 and A.3, whose tokens are in the corpus.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let own = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": BASE64URL.encode(PAIR.public_key())});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx\
        HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH\
        SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8\
        NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    KeySet::parse(json!({"keys": [own, ec, rsa]}).to_string().as_bytes()).unwrap()
});

const SECRET: &[u8] = b"the secret of HS256, and of nothing else";

/// The secret, and our public key as an entry of a Secret has it.
static STATIC: LazyLock<StaticKeys> = LazyLock::new(|| {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(PAIR.public_key())}).to_string();
    let entries = [(KeyAlgorithm::HS256, SECRET), (KeyAlgorithm::EdDSA, jwk.as_bytes())];
    let keys = entries.into_iter().flat_map(|(algorithm, entry)| StaticKey::read(algorithm, entry).unwrap());
    StaticKeys::new(keys.collect(), Vec::new())
});

/// The signing inputs of the RFC's two tokens.
const KNOWN: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
];

static SETTINGS: LazyLock<Jwt> = LazyLock::new(|| Jwt {
    issuer: Some(ISSUER.into()),
    keys: JwtKeys::Missing,
    audiences: AudienceRule::AnyOf(vec!["api".into()]),
    algorithms: Algorithm::ALL.into(),
    clock_skew: Duration::ZERO,
    require_expiry: true,
    accepted_types: None,
    authorized_parties: None,
    required_claims: Vec::new(),
    denied: DeniedTokenIds::Nobody,
});

static ALL: LazyLock<BTreeSet<Algorithm>> = LazyLock::new(|| Algorithm::ALL.into());

fuzz_target!(|data: &[u8]| {
    match data {
        [b'=', parts @ ..] => signed(parts),
        [b'~', parts @ ..] => tagged(parts),
        _ => any(&String::from_utf8_lossy(data)),
    }
});

/// Whatever the text is, only what a key signed is good, and the form has one spelling.
fn any(text: &str) {
    let Ok(jws) = Jws::parse(text) else {
        assert!(Token::parse(text).is_err(), "a token that is no message");
        return;
    };
    let signature = BASE64URL.encode(jws.signature());
    assert_eq!(text.as_bytes(), [jws.signing_input(), b".", signature.as_bytes()].concat(), "a second spelling");
    if let Ok(token) = Token::parse(text) {
        let lenient: Value = serde_json::from_slice(token.jws().payload()).expect("strict JSON is JSON");
        assert_eq!(Some(token.claims()), lenient.as_object(), "two readings of the claims");
    }
    if verify_signature(&jws, &ALL, &KEYS).is_ok() {
        let own = PAIR.sign(jws.signing_input());
        let known = KNOWN.iter().any(|known| known.as_bytes() == jws.signing_input());
        assert!(known || own.as_ref() == jws.signature(), "a signature that nobody made");
    }
    let Ok(token) = Token::parse(text) else { return };
    if verify_static(&token, &SETTINGS, &STATIC, NOW_MS).is_ok() {
        let made = [tag(jws.signing_input()), PAIR.sign(jws.signing_input()).as_ref().to_vec()];
        assert!(made.iter().any(|made| made == jws.signature()), "a signature that no static key made");
    }
}

/// The same under keys in Secrets: what a secret signed is good for its one algorithm, and what a public key signed for its own.
fn tagged(parts: &[u8]) {
    let Some((header, payload)) = split(parts) else { return };
    let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
    let mut tag = tag(input.as_bytes());
    let text = format!("{input}.{}", BASE64URL.encode(&tag));
    let Ok(token) = Token::parse(&text) else { return };
    if verify_static(&token, &SETTINGS, &STATIC, NOW_MS).is_ok() {
        let read_elsewhere = is_good(header, payload, &["HS256"], None);
        let key = DecodingKey::from_secret(SECRET);
        assert!(!read_elsewhere || is_good_elsewhere(&text, &key, jsonwebtoken::Algorithm::HS256), "only we accept it");
    }
    let place = payload.len() % tag.len();
    tag[place] ^= 1;
    let text = format!("{input}.{}", BASE64URL.encode(&tag));
    let changed = Token::parse(&text).expect("its form is the same");
    assert!(verify_static(&changed, &SETTINGS, &STATIC, NOW_MS).is_err(), "a changed tag");
}

fn tag(input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), input).as_ref().to_vec()
}

fn split(parts: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = parts.iter().position(|byte| *byte == b'\n')?;
    Some((&parts[..end], &parts[end + 1..]))
}

fn signed(parts: &[u8]) {
    let Some((header, payload)) = split(parts) else { return };
    let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
    let mut signature = PAIR.sign(input.as_bytes()).as_ref().to_vec();
    let text = format!("{input}.{}", BASE64URL.encode(&signature));
    let Ok(token) = Token::parse(&text) else { return };
    if verify(&token, &SETTINGS, &KEYS, NOW_MS).is_ok() {
        let read_elsewhere = is_good(header, payload, &["EdDSA", "Ed25519"], Some("k"));
        let key = DecodingKey::from_ed_components(&BASE64URL.encode(PAIR.public_key())).unwrap();
        // It does not know the name `Ed25519`.
        let known = &*token.header().algorithm == "EdDSA";
        assert!(
            !read_elsewhere || !known || is_good_elsewhere(&text, &key, jsonwebtoken::Algorithm::EdDSA),
            "only we accept it"
        );
    }
    let place = payload.len() % signature.len();
    signature[place] ^= 1;
    let text = format!("{input}.{}", BASE64URL.encode(&signature));
    let changed = Token::parse(&text).expect("its form is the same");
    assert!(verify(&changed, &SETTINGS, &KEYS, NOW_MS).is_err(), "a changed signature");
}

/// The rules once more, in the simplest words, on JSON as everybody reads it. Whether the other library reads no more than we do: it looks
/// into keys that a header holds. `kid`: the name of the key, if it has one.
fn is_good(header: &[u8], payload: &[u8], algorithms: &[&str], kid: Option<&str>) -> bool {
    let read = |bytes| serde_json::from_slice::<Value>(bytes).expect("what is accepted is JSON");
    let (header, claims) = (read(header), read(payload));
    assert!(header["alg"].as_str().is_some_and(|alg| algorithms.contains(&alg)), "another algorithm");
    for name in ["crit", "b64", "enc", "zip", "cty"] {
        assert!(header.get(name).is_none(), "`{name}` was ignored");
    }
    assert!(kid.is_none() || header.get("kid").is_none_or(|named| named.as_str() == kid), "another key");
    let typ = header.get("typ").map(|typ| typ.as_str().expect("`typ` is text").to_ascii_lowercase());
    assert!(
        typ.is_none_or(|typ| matches!(&*typ, "jwt" | "at+jwt" | "application/jwt" | "application/at+jwt")),
        "its type"
    );
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    assert!(
        audience == "api" || audience.as_array().is_some_and(|all| all.contains(&json!("api"))),
        "another audience"
    );
    let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().expect("dates are numbers"));
    let now = NOW_MS as f64 / 1000.0;
    assert!(seconds("exp").is_some_and(|end| end > now && end < 253_402_300_800.0), "it has no end, or is over");
    assert!(seconds("nbf").is_none_or(|start| start <= now), "it has not begun");
    assert!(seconds("iat").is_none_or(|issued| issued <= now + 60.0), "it comes from the future");
    assert!(claims.get("cnf").is_none(), "it is bound to a key");
    ["jwk", "jku", "x5u", "x5t", "x5t#S256", "x5c"].iter().all(|name| header.get(name).is_none())
}

/// What another library says of the same text.
fn is_good_elsewhere(text: &str, key: &DecodingKey, algorithm: jsonwebtoken::Algorithm) -> bool {
    let mut rules = Validation::new(algorithm);
    // It reads the machine's clock.
    rules.validate_exp = false;
    rules.set_audience(&["api"]);
    rules.set_issuer(&[ISSUER]);
    jsonwebtoken::decode::<Value>(text, key, &rules).is_ok()
}
