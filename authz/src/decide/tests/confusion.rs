//! Every kind of credential against every kind of authenticator: none is ever accepted by another's.

use aws_lc_rs::{digest, hmac};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL},
};
use crds::snapshot::{AuthenticatorKind, Entry};
use serde_json::json;

use super::{
    second_factor::{BASE32, code_at},
    service_accounts,
    services::{ask_with, read},
    *,
};
use crate::{
    jwt::testkit::RSA,
    remote::{Reply, What},
};

pub(super) const HS_SECRET: &str = "0123456789abcdef0123456789abcdef-new";
pub(super) const TWO_SECRET: &str = "another-secret-of-at-least-32-bytes";
const PEPPER: &str = "a-pepper-of-at-least-32-bytes-long!!!!!!";
const CQA_ID: &str = "11111111111111111111111111111111";

pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

pub(super) fn sha256(text: &str) -> String {
    digits(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// A token of a shared secret.
pub(super) fn hs_token(secret: &str, claims: serde_json::Value) -> String {
    keyed(secret.as_bytes(), r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

fn keyed(secret: &[u8], header: &str, claims: serde_json::Value) -> String {
    let claims = with(json!({"sub": "alice", "exp": NOW_MS / 1000 + 600}), claims);
    let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", BASE64URL.encode(tag))
}

pub(super) fn cqa_secret() -> String {
    "a".repeat(52)
}

pub(super) fn cqa_record(change: &serde_json::Value) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, PEPPER.as_bytes()), cqa_secret().as_bytes());
    let mut record = json!({"hash": digits(tag.as_ref()), "user": "carol", "expires_at": "2099-01-01T00:00:00Z", "revoked_at": null});
    for (name, value) in change.as_object().into_iter().flatten() {
        record[name] = value.clone();
    }
    record.to_string()
}

pub(super) fn cqa_key() -> String {
    format!("cqa.v1.{CQA_ID}.{}", cqa_secret())
}

/// All Secrets of these tests: every credential text below is also an API key by its digest, so that only its kind can refuse it.
pub(super) fn secrets(more: &[(&str, String)]) -> String {
    let document = |name: &str, data: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"}, "stringData": data})
            .to_string()
            + "\n---\n"
    };
    let mut digests = serde_json::Map::new();
    digests.insert(sha256("opaque-key"), json!(r#"{"sub":"bob"}"#));
    digests.extend(more.iter().map(|(text, record)| (sha256(text), json!(record))));
    document("hs", json!({"new": HS_SECRET, "two": TWO_SECRET, "pepper": PEPPER}))
        + &document("digests", serde_json::Value::Object(digests))
        + &document("codes", json!({"alice": BASE32}))
        + &document("agents", json!({CQA_ID: cqa_record(&json!({}))}))
}

pub(super) const KINDS: [(&str, &str); 9] = [
    ("issuer", "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}"),
    ("static", "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}]}"),
    ("digest", "apiKey: {sha256: {secretRef: {name: digests}}}"),
    (
        "agent",
        "apiKey: {cqaV1: {peppers: [{secretKeyRef: {name: hs, key: pepper}}], keys: {secretRef: {name: agents}}}}",
    ),
    (
        "introspected",
        "introspection: {endpoint: 'https://as.test/introspect', client: {clientID: gw, clientSecretRef: {name: hs, key: new}}}",
    ),
    ("profile", "userInfo: {endpoint: 'https://as.test/userinfo'}"),
    ("hook", "webhook: {url: 'https://hook.test/verify'}"),
    ("account", "serviceAccount: {audiences: [api]}"),
    (
        "two-factor",
        "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: two}}]}, totp: {secretsRef: {name: codes}}",
    ),
];

/// Which of the tables tries a kind: every one of [`KINDS`] each against each, certificates against all of them in `certificates`. A kind that
/// is added does not compile until somebody has said where it is tried.
fn is_tried(kind: &AuthenticatorKind) -> bool {
    match kind {
        AuthenticatorKind::Jwt(_)
        | AuthenticatorKind::ApiKey(_)
        | AuthenticatorKind::Introspection(_)
        | AuthenticatorKind::UserInfo(_)
        | AuthenticatorKind::Webhook(_)
        | AuthenticatorKind::ServiceAccount(_) => true,
        AuthenticatorKind::ClientCertificate(_) => false,
    }
}

/// Services that each know one token, and answer whatever they are asked.
fn services(what: &What) -> Reply {
    let (name, text) = match what {
        What::Token(authenticator, token) => {
            (&*authenticator.name, std::str::from_utf8(token.expose()).unwrap().to_owned())
        }
        What::Credential(authenticator, body) => {
            let question: serde_json::Value = serde_json::from_slice(body.expose()).unwrap();
            (&*authenticator.name, question["credential"].as_str().unwrap().to_owned())
        }
        other => panic!("asks about {}", matches!(other, What::Caller(..))),
    };
    let good = text == format!("opaque-of-{name}");
    read(
        what,
        match (good, name) {
            (true, "hook") => json!({"authenticated": true, "claims": {"sub": "dave"}}),
            (false, "hook") => json!({"authenticated": false}),
            (true, "introspected") => json!({"active": true, "sub": "dave"}),
            (false, "introspected") => json!({"active": false}),
            (true, _) => json!({"sub": "dave"}),
            (false, _) => return Reply::Refused("unknown"),
        },
    )
}

pub(super) fn document(authenticators: &[(&str, &str)], more: &str) -> String {
    let authenticators = authenticators
        .iter()
        .map(|(name, kind)| format!("  - {{name: {name}, {kind}}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let rest = more.replace('\n', "\n  ");
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  externalHostnames: [a.test]\n  {rest}\n  authenticators:\n{authenticators}---\n"
    )
}

/// One good credential of each kind, and a token signed with a key of another kind.
pub(super) fn credentials(world: &World) -> [(&'static str, String); 9] {
    [
        ("issuer", world.token(json!({"sub": "alice"}))),
        ("static", hs_token(HS_SECRET, json!({}))),
        ("digest", "opaque-key".to_owned()),
        ("agent", cqa_key()),
        ("introspected", "opaque-of-introspected".to_owned()),
        ("profile", "opaque-of-profile".to_owned()),
        ("hook", "opaque-of-hook".to_owned()),
        ("account", service_accounts::token(world, &json!({}))),
        ("two-factor", format!("{}:{}", hs_token(TWO_SECRET, json!({})), code_at(NOW_MS))),
    ]
}

fn outcome(world: &World, credential: &str) -> Result<String, Code> {
    let bearer = format!("Bearer {credential}");
    let (decision, _) = ask_with(world, &get("/", &[("authorization", &bearer)]), NOW_MS, 0, &services);
    code(&decision).map(|()| set(&decision, "x-auth-authenticator").unwrap().to_owned())
}

#[test]
fn a_credential_of_one_kind_is_only_accepted_by_its_own() {
    let all = World::new(&document(&KINDS, ""));
    let texts = credentials(&all);
    // The texts of all others are listed as digests too, but for those that are as opaque as a key.
    let listed: Vec<_> = texts
        .iter()
        .map(|(_, text)| (text.as_str(), r#"{"sub":"mallory"}"#.to_owned()))
        .filter(|(text, _)| !text.starts_with("opaque-"))
        .collect();
    for (verifier, kind) in KINDS {
        let world = World::new(&(document(&[(verifier, kind)], "") + &secrets(&listed)));
        for (own, text) in &texts {
            let expected = if *own == verifier { Ok(verifier.to_owned()) } else { Err(Code::InvalidToken) };
            assert_eq!(outcome(&world, text), expected, "a credential of kind {own} before {verifier}");
        }
    }
}

#[test]
fn no_kind_is_left_out() {
    let mesh = [("mesh", "clientCertificate: {}")];
    let world = World::new(&document(&[&KINDS[..], &mesh].concat(), ""));
    let [Entry::InForce(one)] = world.snapshot.entries() else { panic!("one policy") };
    let all = &one.policy.rules.authenticators;
    let (tried, beside): (Vec<_>, Vec<_>) = all.iter().partition(|authenticator| is_tried(&authenticator.kind));
    assert_eq!((tried.len(), beside.len()), (KINDS.len(), 1));
    let variants: std::collections::HashSet<_> =
        all.iter().map(|authenticator| std::mem::discriminant(&authenticator.kind)).collect();
    assert_eq!(variants.len(), 7, "each variant of `AuthenticatorKind`");
}

#[test]
fn all_kinds_side_by_side_dispatch_in_any_order() {
    for turn in 0..KINDS.len() {
        let mut kinds = KINDS;
        kinds.rotate_left(turn);
        let world = World::new(&(document(&kinds, "") + &secrets(&[])));
        for (own, text) in credentials(&world) {
            assert_eq!(outcome(&world, &text), Ok(own.to_owned()), "order {turn}");
        }
    }
}

#[test]
fn secrets_of_one_kind_sign_nothing_for_another() {
    let world = World::new(&(document(&KINDS, "") + &secrets(&[])));
    let jwk = world.signer.jwk().to_string();
    for (what, text) in [
        ("the pepper as token secret", hs_token(PEPPER, json!({}))),
        ("the pepper, for the issuer", hs_token(PEPPER, json!({"iss": ISSUER, "aud": "api"}))),
        ("the issuer's public key as secret", hs_token(&jwk, json!({"iss": ISSUER, "aud": "api"}))),
        ("a digest as key", sha256("opaque-key")),
        ("a stored hash as key", cqa_record(&json!({})).split('"').find(|part| part.len() == 64).unwrap().to_owned()),
        ("an id without its secret", format!("cqa.v1.{CQA_ID}.")),
        ("a code with a token of another kind", format!("{}:{}", hs_token(HS_SECRET, json!({})), code_at(NOW_MS))),
        ("a token of two factors without the second", hs_token(TWO_SECRET, json!({}))),
        ("a code alone", code_at(NOW_MS)),
        ("a token of the issuer that names an account", world.token(json!({"iss": CLUSTER, "sub": "alice"}))),
        ("a token of the cluster for its own API server", service_accounts::token(&world, &json!({"aud": CLUSTER}))),
        (
            "a shared secret in the name of an account",
            hs_token(TWO_SECRET, json!({"iss": CLUSTER, "sub": service_accounts::SUBJECT, "aud": "api"})),
        ),
        ("nothing signed", format!("{}.e30.", BASE64URL.encode(r#"{"alg":"none"}"#))),
    ] {
        assert_eq!(outcome(&world, &text), Err(Code::InvalidToken), "{what}");
    }
}

#[test]
fn a_token_with_an_issuer_is_for_that_issuer_or_for_keys_without_one() {
    let with_issuer =
        ("static", "jwt: {issuer: 'https://own.test', keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}]}");
    let world = World::new(&(document(&[with_issuer], "") + &secrets(&[])));
    assert_eq!(outcome(&world, &hs_token(HS_SECRET, json!({"iss": "https://own.test"}))), Ok("static".to_owned()));
    assert_eq!(outcome(&world, &hs_token(HS_SECRET, json!({"iss": "https://sso.test"}))), Err(Code::InvalidToken));
    assert_eq!(outcome(&world, &hs_token(HS_SECRET, json!({}))), Err(Code::InvalidToken));
    let world = World::new(&(document(&[KINDS[1]], "") + &secrets(&[])));
    let decision = world.ask(&get(
        "/",
        &[("authorization", &format!("Bearer {}", hs_token(HS_SECRET, json!({"iss": "https://x.test"}))))],
    ));
    assert_eq!((code(&decision), set(&decision, "x-auth-issuer")), (Ok(()), None), "nobody verified that issuer");
}

/// A block of RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The public keys of [`RSA`] and [`P256`] in the forms in which they are published: PKCS #1 (RFC 8017 appendix A.1.1), the same in the
/// wrapping of X.509 (RFC 5280 section 4.1.2.7), a line of OpenSSH (RFC 4253 section 6.6), and members of JWKs.
fn published() -> [(&'static str, Vec<u8>); 12] {
    let member = |jwk: &serde_json::Value, name: &str| jwk[name].as_str().unwrap().to_owned();
    let (jwk, point) = (RSA.jwk(), P256.jwk());
    let (n, x, y) = (member(&jwk, "n"), member(&point, "x"), member(&point, "y"));
    let [modulus, x_bytes, y_bytes] = [&n, &x, &y].map(|text| BASE64URL.decode(text).unwrap());
    let numbers = (&b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00"[..], &b"\x02\x03\x01\x00\x01"[..]);
    let pkcs1 = [numbers.0, modulus.as_slice(), numbers.1].concat();
    let wrapping = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";
    let spki = [&wrapping[..], pkcs1.as_slice()].concat();
    let ssh = [&b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01\0\0\x01\x01\0"[..], modulus.as_slice()].concat();
    [
        ("SPKI in PEM", pem("PUBLIC KEY", &spki).into_bytes()),
        ("SPKI in PEM, without the last line break", pem("PUBLIC KEY", &spki).trim_end().as_bytes().to_vec()),
        ("SPKI in DER", spki),
        ("PKCS #1 in PEM", pem("RSA PUBLIC KEY", &pkcs1).into_bytes()),
        ("PKCS #1 in DER", pkcs1),
        ("the JWK", jwk.to_string().into_bytes()),
        ("the modulus", modulus),
        ("the modulus as text", n.into_bytes()),
        ("a line of OpenSSH", format!("ssh-rsa {}", STANDARD.encode(ssh)).into_bytes()),
        ("the x coordinate as text", x.into_bytes()),
        ("the point", [&b"\x04"[..], x_bytes.as_slice(), y_bytes.as_slice()].concat()),
        ("the x coordinate", x_bytes),
    ]
}

/// Whoever takes a public key for a shared secret lets everybody sign.
#[test]
fn a_public_key_is_no_shared_secret_in_any_form() {
    let by_issuer = |signer: &'static TestKey| {
        let mut world = World::new(&policy(""));
        world.signer = signer;
        world.keys(ISSUER, true, false, false);
        world
    };
    let spki = published().into_iter().find(|(form, _)| *form == "SPKI in PEM").map(|(_, text)| text).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "public", "namespace": "n"},
        "stringData": {"key": String::from_utf8(spki).unwrap()},
    });
    let kind = ("static", "jwt: {keys: [{algorithm: RS256, secretKeyRef: {name: public, key: key}}]}");
    let by_secret = World::new(&(document(&[kind], "") + &secret.to_string() + "\n"));
    let good = |signer: &TestKey, algorithm| token_of(signer, algorithm, json!({"sub": "alice"}));
    for (world, name, token) in [
        (by_issuer(&RSA), "sso", good(&RSA, Algorithm::RS256)),
        (by_issuer(&P256), "sso", good(&P256, Algorithm::ES256)),
        (by_secret, "static", good(&RSA, Algorithm::RS256)),
    ] {
        assert_eq!(outcome(&world, &token), Ok(name.to_owned()), "the control");
        for (form, text) in published() {
            for kid in ["rsa", "p256"] {
                let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid}).to_string();
                let forged = keyed(&text, &header, json!({"iss": ISSUER, "aud": "api"}));
                assert_eq!(outcome(&world, &forged), Err(Code::InvalidToken), "{form}, before {name}");
            }
        }
    }
}
