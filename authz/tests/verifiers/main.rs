//! Our verifier beside two others on thousands of generated tokens: it accepts nothing that both refuse, and what it refuses although both
//! accept it is listed here with the reason.
//!
//! `GATEWRIGHT_TOKENS=100000 cargo test -p authz --test verifiers` looks longer; the first tokens are the same.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use authz::jwt::{Failure, Token, Verified, verify, verify_static};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::{
    algorithm::{KeyAlgorithm, KeyFamily},
    keys::{StaticKey, StaticKeys},
};
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

mod generate;
mod others;
#[allow(dead_code, reason = "the unit tests use the rest")]
#[path = "../../src/jwt/testkit.rs"]
mod testkit;

use self::{
    generate::{PUBLIC, SHARED},
    others::{Joserfc, jsonwebtoken},
    testkit::{ED25519, KEYS, P256, P384, P521, RSA, key_of, settings},
};

/// How many tokens, unless somebody asks for more.
const TOKENS: usize = 4_000;

/// What we refuse and both others accept, in our words, and why we stay with it.
const STRICTER: &[(&str, &str)] = &[
    ("`aud` is not text or a list of texts", "an audience of no characters is nobody (RFC 7519 section 4.1.3)"),
    ("`exp` is not a date in seconds", "past the year 9999 it is milliseconds, and a token that lives for ever"),
    ("`iat` is not a date in seconds", "no token is older than 1970"),
    ("`sub` is not text", "a subject of no characters is nobody"),
    (
        "it is bound to a key whose proof this build does not check",
        "as a bearer token it would be worth less than it says (RFC 7800)",
    ),
    ("its type is not accepted here", "a token of another kind is made for something else (RFC 8725 section 3.11)"),
    ("malformed: `kid` is not text of 1 to 256 bytes", "a name of no characters, where a name decides nothing"),
    ("malformed: `typ` is not text", "as above, and empty"),
    (
        "malformed: a header that is not a strict JSON object",
        "two readers could see two headers, or one would run out of stack",
    ),
    ("malformed: a payload that is not a strict JSON object", "the same of claims"),
    ("malformed: the header announces a nested token", "it was not asked for (RFC 7519 section 5.2)"),
    ("malformed: the header asks for an extension", "`crit` names nothing that we know (RFC 7515 section 4.1.11)"),
    ("malformed: the header asks for an unencoded payload", "RFC 7797 is not built"),
    ("malformed: the header asks for decompression", "RFC 7516 is not built"),
    ("malformed: the header is that of an encrypted token", "RFC 7516 is not built"),
];

/// Where `jsonwebtoken` has no opinion, as it does not know the algorithm: what joserfc alone refuses, and why we do not.
const LAXER: &[(&str, &str)] = &[
    ("jti:", "an identifier that is no text names no token of a deny list, and is refused where there is one"),
    ("sub: null", "null is an absent claim; a policy that maps the subject from it finds none"),
];

/// Whose tokens are compared.
struct Setting {
    algorithms: Vec<KeyAlgorithm>,
    /// Public and shared keys, as the others read them.
    keys: Vec<Value>,
    /// Whether a token's `kid` names its key.
    named: bool,
    ours: fn(&Token<'_>, i64) -> Result<Verified, Failure>,
}

/// The keys of entries of Secrets: secrets, and public keys without names.
static STATIC: LazyLock<StaticKeys> = LazyLock::new(|| {
    let shared = SHARED.map(|(algorithm, secret)| (algorithm, secret.to_owned()));
    let public = PUBLIC.map(|algorithm| {
        let KeyFamily::Public(own) = algorithm.family() else { panic!("{algorithm:?} is a secret's") };
        let mut jwk = key_of(own).jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        (algorithm, jwk.to_string())
    });
    let read = |(algorithm, text): (KeyAlgorithm, String)| StaticKey::read(algorithm, text.as_bytes()).unwrap();
    StaticKeys::new(shared.into_iter().chain(public).flat_map(read).collect(), Vec::new())
});

fn public_keys() -> Vec<Value> {
    [&*RSA, &*P256, &*P384, &*P521, &*ED25519].map(testkit::TestKey::jwk).into()
}

#[test]
fn nothing_of_an_issuer_is_accepted_that_both_others_refuse() {
    compare(&Setting {
        algorithms: PUBLIC.into(),
        keys: public_keys(),
        named: true,
        ours: |token, now_ms| verify(token, &settings(), &KEYS, now_ms),
    });
}

#[test]
fn nothing_under_keys_in_secrets_is_accepted_that_both_others_refuse() {
    // As many by secrets as by public keys.
    let shared = SHARED.map(|(algorithm, _)| algorithm);
    let secrets = SHARED
        .map(|(algorithm, secret)| json!({"kty": "oct", "kid": algorithm.as_str(), "k": BASE64URL.encode(secret)}));
    compare(&Setting {
        algorithms: [&PUBLIC[..], &shared, &shared, &shared].concat(),
        keys: public_keys().into_iter().chain(secrets).collect(),
        named: false,
        ours: |token, now_ms| verify_static(token, &settings(), &STATIC, now_ms),
    });
}

fn ours(setting: &Setting, text: &str, now_ms: i64) -> String {
    match Token::parse(text) {
        Err(malformed) => format!("malformed: {}", malformed.0),
        Ok(token) => match (setting.ours)(&token, now_ms) {
            Ok(Verified { .. }) => "good".to_owned(),
            Err(Failure::Invalid(why) | Failure::NotOfTheseKeys(why)) => why.to_owned(),
            Err(failure) => format!("{failure:?}"),
        },
    }
}

fn compare(setting: &Setting) {
    let tokens = std::env::var("GATEWRIGHT_TOKENS").ok().map_or(TOKENS, |number| number.parse().unwrap());
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    // It knows no P-521.
    let known: Vec<&Value> = setting.keys.iter().filter(|key| key["crv"] != "P-521").collect();
    let known: JwkSet = serde_json::from_value(json!({ "keys": known })).unwrap();
    let mut joserfc = Joserfc::start(&json!(setting.keys), &setting.algorithms, setting.named, now);
    let mut rng = fastrand::Rng::with_seed(7_519);
    let mut counts: BTreeMap<(bool, bool, bool), usize> = BTreeMap::new();
    let mut stricter: BTreeMap<String, String> = BTreeMap::new();
    let mut alone = Vec::new();
    for _ in 0..tokens {
        let made = generate::token(&mut rng, &setting.algorithms, now);
        let own = ours(setting, &made.text, now * 1000);
        let other = joserfc.judge(&made.text);
        let verdicts = (own == "good", jsonwebtoken(&made.text, &known, setting.named), other == "good");
        *counts.entry(verdicts).or_default() += 1;
        let changes = made.changes.join(", ");
        let unknown = ["ES512", "Ed25519"].contains(&&*made.changes[0]);
        let known = |one: &String| LAXER.iter().any(|(change, _)| one.starts_with(change));
        let laxer = unknown && made.changes.iter().any(known);
        if verdicts == (true, false, false) && !laxer {
            alone.push(format!("{changes}\n  joserfc: {other}\n  {}", made.text));
        }
        if verdicts == (false, true, true) {
            stricter.entry(own).or_insert(changes);
        }
    }
    println!("(ours, jsonwebtoken, joserfc) accept: {counts:?}\nonly we refuse: {stricter:#?}");
    assert!(alone.is_empty(), "only we accept {} of them:\n{}", alone.len(), alone.join("\n"));
    // Agreement about refusals alone would prove little.
    let agreed = |verdict: bool| counts.get(&(verdict, verdict, verdict)).copied().unwrap_or_default();
    assert!(agreed(true) > tokens / 5 && agreed(false) > tokens / 5, "{counts:?}");
    let listed: BTreeSet<&str> = STRICTER.iter().map(|(words, _)| *words).collect();
    stricter.retain(|words, _| !listed.contains(words.as_str()));
    assert!(stricter.is_empty(), "only we refuse it, and the list above does not say why: {stricter:#?}");
}
