//! Tables: which texts are keys, which entries are records, and what a hundred thousand of them take.

use super::*;
use crate::{
    documents::{Objects, SecretValues},
    secret::Secret,
};

const PEPPER: &str = "a-pepper-of-at-least-32-bytes-long!!!!!!";

fn secrets(entries: &[(&str, &[(String, String)])]) -> Objects {
    let mut objects = Objects::default();
    for (name, entries) in entries {
        let data: Map<String, Value> =
            entries.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        let document = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "labels": {"keys": "yes"}}, "stringData": data,
        });
        objects.read("s.json", &document.to_string());
    }
    assert!(objects.unreadable.is_empty());
    objects
}

fn table<R: Record>(entries: &[(&str, &[(String, String)])]) -> Table<R> {
    let objects = secrets(entries);
    let all = objects.secrets_with("n", &[("keys".to_owned(), "yes".to_owned())].into());
    assert_eq!(all.len(), entries.len());
    Table::new(&all, &Table::<R>::digest(&all))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn sha256(key: &str) -> String {
    digits(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes()).as_ref())
}

fn hmac(pepper: &str, secret: &str) -> String {
    use aws_lc_rs::hmac;
    digits(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pepper.as_bytes()), secret.as_bytes()).as_ref())
}

fn peppers(all: &[&str]) -> Peppers {
    Peppers::new(&all.iter().map(|one| Secret::new(one.as_bytes())).collect::<Vec<_>>(), false)
}

fn row(name: impl Into<String>, value: impl std::fmt::Display) -> (String, String) {
    (name.into(), value.to_string())
}

#[test]
fn a_key_is_found_by_its_digest() {
    let table: Table<Sha256Record> = table(&[(
        "s",
        &[
            row(
                sha256("key-1"),
                serde_json::json!({"user_id": "u1", "roles": ["viewer"], "expires_at": "2030-01-01T00:00:00Z"}),
            ),
            row(sha256("key-2"), serde_json::json!({"user_id": "u2", "revoked_at": "2999-01-01T00:00:00Z"})),
            row(sha256("cqa.v1.x"), serde_json::json!({"user_id": "u3"})),
            row(sha256(""), serde_json::json!({"user_id": "u4"})),
        ],
    )]);
    let found = table.find("key-1").unwrap();
    assert_eq!((found.claims.get("user_id"), found.ends_ms), (Some(&Value::from("u1")), Some(1_893_456_000_000)));
    assert_eq!(table.find("key-2").unwrap().ends_ms, Some(i64::MIN), "a revoked key has ended, whatever its time says");
    for other in ["key-3", "key-1 ", "", &sha256("key-1"), "cqa.v1.x"] {
        assert_eq!(table.find(other), None, "{other}");
    }
}

#[test]
fn a_cqa_key_needs_its_id_its_secret_and_a_pepper() {
    let (id, secret) = ("0123456789abcdef0123456789abcdef", "a".repeat(52));
    let record = |pepper: &str| serde_json::json!({"hash": hmac(pepper, &secret), "user": "alice", "expires_at": null, "revoked_at": null});
    let table: Table<CqaV1Record> = table(&[(
        "s",
        &[row(id, record(PEPPER)), row("f".repeat(32), record("the-older-pepper-of-32-bytes-and-more"))],
    )]);
    let both = peppers(&["another-pepper-of-at-least-32-bytes!!", PEPPER]);
    let key = format!("cqa.v1.{id}.{secret}");
    let found = table.find(&both, &key).unwrap();
    assert_eq!(
        (found.claims.get("sub"), found.claims.get("user"), found.ends_ms),
        (Some(&Value::from("alice")), Some(&Value::from("alice")), None)
    );
    assert!(
        table
            .find(&peppers(&["the-older-pepper-of-32-bytes-and-more"]), &format!("cqa.v1.{}.{secret}", "f".repeat(32)))
            .is_some()
    );
    assert_eq!(table.find(&peppers(&[]), &key), None);
    assert_eq!(table.find(&peppers(&["another-pepper-of-at-least-32-bytes!!"]), &key), None);
    for other in [
        format!("cqa.v1.{id}.{}b", "a".repeat(51)),
        format!("cqa.v1.{id}.{}", "a".repeat(51)),
        format!("cqa.v1.{id}.{secret}a"),
        format!("cqa.v1.{id}.{secret} "),
        format!("cqa.v1.{id}.{}", secret.to_uppercase()),
        format!("cqa.v1.{}.{secret}", id.to_uppercase()),
        format!("cqa.v1.{}.{secret}", "e".repeat(32)),
        format!("cqa.v2.{id}.{secret}"),
        format!("cqa.v1.{id}{secret}"),
        String::new(),
    ] {
        assert_eq!(table.find(&both, &other), None, "{other}");
    }
}

#[test]
fn a_minted_key_is_found_by_its_entry() {
    let minted = Minted::cqa_v1([9; 16], [200; 32], PEPPER.as_bytes(), "alice", "2030-01-01T00:00:00Z");
    let agents: Table<CqaV1Record> = table(&[("s", &[row(&minted.name, &minted.value)])]);
    let found = agents.find(&peppers(&[PEPPER]), &minted.key).unwrap();
    assert_eq!((found.claims.get("sub"), found.ends_ms), (Some(&Value::from("alice")), Some(1_893_456_000_000)));
    assert!(!minted.value.contains(minted.key.rsplit('.').next().unwrap()), "the key is not in its record");
    let minted = Minted::sha256([200; 32], "alice", "2030-01-01T00:00:00Z");
    let digests: Table<Sha256Record> = table(&[("s", &[row(&minted.name, &minted.value)])]);
    assert_eq!(digests.find(&minted.key).unwrap().claims.get("user_id"), Some(&Value::from("alice")));
}

#[test]
fn what_is_no_record_is_left_out_and_told_without_its_content() {
    let good = serde_json::json!({"hash": "0".repeat(64), "user": "u", "expires_at": null, "revoked_at": null});
    for (name, value, reason) in [
        ("canary-key", good.clone(), "name"),
        ("0123456789ABCDEF0123456789abcdef", good.clone(), "name"),
        ("0123456789abcdef0123456789abcde", good.clone(), "name"),
        ("0123456789abcdef0123456789abcdef", Value::from("canary"), "JSON object"),
        (
            "0123456789abcdef0123456789abcdef",
            serde_json::json!({"hash": "canary", "user": "u", "expires_at": null, "revoked_at": null}),
            "`hash`",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            serde_json::json!({"hash": "0".repeat(64), "user": "", "expires_at": null, "revoked_at": null}),
            "`user`",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            serde_json::json!({"hash": "0".repeat(64), "user": "u", "revoked_at": null}),
            "write null for never",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            serde_json::json!({"hash": "0".repeat(64), "user": "u", "expires_at": "canary", "revoked_at": null}),
            "`expires_at`",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            serde_json::json!({"hash": "0".repeat(64), "user": "u", "expires_at": null, "revoked_at": 7}),
            "`revoked_at`",
        ),
    ] {
        let table: Table<CqaV1Record> = table(&[("s", &[row("f".repeat(32), &good), row(name, &value)])]);
        let [skipped] = table.skipped() else { panic!("{name} {value}") };
        assert_eq!((table.len(), &*skipped.secret, skipped.count), (1, "n/s", 1), "{name} {value}");
        assert!(
            skipped.reason.contains(reason) && !skipped.reason.contains("canary"),
            "{name} {value}: {}",
            skipped.reason
        );
    }
}

#[test]
fn two_secrets_that_disagree_about_a_key_make_it_unknown() {
    let digest = sha256("key");
    let claims = |user: &str| serde_json::json!({"user_id": user, "a": 1});
    let same: Table<Sha256Record> =
        table(&[("a", &[row(&digest, claims("u"))]), ("b", &[row(&digest, r#"{"a": 1, "user_id": "u"}"#)])]);
    assert!(same.find("key").is_some() && same.skipped().is_empty(), "the same record twice is one");
    let other: Table<Sha256Record> = table(&[
        ("a", &[row(&digest, claims("u"))]),
        ("b", &[row(&digest, claims("v"))]),
        ("c", &[row(&digest, claims("u"))]),
    ]);
    assert_eq!(other.find("key"), None);
    assert_eq!(&*other.skipped()[0].secret, "n/b");
}

#[test]
fn the_digest_of_secrets_follows_names_and_contents() {
    let digest = |entries: &[(&str, &[(String, String)])]| {
        let objects = secrets(entries);
        Table::<Sha256Record>::digest(&objects.secrets_with("n", &[("keys".to_owned(), "yes".to_owned())].into()))
    };
    let (a, b) = ([row("k", "v")], [row("k", "w")]);
    let all = [
        digest(&[]),
        digest(&[("a", &a)]),
        digest(&[("b", &a)]),
        digest(&[("a", &b)]),
        digest(&[("a", &a), ("b", &a)]),
    ];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    assert_eq!(digest(&[("a", &[row("x", "1"), row("y", "2")])]), digest(&[("a", &[row("y", "2"), row("x", "1")])]));
}

#[test]
fn labels_and_namespaces_select() {
    let mut objects = Objects::default();
    for (namespace, name, labels) in [
        ("n", "a", r#"{"x": "1", "y": "2"}"#),
        ("n", "b", r#"{"x": "1"}"#),
        ("n", "c", "{}"),
        ("m", "d", r#"{"x": "1"}"#),
        ("nn", "e", r#"{"x": "1"}"#),
    ] {
        objects.read("s", &format!(r#"{{"apiVersion": "v1", "kind": "Secret", "metadata": {{"name": "{name}", "namespace": "{namespace}", "labels": {labels}}}}}"#));
        objects.read("c", &format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}", "namespace": "{namespace}", "labels": {labels}}}}}"#));
    }
    let found = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        objects.secrets_with("n", &labels).iter().map(SecretValues::name).collect::<Vec<_>>()
    };
    assert_eq!(found(&[("x", "1")]), ["n/a", "n/b"]);
    assert_eq!(found(&[("x", "1"), ("y", "2")]), ["n/a"]);
    assert_eq!(found(&[("x", "2")]), [""; 0]);
}

#[test]
fn a_hundred_thousand_keys_take_forty_megabytes_at_most() {
    let rows: Vec<_> = (0..100_000)
        .map(|n| {
            row(sha256(&format!("key-{n}")), format!(r#"{{"user_id":"user-{n}","name":"Demo","roles":["viewer"]}}"#))
        })
        .collect();
    let digests: Table<Sha256Record> = table(&[("s", &rows)]);
    let rows: Vec<_> = (0..100_000)
        .map(|n| {
            row(
                format!("{n:032x}"),
                format!(
                    r#"{{"hash":"{}","user":"user-{n}","expires_at":"2099-01-01T00:00:00Z","revoked_at":null}}"#,
                    "0".repeat(64)
                ),
            )
        })
        .collect();
    let agents: Table<CqaV1Record> = table(&[("s", &rows)]);
    assert_eq!((digests.len(), agents.len()), (100_000, 100_000));
    for bytes in [digests.bytes(), agents.bytes()] {
        assert!(bytes <= 400 * 100_000, "{bytes}");
    }
    assert!(digests.find("key-99999").is_some() && digests.find("key-100000").is_none());
}
