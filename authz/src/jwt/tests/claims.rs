//! Corpus C: claims of tokens whose signature is good.

use std::time::Duration;

use crds::{
    algorithm::Algorithm,
    snapshot::{AudienceRule, Jwt},
};
use serde_json::{Value, json};

use super::super::{Failure, Token, date_of, testkit::*, verify};

const STRICT: &str = "malformed: a payload that is not a strict JSON object";
const AUD: &str = "invalid: `aud` is not text or a list of texts";
const OTHER_AUD: &str = "invalid: `aud` is another audience";

#[test]
fn dates_that_services_tell_are_rounded_against_the_holder() {
    let claims = json!({"exp": 10.0009, "nbf": 10.0001, "iat": -1});
    let claims = claims.as_object().unwrap();
    assert_eq!(date_of(claims, "exp").unwrap(), Some(10_000));
    assert_eq!(date_of(claims, "nbf").unwrap(), Some(10_001));
    assert!(date_of(claims, "iat").is_err());
    assert_eq!(date_of(claims, "nothing").unwrap(), None);
}

fn changed(change: Value) -> String {
    verdict(&claiming(&with(claims(), change)))
}

fn under(settings: &Jwt, change: Value) -> String {
    verdict_of(&claiming(&with(claims(), change)), settings, &KEYS)
}

/// The good claims with one more member, written as given.
fn with_raw(member: impl AsRef<[u8]>) -> String {
    let claims = claims().to_string();
    let payload = [claims.as_bytes().strip_suffix(b"}").unwrap(), b",", member.as_ref(), b"}"].concat();
    verdict(&signed(Algorithm::ES256, &header(Algorithm::ES256).to_string(), payload))
}

#[test]
fn strict_json() {
    let open = "[".repeat(5_000);
    let close = "]".repeat(5_000);
    let arrays = |depth: usize| format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    let rows = [
        ("control", br#""x":1"#.to_vec(), "ok"),
        ("C76 aud twice", br#""aud":"other""#.to_vec(), STRICT),
        ("C76 sub twice, escaped", br#""s\u0075b":"mallory""#.to_vec(), STRICT),
        ("C76 nested", br#""realm_access":{"roles":["a"],"roles":["admin"]}"#.to_vec(), STRICT),
        ("C76 nested in an array", br#""x":[[{"a":1,"\u0061":2}]]"#.to_vec(), STRICT),
        ("C76 the same name at two depths", br#""x":{"sub":"a"}"#.to_vec(), "ok"),
        ("C77 invalid UTF-8", b"\"x\":\"\xff\"".to_vec(), STRICT),
        ("C77 overlong", b"\"x\":\"\xc0\xaf\"".to_vec(), STRICT),
        ("C77 lone surrogate", br#""x":"\ud800""#.to_vec(), STRICT),
        ("C77 lone surrogate in a name", br#""\udc00":1"#.to_vec(), STRICT),
        ("C77 a pair", br#""x":"\ud83d\ude00""#.to_vec(), "ok"),
        ("C77 NUL as data", br#""x":"\u0000""#.to_vec(), "ok"),
        ("C77 raw NUL", b"\"x\":\"\0\"".to_vec(), STRICT),
        ("C78 32 levels", arrays(31).into_bytes(), "ok"),
        ("C78 33 levels", arrays(32).into_bytes(), STRICT),
        ("C78 5000 levels", format!("\"x\":{open}{close}").into_bytes(), STRICT),
        ("C78 10000 values", format!("\"x\":[{}0]", "0,".repeat(9_993)).into_bytes(), "ok"),
        ("C78 10001 values", format!("\"x\":[{}0]", "0,".repeat(9_994)).into_bytes(), STRICT),
        ("C78 a number of 10000 digits", format!("\"x\":{}", "1".repeat(10_000)).into_bytes(), STRICT),
        ("C78 a number out of range", br#""x":1e999"#.to_vec(), STRICT),
        ("C78 not a number", br#""x":NaN"#.to_vec(), STRICT),
        ("a trailing comma", b"\"x\":1,".to_vec(), STRICT),
        ("a comment", b"\"x\":1/**/".to_vec(), STRICT),
    ];
    for (row, member, expected) in rows {
        assert_eq!(with_raw(member), expected, "{row}");
    }
    let payload = |bytes: Vec<u8>| {
        let algorithm = Algorithm::ES256;
        verdict(&signed(algorithm, &header(algorithm).to_string(), bytes))
    };
    let text = claims().to_string();
    assert_eq!(payload(format!(" {text}\n").into_bytes()), "ok", "blanks around");
    assert_eq!(payload(format!("\u{feff}{text}").into_bytes()), STRICT, "C77 byte order mark");
    assert_eq!(payload(format!("{text}{text}").into_bytes()), STRICT, "two objects");
    assert_eq!(payload(text.encode_utf16().flat_map(u16::to_le_bytes).collect()), STRICT, "C77 UTF-16");
    assert_eq!(payload(format!("[{text}]").into_bytes()), STRICT, "an array");
    assert_eq!(payload(b"null".to_vec()), STRICT, "null");
    assert_eq!(payload(good_token().into_bytes()), STRICT, "A45 a token inside");
}

fn good_token() -> String {
    claiming(&claims())
}

#[test]
fn dates() {
    let exp = "invalid: `exp` is not a date in seconds";
    let nbf = "invalid: `nbf` is not a date in seconds";
    let iat = "invalid: `iat` is not a date in seconds";
    let rows = [
        ("control", json!({}), "ok"),
        ("C80 exp missing", json!({"exp": null}), "invalid: `exp` is missing"),
        ("C81 exp text", json!({"exp": (NOW + 600).to_string()}), exp),
        ("C81 exp true", json!({"exp": true}), exp),
        ("C81 exp array", json!({"exp": [NOW + 600]}), exp),
        ("C81 exp object", json!({"exp": {}}), exp),
        ("C81 exp negative", json!({"exp": -1}), exp),
        ("C81 exp in milliseconds", json!({"exp": (NOW + 600) * 1000}), exp),
        ("C81 exp 2^64", json!({"exp": 18_446_744_073_709_551_616.0}), exp),
        ("C81 exp in the year 9999", json!({"exp": 253_402_300_799_u64}), "ok"),
        ("C82 exp with a fraction", json!({"exp": 1_767_226_200.5}), "ok"),
        ("C82 exp in half a second", json!({"exp": 1_767_225_600.5}), "ok"),
        ("C82 exp in half a millisecond", json!({"exp": 1_767_225_600.000_5}), "Expired"),
        ("C84 exp is now", json!({"exp": NOW}), "Expired"),
        ("C84 exp in a second", json!({"exp": NOW + 1}), "ok"),
        ("C84 exp a second ago", json!({"exp": NOW - 1}), "Expired"),
        ("C84 exp zero", json!({"exp": 0}), "Expired"),
        ("C86 nbf in the future", json!({"nbf": NOW + 1}), "invalid: it is not valid yet"),
        ("C86 nbf in the future, with a fraction", json!({"nbf": 1_767_225_600.000_5}), "invalid: it is not valid yet"),
        ("C86 nbf now", json!({"nbf": NOW}), "ok"),
        ("C86 nbf in the past", json!({"nbf": NOW - 600}), "ok"),
        ("C86 nbf text", json!({"nbf": "1"}), nbf),
        ("C86 nbf true", json!({"nbf": true}), nbf),
        ("iat missing", json!({"iat": null}), "ok"),
        ("iat text", json!({"iat": "1"}), iat),
        ("iat a minute ahead", json!({"iat": NOW + 60}), "ok"),
        ("iat over a minute ahead", json!({"iat": NOW + 61}), "invalid: it was issued in the future"),
    ];
    for (row, change, expected) in rows {
        assert_eq!(changed(change), expected, "{row}");
    }
    for name in ["exp", "nbf", "iat"] {
        let mut nulled = claims();
        nulled[name] = Value::Null;
        let expected = format!("invalid: `{name}` is not a date in seconds");
        assert_eq!(verdict(&claiming(&nulled)), expected, "null is not absent");
    }
}

#[test]
fn leeway_widens_both_ends_by_exactly_itself() {
    let settings = Jwt { clock_skew: Duration::from_secs(30), ..settings() };
    let rows = [
        ("C84 exp 29 s ago", json!({"exp": NOW - 29}), "ok"),
        ("C84 exp 30 s ago", json!({"exp": NOW - 30}), "Expired"),
        ("C86 nbf in 30 s", json!({"nbf": NOW + 30}), "ok"),
        ("C86 nbf in 31 s", json!({"nbf": NOW + 31}), "invalid: it is not valid yet"),
        ("iat in 90 s", json!({"iat": NOW + 90}), "ok"),
        ("iat in 91 s", json!({"iat": NOW + 91}), "invalid: it was issued in the future"),
    ];
    for (row, change, expected) in rows {
        assert_eq!(under(&settings, change), expected, "{row}");
    }
}

#[test]
fn the_end_is_reported_without_leeway_and_rounded_down() {
    let end = |change: Value, settings: &Jwt| {
        let text = claiming(&with(claims(), change));
        verify(&Token::parse(&text).unwrap(), settings, &KEYS, NOW * 1000).map(|good| good.expires_at_ms)
    };
    let skewed = Jwt { clock_skew: Duration::from_secs(30), ..settings() };
    assert_eq!(end(json!({}), &skewed), Ok(Some((NOW + 600) * 1000)));
    assert_eq!(end(json!({"exp": 1_767_226_200.999_9}), &skewed), Ok(Some(1_767_226_200_999)));
    let endless = Jwt { require_expiry: false, ..settings() };
    assert_eq!(end(json!({"exp": null}), &endless), Ok(None));
    assert_eq!(end(json!({"exp": NOW - 1}), &endless), Err(Failure::Expired));
}

/// A token that is bad in another way too must not be told apart from one that never was good.
#[test]
fn only_a_token_that_is_otherwise_good_is_called_expired() {
    let old = |change: Value| with(change, json!({"exp": NOW - 60}));
    assert_eq!(changed(old(json!({}))), "Expired");
    assert_eq!(changed(old(json!({"aud": "other"}))), OTHER_AUD);
    assert_eq!(changed(old(json!({"iss": "https://other.example"}))), "invalid: `iss` is another issuer");
    assert_eq!(changed(old(json!({"sub": 5}))), "invalid: `sub` is not text");
    let algorithm = Algorithm::ES256;
    let header = header(algorithm).to_string();
    let rogue = ROGUE_P256.token(algorithm, &header, with(claims(), json!({"exp": NOW - 60})).to_string());
    assert_eq!(verdict(&rogue), "invalid: its signature is wrong");
}

#[test]
fn issuers_are_compared_by_code_point() {
    let other = "invalid: `iss` is another issuer";
    let text = "invalid: `iss` is not text";
    let rows = [
        ("C89 missing", json!({"iss": null}), "invalid: `iss` is missing"),
        ("C89 empty", json!({"iss": ""}), text),
        ("C89 a number", json!({"iss": 5}), text),
        ("C89 an array with ours", json!({"iss": [ISSUER]}), text),
        ("C89 an object", json!({"iss": {ISSUER: true}}), text),
        ("C90 a suffix", json!({"iss": format!("{ISSUER}.evil.example")}), other),
        ("C90 a prefix", json!({"iss": "https://issuer"}), other),
        ("B73 a slash", json!({"iss": format!("{ISSUER}/")}), other),
        ("B73 a port", json!({"iss": format!("{ISSUER}:443")}), other),
        ("B73 case", json!({"iss": ISSUER.to_uppercase()}), other),
        ("B73 encoded", json!({"iss": format!("{ISSUER}%2F")}), other),
        ("B73 fragment", json!({"iss": format!("{ISSUER}#")}), other),
        ("B73 query", json!({"iss": format!("{ISSUER}?x")}), other),
        ("B73 a letter that looks the same", json!({"iss": "https://\u{456}ssuer.example"}), other),
    ];
    for (row, change, expected) in rows {
        assert_eq!(changed(change), expected, "{row}");
    }
    let any = Jwt { issuer: None, ..settings() };
    assert_eq!(under(&any, json!({"iss": null})), "ok");
    assert_eq!(under(&any, json!({"iss": "urn:anybody"})), "ok");
    assert_eq!(under(&any, json!({"iss": 5})), text);
}

#[test]
fn audiences() {
    let rows = [
        ("C92 missing", json!({"aud": null}), "invalid: `aud` is missing"),
        ("C92 empty", json!({"aud": ""}), AUD),
        ("C92 empty list", json!({"aud": []}), OTHER_AUD),
        ("C92 list of an empty one", json!({"aud": [""]}), AUD),
        ("C92 a number", json!({"aud": 5}), AUD),
        ("C92 an object", json!({"aud": {"api": true}}), AUD),
        ("C92 nested", json!({"aud": [["api"]]}), AUD),
        ("C92 a number beside ours", json!({"aud": [5, "api"]}), AUD),
        ("C92 a number after ours", json!({"aud": ["api", 5]}), AUD),
        ("C93 among others", json!({"aud": ["other", "api"]}), "ok"),
        ("C94 case", json!({"aud": "API"}), OTHER_AUD),
        ("C94 slash", json!({"aud": "api/"}), OTHER_AUD),
        ("C94 substring", json!({"aud": "ap"}), OTHER_AUD),
        ("C94 star", json!({"aud": "*"}), OTHER_AUD),
        ("C96 the issuer", json!({"aud": ISSUER}), OTHER_AUD),
        ("C97 an ID token", json!({"aud": "client", "nonce": "n", "at_hash": "h"}), OTHER_AUD),
    ];
    for (row, change, expected) in rows {
        assert_eq!(changed(change), expected, "{row}");
    }
    let mut null = claims();
    null["aud"] = Value::Null;
    assert_eq!(verdict(&claiming(&null)), AUD, "C92 null");
    let unchecked = Jwt { audiences: AudienceRule::Disabled, ..settings() };
    assert_eq!(under(&unchecked, json!({"aud": null})), "ok");
    assert_eq!(under(&unchecked, json!({"aud": "anybody"})), "ok");
}

#[test]
fn subjects_parties_and_bound_keys() {
    let sub = "invalid: `sub` is not text";
    let rows = [
        ("C100 empty", json!({"sub": ""}), sub),
        ("C100 a number", json!({"sub": 5}), sub),
        ("C100 an array", json!({"sub": ["alice"]}), sub),
        ("C100 missing is for the mapping to judge", json!({"sub": null}), "ok"),
        ("cnf", json!({"cnf": {"jkt": "AAAA"}}), "invalid: it is bound to a key whose proof this build does not check"),
        ("cnf empty", json!({"cnf": {}}), "invalid: it is bound to a key whose proof this build does not check"),
    ];
    for (row, change, expected) in rows {
        assert_eq!(changed(change), expected, "{row}");
    }
    let party = "invalid: the client it was issued to is not accepted here";
    let settings = Jwt { authorized_parties: Some(vec!["web".into()]), ..settings() };
    for (row, change, expected) in [
        ("C110 azp", json!({"azp": "web"}), "ok"),
        ("C110 client_id", json!({"client_id": "web"}), "ok"),
        ("C110 missing", json!({}), party),
        ("C110 another", json!({"azp": "other"}), party),
        ("C110 an array", json!({"azp": ["web"]}), party),
        ("C110 azp decides", json!({"azp": "other", "client_id": "web"}), party),
        ("C110 a bad azp does not fall back", json!({"azp": 5, "client_id": "web"}), party),
    ] {
        assert_eq!(under(&settings, change), expected, "{row}");
    }
}

#[test]
fn required_claims() {
    let settings = Jwt { required_claims: vec!["tid".into(), "a.b".into()], ..settings() };
    for (row, change, expected) in [
        ("both", json!({"tid": 0, "a": {"b": false}}), "ok"),
        ("one by its literal name", json!({"tid": "", "a.b": []}), "ok"),
        ("C112 the first", json!({"a": {"b": 1}}), "ClaimMissing(0)"),
        ("C112 the second", json!({"tid": 1, "a": {"c": 1}}), "ClaimMissing(1)"),
        ("null inside", json!({"tid": 1, "a": {"b": null}}), "ClaimMissing(1)"),
        ("bad before missing", json!({"aud": "other"}), OTHER_AUD),
    ] {
        assert_eq!(under(&settings, change), expected, "{row}");
    }
}

#[test]
fn types() {
    let algorithm = Algorithm::ES256;
    let typed = |settings: &Jwt, typ: Value| {
        let header = with(header(algorithm), json!({ "typ": typ })).to_string();
        verdict_of(&signed(algorithm, &header, claims().to_string()), settings, &KEYS)
    };
    let refused = "invalid: its type is not accepted here";
    let default = settings();
    for (typ, expected) in [
        (json!(null), "ok"),
        (json!("JWT"), "ok"),
        (json!("jwt"), "ok"),
        (json!("at+jwt"), "ok"),
        (json!("AT+JWT"), "ok"),
        (json!("application/at+jwt"), "ok"),
        (json!("Application/AT+jwt"), "ok"),
        (json!("dpop+jwt"), refused),
        (json!("logout+jwt"), refused),
        (json!("application/"), refused),
        (json!("text/at+jwt"), refused),
        (json!("JWT "), refused),
    ] {
        assert_eq!(typed(&default, typ.clone()), expected, "{typ}");
    }
    let listed = Jwt { accepted_types: Some(vec!["at+jwt".into()]), ..settings() };
    let or_absent = Jwt { accepted_types: Some(vec!["at+jwt".into(), "".into()]), ..settings() };
    assert_eq!(typed(&listed, json!("application/at+jwt")), "ok");
    assert_eq!(typed(&listed, json!("JWT")), refused);
    assert_eq!(typed(&listed, json!(null)), refused);
    assert_eq!(typed(&or_absent, json!(null)), "ok");
    assert_eq!(typed(&or_absent, json!("application/")), refused);
}
