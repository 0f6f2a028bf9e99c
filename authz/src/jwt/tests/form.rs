//! Corpus A (form, algorithm, header) and the rows of B that a token meets.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::{algorithm::Algorithm, snapshot::Jwt};
use serde_json::{Value, json};

use super::super::{MAX_TOKEN_BYTES, Token, testkit::*};

const ALGORITHM: &str = "invalid: its algorithm is not accepted here";
const SIGNATURE: &str = "invalid: its signature is wrong";
const NONE_FITS: &str = "invalid: no key of the issuer permits its algorithm";
const CHARACTER: &str = "malformed: a character that base64url does not have";
const BASE64: &str = "malformed: a part that is not base64url";
const EMPTY: &str = "malformed: an empty part";
const FEWER: &str = "malformed: fewer than three parts";
const MORE: &str = "malformed: more than three parts";
const HEADER: &str = "malformed: a header that is not a strict JSON object";
const KID: &str = "malformed: `kid` is not text of 1 to 256 bytes";

fn es256(change: Value) -> String {
    let header = with(header(Algorithm::ES256), change);
    signed(Algorithm::ES256, &header.to_string(), claims().to_string())
}

fn raw(header: &str) -> String {
    signed(Algorithm::ES256, header, claims().to_string())
}

fn good() -> String {
    es256(json!({}))
}

fn check(rows: Vec<(&str, String, &str)>) {
    assert_eq!(verdict(&good()), "ok", "the control");
    for (row, text, expected) in rows {
        assert_eq!(verdict(&text), expected, "{row}");
    }
}

#[test]
fn every_algorithm_is_accepted_with_its_key() {
    for algorithm in Algorithm::ALL {
        let text = signed(algorithm, &header(algorithm).to_string(), claims().to_string());
        assert_eq!(verdict(&text), "ok", "{algorithm:?}");
        let only_others =
            Jwt { algorithms: Algorithm::ALL.into_iter().filter(|one| *one != algorithm).collect(), ..settings() };
        assert_eq!(verdict_of(&text, &only_others, &KEYS), ALGORITHM, "A13, A20: {algorithm:?} is not listed");
    }
}

#[test]
fn parts_and_characters() {
    let good = good();
    let (two, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = two.split_once('.').unwrap();
    let json_form =
        format!(r#"{{"payload":"{payload}","signatures":[{{"protected":"{head}","signature":"{signature}"}}]}}"#);
    let nested = format!(r#"{{"payload":"{good}","signature":"{good}"}}"#);
    check(vec![
        ("A4 two parts", two.to_owned(), FEWER),
        ("A4 one part", head.to_owned(), FEWER),
        ("A4 empty", String::new(), FEWER),
        ("A4 .", ".".to_owned(), FEWER),
        ("A4 ..", "..".to_owned(), EMPTY),
        ("A4 ...", "...".to_owned(), MORE),
        ("A4 no header", format!(".{payload}.{signature}"), EMPTY),
        ("A4 no payload", format!("{head}..{signature}"), "malformed: a payload that is not a strict JSON object"),
        ("A5 a trailing dot", format!("{good}."), MORE),
        ("A5 a fourth part", format!("{good}.AAAA"), MORE),
        ("A6 ten thousand dots", ".".repeat(10_000), MORE),
        ("A6 as many dots as fit", ".".repeat(MAX_TOKEN_BYTES), MORE),
        ("A26 padding", format!("{head}=.{payload}.{signature}"), CHARACTER),
        ("A26 standard alphabet +", format!("{head}.{payload}+.{signature}"), CHARACTER),
        ("A26 standard alphabet /", format!("{head}.{payload}/.{signature}"), CHARACTER),
        ("A26 line feed", format!("{head}.{payload}\n.{signature}"), CHARACTER),
        ("A26 blank", format!("{head}. {payload}.{signature}"), CHARACTER),
        ("A26 tab", format!("{head}.{payload}.{signature}\t"), CHARACTER),
        ("A26 encoded dot", good.replace('.', "%2E"), CHARACTER),
        ("A26 bits after the last byte", format!("{head}.{payload}.{signature}B"), BASE64),
        ("A28 blank before", format!(" {good}"), CHARACTER),
        ("A28 zero-width space", format!("\u{200b}{good}"), CHARACTER),
        ("A28 no-break space", format!("\u{a0}{good}"), CHARACTER),
        ("A28 byte order mark", format!("\u{feff}{good}"), CHARACTER),
        ("A29 JSON serialisation", json_form, CHARACTER),
        ("A30 a good token inside JSON", nested, CHARACTER),
        ("A46 five parts", "eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA".to_owned(), MORE),
        ("A50 SD-JWT", format!("{good}~WyJzYWx0Il0~"), CHARACTER),
        ("A50 null", "null".to_owned(), FEWER),
        ("A50 undefined", "undefined".to_owned(), FEWER),
        ("A50 object", "[object Object]".to_owned(), CHARACTER),
        ("A50 PASETO", "v4.public.AAAA".to_owned(), BASE64),
    ]);
    // The last character of a 64-byte signature carries four bits that must be zero: any other one decodes to the same bytes.
    let mut twin = good.clone();
    let last = twin.pop().unwrap();
    assert!("AQgw".contains(last), "{last}");
    twin.push(char::from(last as u8 + 1));
    assert_eq!(verdict(&twin), BASE64, "A26 non-canonical");
}

#[test]
fn algorithms() {
    let keyed = |secret: &[u8]| {
        let input = input(&json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"}).to_string(), claims().to_string());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", BASE64URL.encode(tag))
    };
    let payload = claims().to_string();
    let named = |algorithm: &str, kid: &str| json!({"alg": algorithm, "typ": "JWT", "kid": kid}).to_string();
    let modulus = BASE64URL.decode(RSA.jwk()["n"].as_str().unwrap()).unwrap();
    check(vec![
        ("A1 none", compact(&named("none", "p256"), &payload, ""), EMPTY),
        ("A1 none with a signature", compact(&named("none", "p256"), &payload, "x"), ALGORITHM),
        ("A2 None", es256(json!({"alg": "None"})), ALGORITHM),
        ("A2 NONE", es256(json!({"alg": "NONE"})), ALGORITHM),
        ("A2 nOnE", es256(json!({"alg": "nOnE"})), ALGORITHM),
        ("A2 none with a blank", es256(json!({"alg": "none "})), ALGORITHM),
        ("A2 none escaped", raw(r#"{"alg":"n\u006fne","kid":"p256"}"#), ALGORITHM),
        ("A2 lower case", es256(json!({"alg": "es256"})), ALGORITHM),
        ("A2 a blank after", es256(json!({"alg": "ES256 "})), ALGORITHM),
        ("A8 HS256 with the JWK text", keyed(RSA.jwk().to_string().as_bytes()), ALGORITHM),
        ("A8 HS256 with the modulus", keyed(&modulus), ALGORITHM),
        ("A9 HS256 with an empty key", keyed(b""), ALGORITHM),
        ("A9 HS256 with null", keyed(b"null"), ALGORITHM),
        ("A9 HS256 with zeros", keyed(&[0; 32]), ALGORITHM),
        ("A10 RS256 for an ES256 key", RSA.token(Algorithm::RS256, &named("RS256", "p256"), &payload), NONE_FITS),
        ("A10 ES256 for an RS256 key", P256.token(Algorithm::ES256, &named("ES256", "rsa"), &payload), NONE_FITS),
        ("A10 Ed25519 under ES256", ED25519.token(Algorithm::EdDSA, &named("ES256", "p256"), &payload), SIGNATURE),
        ("A20 EdDSA for a P-256 key", ED25519.token(Algorithm::EdDSA, &named("EdDSA", "p256"), &payload), NONE_FITS),
        ("A22 PS256 under RS256", RSA.token(Algorithm::PS256, &named("RS256", "rsa"), &payload), SIGNATURE),
        ("A22 RS256 under PS256", RSA.token(Algorithm::RS256, &named("PS256", "rsa"), &payload), SIGNATURE),
    ]);
    let pinned = set(&[with(RSA.jwk(), json!({"alg": "RS256"})), with(P256.jwk(), json!({"alg": "ES256"}))]);
    for (algorithm, expected) in [
        (Algorithm::RS256, "ok"),
        (Algorithm::RS384, NONE_FITS),
        (Algorithm::RS512, NONE_FITS),
        (Algorithm::PS256, NONE_FITS),
        (Algorithm::ES256, "ok"),
    ] {
        let text = signed(algorithm, &header(algorithm).to_string(), &payload);
        assert_eq!(verdict_of(&text, &settings(), &pinned), expected, "A12, B62: {algorithm:?}");
    }
}

#[test]
fn signatures() {
    let head = header(Algorithm::ES256).to_string();
    let payload = claims().to_string();
    let message = input(&head, &payload);
    let signature = P256.sign(Algorithm::ES256, message.as_bytes());
    let put = |signature: &[u8]| compact(&head, &payload, signature);
    let other = signed(Algorithm::ES256, &head, with(claims(), json!({"sub": "bob"})).to_string());
    let (other_input, other_signature) = other.rsplit_once('.').unwrap();
    let (_, other_payload) = other_input.split_once('.').unwrap();
    let (encoded_head, encoded_payload) = message.split_once('.').unwrap();
    let encoded = BASE64URL.encode(&signature);
    let flipped = |index: usize| {
        let mut bytes = payload.clone().into_bytes();
        bytes[index] ^= 1;
        bytes
    };
    let curve_order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let reserialised = payload.replacen('{', "{ ", 1);
    check(vec![
        ("A14 r=s=0", put(&[0; 64]), SIGNATURE),
        ("A14 r=s=n", put(&[curve_order, curve_order].concat()), SIGNATURE),
        ("A16 DER", put(&der(&signature)), SIGNATURE),
        ("A16 63 bytes", put(&signature[..63]), SIGNATURE),
        ("A16 65 bytes", put(&[&signature[..], &[0]].concat()), SIGNATURE),
        ("A16 72 bytes", put(&[7; 72]), SIGNATURE),
        ("A16 empty", put(&[]), EMPTY),
        ("A17 the twin with n-s", put(&twin(&signature, &curve_order)), "ok"),
        ("A24 a byte of the payload", compact(&head, flipped(9), &signature), SIGNATURE),
        ("A24 another payload", format!("{encoded_head}.{other_payload}.{encoded}"), SIGNATURE),
        ("A24 another signature", format!("{message}.{other_signature}"), SIGNATURE),
        (
            "A24 parts swapped",
            format!("{encoded_payload}.{encoded_head}.{encoded}"),
            "malformed: a header without `alg`",
        ),
        ("A25 the same claims written differently", compact(&head, reserialised, &signature), SIGNATURE),
        ("B54 a rogue key of the same name", ROGUE_P256.token(Algorithm::ES256, &head, &payload), SIGNATURE),
    ]);
    let head = header(Algorithm::ES512).to_string();
    let good = signed(Algorithm::ES512, &head, &payload);
    let signature = BASE64URL.decode(good.rsplit_once('.').unwrap().1).unwrap();
    assert_eq!((signature.len(), verdict(&good)), (132, "ok".to_owned()), "A18");
    assert_eq!(verdict(&compact(&head, &payload, &signature[1..131])), SIGNATURE, "A18 130 bytes");
}

#[test]
fn headers() {
    let refused = |reason: &str| format!("malformed: {reason}");
    let extension = refused("the header asks for an extension");
    let unencoded = refused("the header asks for an unencoded payload");
    let encrypted = refused("the header is that of an encrypted token");
    let zip = refused("the header asks for decompression");
    let nested = refused("the header announces a nested token");
    let typ = refused("`typ` is not text");
    let alg = refused("`alg` is not text");
    let long = refused("a header over 4 KiB");
    let typed = refused("a header member that is not of its type");
    let rogue = |change: Value| {
        let header = with(header(Algorithm::ES256), change);
        ROGUE_P256.token(Algorithm::ES256, &header.to_string(), claims().to_string())
    };
    let others = with(header(Algorithm::ES256), json!({"x": ""})).to_string().len();
    check(vec![
        ("A32 crit", es256(json!({"crit": ["exp"], "exp": 1})), &extension),
        ("A32 empty crit", es256(json!({"crit": []})), &extension),
        ("A32 b64 false", es256(json!({"b64": false, "crit": ["b64"]})), &extension),
        ("A32 b64 text", es256(json!({"b64": "false"})), &unencoded),
        ("A32 b64 true", es256(json!({"b64": true})), &unencoded),
        ("A33 an attacker's jwk", rogue(json!({"jwk": ROGUE_P256.jwk()})), SIGNATURE),
        ("A33 a jwk is not read", es256(json!({"jwk": {"no": "key"}, "jku": "", "x5c": []})), "ok"),
        ("A33 a jwk that is none", es256(json!({"jwk": ["no key"]})), &typed),
        ("A34 jku a number", es256(json!({"jku": 7})), &typed),
        ("A35 x5c a text", es256(json!({"x5c": "MIIB"})), &typed),
        ("A35 x5c of numbers", es256(json!({"x5c": ["MIIB", 7]})), &typed),
        ("A36 x5t an object", es256(json!({"x5t#S256": {}})), &typed),
        ("A34 jku", rogue(json!({"jku": "http://127.0.0.1/keys"})), SIGNATURE),
        ("A34 x5u", rogue(json!({"x5u": "file:///etc/passwd"})), SIGNATURE),
        ("A36 x5t", rogue(json!({"x5t": "AAAA", "x5t#S256": "AAAA"})), SIGNATURE),
        ("A37 kid a path", es256(json!({"kid": "../../../../dev/null"})), "UnknownKey"),
        ("A37 kid a statement", es256(json!({"kid": "x' UNION SELECT 'k'--"})), "UnknownKey"),
        ("A37 kid with a NUL", es256(json!({"kid": "p256\0"})), "UnknownKey"),
        ("A38 kid a number", es256(json!({"kid": 5})), KID),
        ("A38 kid null", raw(r#"{"alg":"ES256","kid":null}"#), KID),
        ("A38 kid an array", es256(json!({"kid": ["p256"]})), KID),
        ("A38 kid an object", es256(json!({"kid": {}})), KID),
        ("A38 kid empty", es256(json!({"kid": ""})), KID),
        ("A38 kid of 256 bytes", es256(json!({"kid": "k".repeat(256)})), "UnknownKey"),
        ("A38 kid of 257 bytes", es256(json!({"kid": "k".repeat(257)})), KID),
        ("A41 alg twice", raw(r#"{"alg":"none","alg":"ES256","kid":"p256"}"#), HEADER),
        ("A41 kid twice", raw(r#"{"alg":"ES256","kid":"x","kid":"p256"}"#), HEADER),
        ("A41 alg escaped", raw(r#"{"alg":"ES256","\u0061lg":"none","kid":"p256"}"#), HEADER),
        ("A42 an array", raw(r#"["alg","ES256"]"#), HEADER),
        ("A42 text", raw(r#""ES256""#), HEADER),
        ("A42 empty", raw("{}"), "malformed: a header without `alg`"),
        ("A42 alg a number", raw(r#"{"alg":256}"#), &alg),
        ("A42 bytes after the object", raw(r#"{"alg":"ES256","kid":"p256"}x"#), HEADER),
        ("A42 4 KiB is read", es256(json!({"x": "x".repeat(4096 - others)})), "ok"),
        ("A42 over 4 KiB", es256(json!({"x": "x".repeat(4097 - others)})), &long),
        ("A44 typ a number", es256(json!({"typ": 7})), &typ),
        ("A44 typ an array", es256(json!({"typ": ["JWT"]})), &typ),
        ("A44 typ empty", es256(json!({"typ": ""})), &typ),
        ("A45 cty", es256(json!({"cty": "JWT"})), &nested),
        ("A48 enc", es256(json!({"enc": "A128GCM"})), &encrypted),
        ("A48 zip", es256(json!({"zip": "DEF"})), &zip),
    ]);
}

#[test]
fn tokens_without_an_identifier_need_the_only_key() {
    let bare = |key: &TestKey| key.token(Algorithm::ES256, r#"{"alg":"ES256"}"#, claims().to_string());
    let one = set(&[RSA.jwk(), P256.jwk()]);
    let two = set(&[P256.jwk(), with(ROGUE_P256.jwk(), json!({"kid": "other"}))]);
    let none = set(&[RSA.jwk()]);
    for (row, keys, text, expected) in [
        ("A40 the only one", &one, bare(&P256), "ok"),
        ("A40 a rogue", &one, bare(&ROGUE_P256), "not of these keys: its signature is wrong"),
        ("A40 two", &two, bare(&P256), "invalid: several keys fit and it does not say which"),
        ("A40 none", &none, bare(&P256), "not of these keys: no key of the issuer permits its algorithm"),
    ] {
        assert_eq!(verdict_of(&text, &settings(), keys), expected, "{row}");
    }
}

#[test]
fn keys_of_one_identifier_are_all_tried_and_never_mixed_up() {
    let same = |key: &TestKey| with(key.jwk(), json!({"kid": "same"}));
    let keys = set(&[same(&RSA), same(&ROGUE_P256), same(&P256)]);
    let token = |key: &TestKey, algorithm: Algorithm| {
        let header = json!({"alg": algorithm.as_str(), "kid": "same"}).to_string();
        verdict_of(&key.token(algorithm, &header, claims().to_string()), &settings(), &keys)
    };
    assert_eq!(token(&RSA, Algorithm::RS256), "ok");
    assert_eq!(token(&P256, Algorithm::ES256), "ok", "the second of two");
    assert_eq!(token(&ROGUE_RSA, Algorithm::RS256), SIGNATURE);
    assert_eq!(token(&P384, Algorithm::ES384), NONE_FITS);
}

#[test]
fn long_tokens_are_good_up_to_the_limit() {
    let padded = |length: usize| {
        let text = claiming(&with(claims(), json!({"pad": "x".repeat(length)})));
        (text.len(), verdict(&text))
    };
    let fixed = padded(0).0;
    let (length, found) = padded((MAX_TOKEN_BYTES - fixed) / 4 * 3 - 12);
    assert!(length > MAX_TOKEN_BYTES - 100 && length <= MAX_TOKEN_BYTES, "{length}");
    assert_eq!(found, "ok", "A49");
    let (length, found) = padded((MAX_TOKEN_BYTES - fixed) / 4 * 3 + 12);
    assert!(length > MAX_TOKEN_BYTES && length < MAX_TOKEN_BYTES + 100, "{length}");
    assert_eq!(found, "malformed: longer than 48 KiB", "A49");
}

#[test]
fn nothing_of_a_token_is_printed() {
    let text = good();
    let token = Token::parse(&text).unwrap();
    for shown in [format!("{token:?}"), format!("{:?}", token.jws())] {
        assert!(shown.len() < 30 && !shown.contains("alice"), "{shown}");
    }
}

/// r and s as two INTEGERs in a SEQUENCE.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut bytes = bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        [&[2, u8::try_from(bytes.len()).unwrap()], bytes.as_slice()].concat()
    };
    let both = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()], both.as_slice()].concat()
}

/// The same r with n - s.
fn twin(signature: &[u8], order: &[u8; 32]) -> Vec<u8> {
    let mut twin = signature.to_vec();
    let mut borrow = 0_i16;
    for index in (0..32).rev() {
        let difference = i16::from(order[index]) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(difference < 0);
        twin[32 + index] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    assert_ne!(twin, signature);
    twin
}
