//! Tokens: good ones, and what mistakes and attackers make of them. Which, the random numbers say.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::algorithm::{Algorithm, HmacAlgorithm, KeyAlgorithm, KeyFamily};
use fastrand::Rng;
use serde_json::json;

use crate::testkit::{ISSUER, ROGUE_P256, ROGUE_RSA, key_of};

/// Those that verify with a public key.
pub(crate) const PUBLIC: [KeyAlgorithm; 11] = [
    KeyAlgorithm::RS256,
    KeyAlgorithm::RS384,
    KeyAlgorithm::RS512,
    KeyAlgorithm::PS256,
    KeyAlgorithm::PS384,
    KeyAlgorithm::PS512,
    KeyAlgorithm::ES256,
    KeyAlgorithm::ES384,
    KeyAlgorithm::ES512,
    KeyAlgorithm::EdDSA,
    KeyAlgorithm::Ed25519,
];

/// Those with a secret, each with its own.
pub(crate) const SHARED: [(KeyAlgorithm, &str); 3] = [
    (KeyAlgorithm::HS256, "a secret of thirty-two bytes....."),
    (KeyAlgorithm::HS384, "a secret of forty-eight bytes...................."),
    (KeyAlgorithm::HS512, "a secret of sixty-four bytes....................................."),
];

/// A token and what was done to it.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) changes: Vec<String>,
}

/// Name and JSON text of a member.
type Members = Vec<(String, String)>;

/// What may be said in place of a good header's member; an empty text removes it.
const HEADER: &[(&str, &[&str])] = &[
    (
        "alg",
        &[
            "",
            "\"none\"",
            "\"None\"",
            "\"rs256\"",
            "\"HS256\"",
            "\"HS512\"",
            "\"ES256K\"",
            "\"RS256\\u0000\"",
            "null",
            "256",
            "[\"RS256\"]",
            "{}",
        ],
    ),
    ("kid", &["", "null", "7", "\"\"", "\"nobody\"", "\"rsa\"", "\"p256\"", "[\"rsa\"]", "\"r\\u0073a\""]),
    ("typ", &["", "\"\"", "\"jwt\"", "\"at+jwt\"", "\"application/at+JWT\"", "\"JWS\"", "\"logout+jwt\"", "null", "7"]),
    ("crit", &["[]", "[\"exp\"]", "[\"b64\"]", "null", "\"exp\""]),
    ("b64", &["true", "false", "null"]),
    ("cty", &["\"JWT\"", "\"json\"", "null"]),
    ("zip", &["\"DEF\""]),
    ("enc", &["\"A128GCM\""]),
    ("jwk", &["{\"kty\":\"oct\",\"k\":\"AAAA\"}", "null"]),
    ("jku", &["\"https://evil.test/keys\""]),
    ("x5u", &["\"https://evil.test/cert\""]),
    ("x5c", &["[]", "[\"MIIB\"]"]),
    ("x", &["1", "{\"a\":[1,{\"b\":2}]}", "\"\\ud800\"", "1e400", "\"é\""]),
];

/// The same for claims. `NOW±n` becomes a date.
const CLAIMS: &[(&str, &[&str])] = &[
    (
        "iss",
        &[
            "",
            "null",
            "7",
            "\"\"",
            "\"https://issuer.example/\"",
            "\"https://ISSUER.example\"",
            "[\"https://issuer.example\"]",
            "\"https:\\/\\/issuer.example\"",
            "\"https://issuer.example\\u0000\"",
        ],
    ),
    (
        "aud",
        &[
            "",
            "null",
            "\"\"",
            "\"other\"",
            "\"API\"",
            "[]",
            "[\"other\"]",
            "[\"api\"]",
            "[\"other\",\"api\"]",
            "[\"api\",7]",
            "[\"api\",\"\"]",
            "[[\"api\"]]",
            "{\"api\":1}",
            "true",
        ],
    ),
    (
        "exp",
        &[
            "",
            "null",
            "\"NOW+600\"",
            "NOW+600.5",
            "NOW-600",
            "0",
            "-1",
            "1e10",
            "1e30",
            "1e400",
            "true",
            "[NOW+600]",
            "NOW+600e0",
            "253402300800",
            "18446744073709551616",
            "NOW+600000",
        ],
    ),
    ("nbf", &["NOW-60", "NOW+600", "null", "\"NOW-60\"", "0", "-1", "NOW-60.25", "true", "1e30"]),
    ("iat", &["", "NOW-60", "NOW+600", "null", "\"NOW-60\"", "-1", "1e30", "true", "NOW-60.25"]),
    ("sub", &["", "null", "7", "\"\"", "\"alice\\u0000\"", "[\"alice\"]", "\"\\ud83d\\ude00\"", "\"\\ud83d\""]),
    ("cnf", &["{\"jkt\":\"x\"}", "null"]),
    ("jti", &["\"a\"", "null", "7"]),
    ("x", &["1", "-0.0", "{\"a\":{\"a\":[[[1]]]}}", "\"\\u0000\"", "1e400", "\"é\"", "NaN", "{\"b\":1,\"b\":2}"]),
];

/// A change of a token.
type OfText = fn(&str, &mut Rng) -> String;
/// A change of a signature.
type OfBytes = fn(&[u8], &mut Rng) -> Vec<u8>;

/// Changes of the text as a whole.
const TEXT: &[(&str, OfText)] = &[
    ("padded", |text, _| text.to_owned() + "="),
    ("padded in the middle", |text, _| text.replacen('.', "=.", 1)),
    ("the other alphabet", |text, _| text.replace('-', "+").replace('_', "/")),
    ("a blank behind it", |text, _| text.to_owned() + " "),
    ("a line behind it", |text, _| text.to_owned() + "\n"),
    ("a fourth part", |text, _| text.to_owned() + ".e30"),
    ("a dot behind it", |text, _| text.to_owned() + "."),
    ("without its signature", |text, _| {
        text.rsplit_once('.').map_or_else(String::new, |(rest, _)| rest.to_owned() + ".")
    }),
    ("two parts", |text, _| text.rsplit_once('.').map_or_else(String::new, |(rest, _)| rest.to_owned())),
    ("bits after the last byte", trailing_bits),
    ("cut", |text, rng| text.chars().take(rng.usize(..text.len())).collect()),
    ("another character", |text, rng| {
        let place = rng.usize(..text.len());
        let other = char::from(b"ABCabc019-_.=+/ "[rng.usize(..16)]);
        text.chars().enumerate().map(|(index, own)| if index == place { other } else { own }).collect()
    }),
];

/// Changes of the signature's bytes.
const SIGNATURE: &[(&str, OfBytes)] = &[
    ("a flipped bit", |signature, rng| {
        let mut changed = signature.to_vec();
        let place = rng.usize(..changed.len());
        changed[place] ^= 1 << rng.u8(..8);
        changed
    }),
    ("a byte less", |signature, _| signature[..signature.len() - 1].to_vec()),
    ("a zero before", |signature, _| [&[0], signature].concat()),
    ("a zero behind", |signature, _| [signature, &[0]].concat()),
    ("zeros", |signature, _| vec![0; signature.len()]),
    ("halves swapped", |signature, _| {
        let (left, right) = signature.split_at(signature.len() / 2);
        [right, left].concat()
    }),
    ("in DER", |signature, _| der(signature)),
];

/// A token by one of these algorithms, of the moment `now`, in seconds.
pub(crate) fn token(rng: &mut Rng, algorithms: &[KeyAlgorithm], now: i64) -> Made {
    let algorithm = algorithms[rng.usize(..algorithms.len())];
    let mut changes = vec![algorithm.as_str().to_owned()];
    let (mut header, mut claims) = good(algorithm, now);
    // A third is good, most others have one mistake: two of them hide each other.
    for _ in 0..[0, 0, 1, 1, 1, 2][rng.usize(..6)] {
        let (members, table) = if rng.bool() { (&mut header, HEADER) } else { (&mut claims, CLAIMS) };
        changes.push(change(members, table, rng, now));
    }
    let input = format!("{}.{}", part(&header, rng, &mut changes), part(&claims, rng, &mut changes));
    let mut signature = sign(algorithm, &input, rng, &mut changes);
    if rng.u8(..8) == 0 {
        let (name, change) = SIGNATURE[rng.usize(..SIGNATURE.len())];
        signature = change(&signature, rng);
        changes.push(name.to_owned());
    }
    let mut text = format!("{input}.{}", BASE64URL.encode(signature));
    if rng.u8(..8) == 0 {
        let (name, change) = TEXT[rng.usize(..TEXT.len())];
        text = change(&text, rng);
        changes.push(name.to_owned());
    }
    Made { text, changes }
}

fn good(algorithm: KeyAlgorithm, now: i64) -> (Members, Members) {
    let members = |all: &[(&str, serde_json::Value)]| -> Members {
        all.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    };
    let mut header = members(&[("alg", json!(algorithm.as_str())), ("typ", json!("JWT"))]);
    // A secret has no name.
    if let KeyFamily::Public(algorithm) = algorithm.family() {
        header.extend(members(&[("kid", key_of(algorithm).jwk()["kid"].clone())]));
    }
    let claims = members(&[
        ("iss", json!(ISSUER)),
        ("aud", json!("api")),
        ("sub", json!("alice")),
        ("iat", json!(now - 60)),
        ("exp", json!(now + 600)),
    ]);
    (header, claims)
}

/// Says something else, or says it twice.
fn change(members: &mut Members, table: &[(&str, &[&str])], rng: &mut Rng, now: i64) -> String {
    let (name, values) = table[rng.usize(..table.len())];
    let value = dated(values[rng.usize(..values.len())], now);
    let twice = !value.is_empty() && members.iter().any(|(own, _)| own == name) && rng.u8(..6) == 0;
    if !twice {
        members.retain(|(own, _)| own != name);
    }
    let shown = format!("{name}{} {value}", if twice { " again" } else { ":" });
    if !value.is_empty() {
        let place = rng.usize(..=members.len());
        members.insert(place, (name.to_owned(), value));
    }
    shown
}

fn dated(value: &str, now: i64) -> String {
    let Some((before, rest)) = value.split_once("NOW") else { return value.to_owned() };
    let end = rest.char_indices().skip(1).find(|(_, one)| !one.is_ascii_digit()).map_or(rest.len(), |(index, _)| index);
    let (offset, after) = rest.split_at(end);
    format!("{before}{}{after}", now + offset.parse::<i64>().unwrap())
}

/// The members as JSON in base64url, now and then in a form that is none.
fn part(members: &Members, rng: &mut Rng, changes: &mut Vec<String>) -> String {
    let space = ["", "", "", " ", "\r\n "][rng.usize(..5)];
    let inside: Vec<String> = members.iter().map(|(name, value)| format!("{space}\"{name}\":{space}{value}")).collect();
    let mut json = format!("{{{}{space}}}", inside.join(",")).into_bytes();
    if rng.u8(..24) == 0 {
        let odd =
            ["a byte before", "a byte behind", "an array", "a mark of the byte order", "no UTF-8", "nested deeply"]
                [rng.usize(..6)];
        json = match odd {
            "a byte before" => [b"x", json.as_slice()].concat(),
            "a byte behind" => [json.as_slice(), b"x"].concat(),
            "an array" => [b"[", json.as_slice(), b"]"].concat(),
            "a mark of the byte order" => [b"\xef\xbb\xbf", json.as_slice()].concat(),
            "no UTF-8" => [&json[..json.len() - 1], b",\"u\":\"\xff\"}"].concat(),
            _ => [&json[..json.len() - 1], b",\"n\":", "[".repeat(40).as_bytes(), "]".repeat(40).as_bytes(), b"}"]
                .concat(),
        };
        changes.push(odd.to_owned());
    }
    BASE64URL.encode(json)
}

/// Mostly the right key and algorithm.
fn sign(algorithm: KeyAlgorithm, input: &str, rng: &mut Rng, changes: &mut Vec<String>) -> Vec<u8> {
    match rng.u8(..24) {
        0 => {
            changes.push("another key of its name".to_owned());
            match (algorithm.family(), rng.bool()) {
                (KeyFamily::Hmac(algorithm), _) => tag(algorithm, &[b'x'; 64], input),
                (KeyFamily::Public(_), true) => ROGUE_RSA.sign(Algorithm::RS256, input.as_bytes()),
                (KeyFamily::Public(_), false) => ROGUE_P256.sign(Algorithm::ES256, input.as_bytes()),
            }
        }
        1 => {
            let all = [&SHARED.map(|(algorithm, _)| algorithm)[..], &PUBLIC].concat();
            let other = all[rng.usize(..all.len())];
            changes.push(format!("signed by {}", other.as_str()));
            by(other, input)
        }
        2 => {
            changes.push("signed with a public key as a secret".to_owned());
            let (key, digest) = match algorithm.family() {
                KeyFamily::Hmac(digest) => (Algorithm::RS256, digest),
                KeyFamily::Public(algorithm) => (algorithm, HmacAlgorithm::HS256),
            };
            tag(digest, key_of(key).jwk().to_string().as_bytes(), input)
        }
        3 => {
            changes.push("another payload was signed".to_owned());
            by(algorithm, &format!("{input}x"))
        }
        _ => by(algorithm, input),
    }
}

/// The signature of the one key of an algorithm.
fn by(algorithm: KeyAlgorithm, input: &str) -> Vec<u8> {
    match algorithm.family() {
        KeyFamily::Public(algorithm) => key_of(algorithm).sign(algorithm, input.as_bytes()),
        KeyFamily::Hmac(digest) => {
            let (_, secret) = SHARED.into_iter().find(|(own, _)| *own == algorithm).unwrap();
            tag(digest, secret.as_bytes(), input)
        }
    }
}

fn tag(algorithm: HmacAlgorithm, secret: &[u8], input: &str) -> Vec<u8> {
    let digest = match algorithm {
        HmacAlgorithm::HS256 => hmac::HMAC_SHA256,
        HmacAlgorithm::HS384 => hmac::HMAC_SHA384,
        HmacAlgorithm::HS512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(digest, secret), input.as_bytes()).as_ref().to_vec()
}

/// Sets a bit of the last character that stands for no byte, where there is one.
fn trailing_bits(text: &str, _: &mut Rng) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let length = text.rsplit('.').next().map_or(0, str::len);
    let last = text.bytes().next_back().and_then(|last| ALPHABET.iter().position(|one| *one == last));
    let (Some(last), true) = (last, !length.is_multiple_of(4)) else { return text.to_owned() };
    let mut changed = text.to_owned();
    changed.pop();
    changed.push(char::from(ALPHABET[last | 1]));
    changed
}

/// ASN.1 of an ECDSA signature, as most libraries make it by themselves.
fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |bytes: &[u8]| {
        let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = bytes.first().is_some_and(|first| *first >= 0x80);
        let body = [if sign { &[0][..] } else { &[] }, &bytes].concat();
        [&[2, u8::try_from(body.len() % 128).unwrap()], body.as_slice()].concat()
    };
    let body = [number(r), number(s)].concat();
    [&[0x30, u8::try_from(body.len() % 128).unwrap()], body.as_slice()].concat()
}
