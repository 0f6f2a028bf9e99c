//! Keys in Secrets, deny lists, API keys and credentials of handshakes, from document to header.

use serde_json::json;

use super::{
    confusion::{HS_SECRET, KINDS, cqa_key, cqa_record, document, hs_token, secrets, sha256},
    services::{ask_with, read},
    *,
};
use crate::remote::What;

const OLD_SECRET: &str = "0123456789abcdef0123456789abcdef-old";

fn compiled(text: &str) -> Snapshot {
    World::new(text).snapshot
}

fn ask(world: &World, credential: &str) -> Result<(), Code> {
    code(&world.ask(&get("/", &[("authorization", &format!("Bearer {credential}"))])))
}

fn hs_secret(new: &str, old: Option<&str>) -> String {
    let old = old.map_or_else(String::new, |old| format!(", old: {old}"));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: hs, namespace: n}}\nstringData: {{new: {new}{old}}}\n---\n"
    )
}

const ROTATING: (&str, &str) = (
    "static",
    "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}, {algorithm: HS256, secretKeyRef: {name: hs, key: old}}]}",
);

#[test]
fn two_secrets_overlap_and_a_removed_one_ends_at_once() {
    let policy = document(&[ROTATING], "");
    let (new, old) = (hs_token(HS_SECRET, json!({})), hs_token(OLD_SECRET, json!({})));
    let mut world = World::new(&(policy.clone() + &hs_secret(HS_SECRET, Some(OLD_SECRET))));
    assert_eq!((ask(&world, &new), ask(&world, &old)), (Ok(()), Ok(())));
    // Both are in the cache now.
    world.snapshot = compiled(&(policy.clone() + &hs_secret(HS_SECRET, None)));
    assert_eq!(
        (ask(&world, &new), ask(&world, &old)),
        (Ok(()), Err(Code::Unavailable)),
        "it may be good under the key that is not there"
    );
    world.snapshot = compiled(&(policy.clone() + &hs_secret(HS_SECRET, Some("0123456789abcdef0123456789abcdef-xxx"))));
    assert_eq!((ask(&world, &new), ask(&world, &old)), (Ok(()), Err(Code::InvalidToken)));
    world.snapshot = compiled(&policy);
    assert_eq!((ask(&world, &new), ask(&world, &old)), (Err(Code::Unavailable), Err(Code::Unavailable)));
}

#[test]
fn the_rules_of_tokens_hold_for_static_keys() {
    let world = World::new(&(document(&[ROTATING], "") + &hs_secret(HS_SECRET, Some(OLD_SECRET))));
    for (claims, expected) in [
        (json!({"aud": "anything"}), Ok(())),
        (json!({"exp": NOW_MS / 1000}), Err(Code::ExpiredToken)),
        (json!({"exp": null}), Err(Code::InvalidToken)),
        (json!({"sub": null}), Err(Code::ClaimMissing)),
        (json!({"sub": 7}), Err(Code::InvalidToken)),
        (json!({"nbf": NOW_MS / 1000 + 60}), Err(Code::InvalidToken)),
    ] {
        assert_eq!(ask(&world, &hs_token(HS_SECRET, claims.clone())), expected, "{claims}");
    }
    let audiences =
        ("static", "jwt: {audiences: [api], keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}]}");
    let world = World::new(&(document(&[audiences], "") + &hs_secret(HS_SECRET, None)));
    assert_eq!(ask(&world, &hs_token(HS_SECRET, json!({"aud": "api"}))), Ok(()));
    assert_eq!(ask(&world, &hs_token(HS_SECRET, json!({"aud": "other"}))), Err(Code::InvalidToken));
}

#[test]
fn a_denied_token_is_refused_also_when_it_was_seen_before() {
    let policy = document(
        &[(
            "static",
            "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}], deniedTokenIDs: {configMapKeyRef: {name: denied, key: jti, optional: true}}}",
        )],
        "",
    ) + &hs_secret(HS_SECRET, None);
    let list = |ids: &str| {
        format!(
            "{policy}apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: denied, namespace: n}}\ndata: {{jti: {}}}\n",
            json!(ids)
        )
    };
    let token = |jti: serde_json::Value| hs_token(HS_SECRET, json!({"jti": jti}));
    let mut world = World::new(&policy);
    assert_eq!(ask(&world, &token(json!("a"))), Ok(()));
    world.snapshot = compiled(&list("b\na\n"));
    for (jti, expected) in [
        (json!("a"), Err(Code::InvalidToken)),
        (json!("b"), Err(Code::InvalidToken)),
        (json!("ab"), Ok(())),
        (json!("A"), Ok(())),
        (json!(null), Ok(())),
        (json!(7), Err(Code::InvalidToken)),
    ] {
        assert_eq!(ask(&world, &token(jti.clone())), expected, "{jti}");
    }
    world.snapshot = compiled(&list("b\n"));
    assert_eq!(ask(&world, &token(json!("a"))), Ok(()));
    world.snapshot = compiled(&list("a\n"));
    assert_eq!(ask(&world, &token(json!("a"))), Err(Code::InvalidToken), "as many, and others");
    world.snapshot = compiled(&policy.replace(", optional: true", ""));
    assert_eq!(ask(&world, &token(json!("a"))), Err(Code::Unavailable), "without the list nobody knows");
}

#[test]
fn an_api_key_is_a_principal() {
    let policy = "credentials: [{header: X-API-Key}, {header: Authorization, scheme: Bearer}]\nroutes: [{name: c, paths: [/claims], forward: {claimsHeader: x-claims}}]";
    let text = document(&[KINDS[2], KINDS[3]], policy)
        + &secrets(&[(
            "full",
            r#"{"sub":"dora","email":"d@x.test","roles":["viewer","editor"],"scope":"a b"}"#.to_owned(),
        )]);
    let world = World::new(&text);
    let decision = world.ask(&get("/", &[("x-api-key", "full")]));
    for (name, value) in [
        ("x-auth-type", Some("api-key")),
        ("x-auth-authenticator", Some("digest")),
        ("x-auth-subject", Some("dora")),
        ("x-auth-user", Some(sha256("urn:gatewright:n/p/digest\ndora").get(..32).unwrap())),
        ("x-auth-email", Some("d@x.test")),
        ("x-auth-roles", Some("viewer,editor")),
        ("x-auth-scopes", Some("a,b")),
        ("x-auth-issuer", None),
    ] {
        assert_eq!(set(&decision, name), value, "{name}");
    }
    assert!(
        removed(&decision, "x-api-key") && removed(&decision, "authorization") && removed(&decision, "x-auth-issuer")
    );
    let decision = world.ask(&get("/", &[("authorization", &format!("Bearer {}", cqa_key()))]));
    assert_eq!(
        (set(&decision, "x-auth-subject"), set(&decision, "x-auth-authenticator")),
        (Some("carol"), Some("agent"))
    );
    // The first place that holds something decides, good or bad.
    let decision = world.ask(&get("/", &[("x-api-key", "bad"), ("authorization", &format!("Bearer {}", cqa_key()))]));
    assert_eq!(code(&decision), Err(Code::InvalidToken));
}

#[test]
fn every_bad_key_is_refused_alike() {
    let records = [
        ("ended", r#"{"sub":"x","expires_at":"2020-01-01T00:00:00Z"}"#.to_owned()),
        ("revoked", r#"{"sub":"x","revoked_at":"2999-01-01T00:00:00Z"}"#.to_owned()),
        ("ends-soon", r#"{"sub":"x","expires_at":"2027-01-15T08:00:01Z"}"#.to_owned()),
    ];
    let text = document(&[KINDS[2], KINDS[3]], "") + &secrets(&records);
    let mut world = World::new(&text);
    let details =
        |world: &World, key: &str| match world.ask(&get("/", &[("authorization", &format!("Bearer {key}"))])).verdict {
            Verdict::Deny(deny) => (deny.code, deny.detail),
            Verdict::Allow(_) | Verdict::Answer(_) => panic!("{key} passed"),
        };
    let unknown = details(&world, "unknown");
    assert_eq!(unknown.0, Code::InvalidToken);
    let other_secret = cqa_key().replace("aaaaaaa", "bbbbbbb");
    let other_id = cqa_key().replace("1111", "2222");
    for bad in ["ended", "revoked", &other_secret, &other_id, "cqa.v1.x"] {
        assert_eq!(details(&world, bad), unknown, "{bad}");
    }
    // A key that ends while it is remembered ends all the same: NOW is one second before.
    let bearer = "Bearer ends-soon";
    for (later, expected) in [(0, Ok(())), (999, Ok(())), (1000, Err(Code::InvalidToken))] {
        let Step::Done(decision) =
            world.step(&get("/", &[("authorization", bearer)]), &Awaited::default(), NOW_MS + later)
        else {
            panic!("waits")
        };
        assert_eq!(code(&decision), expected, "{later}");
    }
    assert_eq!(ask(&world, &cqa_key()), Ok(()));
    let record = cqa_record(&json!({}));
    let changed = text.replace(
        &json!(record).to_string(),
        &json!(cqa_record(&json!({"revoked_at": "2025-01-01T00:00:00Z"}))).to_string(),
    );
    assert_ne!(text, changed);
    world.snapshot = compiled(&changed);
    assert_eq!(details(&world, &cqa_key()), unknown, "a revoked key is not remembered");
}

#[test]
fn nobody_else_is_asked_about_a_key_that_is_known_and_has_ended() {
    for ended in [
        json!({"sub": "bob", "revoked_at": "2020-01-01T00:00:00Z"}),
        json!({"sub": "bob", "expires_at": "2020-01-01T00:00:00Z"}),
    ] {
        for others in KINDS.get(4..7).unwrap() {
            let kinds = [*others, KINDS[2]];
            let world = World::new(&(document(&kinds, "") + &secrets(&[("ended", ended.to_string())])));
            let bearer = ["ended", "other"].map(|text| format!("Bearer {text}"));
            let yes = |what: &What| {
                read(what, json!({"active": true, "authenticated": true, "claims": {"sub": "eve"}, "sub": "eve"}))
            };
            let [known, unknown] = bearer.each_ref().map(|bearer| {
                let (decision, questions) = ask_with(&world, &get("/", &[("authorization", bearer)]), NOW_MS, 0, &yes);
                (code(&decision), questions.len())
            });
            assert_eq!(known, (Err(Code::InvalidToken), 0), "{ended} beside {others:?}");
            assert_eq!(unknown, (Ok(()), 1), "beside {others:?}");
        }
    }
}

#[test]
fn records_or_peppers_that_are_missing_are_our_failure() {
    for (kind, key) in [(KINDS[2], "opaque-key".to_owned()), (KINDS[3], cqa_key())] {
        let world = World::new(&document(&[kind], ""));
        assert_eq!(ask(&world, &key), Err(Code::Unavailable), "{kind:?}");
    }
    // One pepper is there, and the key is of the other.
    let two = (
        "agent",
        "apiKey: {cqaV1: {peppers: [{secretKeyRef: {name: hs, key: new}}, {secretKeyRef: {name: hs, key: gone}}], keys: {secretRef: {name: agents}}}}",
    );
    let world = World::new(&(document(&[two], "") + &secrets(&[])));
    assert_eq!(ask(&world, &cqa_key()), Err(Code::Unavailable));
    // A selector that finds nothing knows no key.
    let none = ("digest", "apiKey: {sha256: {secretSelector: {matchLabels: {a: b}}}}");
    let world = World::new(&(document(&[none], "") + &secrets(&[])));
    assert_eq!(ask(&world, "opaque-key"), Err(Code::InvalidToken));
}

const PLACES: &str = "credentials: [{header: Authorization, scheme: Bearer}, {webSocketProtocol: app}, {query: token, onlyOn: WebSocket}, {query: key}]\nroutes: [{name: open, paths: [/open], access: Public}, {name: keep, paths: [/keep], forward: {credential: Keep}}]";

#[test]
fn a_credential_of_a_handshake_is_taken_out_and_its_protocol_selected() {
    let world = World::new(&(document(&[KINDS[1]], PLACES) + &secrets(&[])));
    let token = hs_token(HS_SECRET, json!({}));
    let protocols = format!("app, {token}, graphql-ws");
    let upgrade = ("upgrade", "websocket");
    let decision = world.ask(&get("/", &[upgrade, ("sec-websocket-protocol", &protocols)]));
    assert_eq!(set(&decision, "sec-websocket-protocol"), Some("app, graphql-ws"));
    assert_eq!(changes(&decision).selected_protocol(), Some("app"));
    // Another credential is verified: this one goes all the same.
    let bearer = format!("Bearer {token}");
    let decision =
        world.ask(&get("/", &[upgrade, ("authorization", &bearer), ("sec-websocket-protocol", "app, x.y.z")]));
    assert_eq!(
        (set(&decision, "sec-websocket-protocol"), changes(&decision).selected_protocol()),
        (Some("app"), Some("app"))
    );
    // Kept, it stays as it came.
    let decision = world.ask(&get("/keep", &[upgrade, ("sec-websocket-protocol", &protocols)]));
    assert_eq!((set(&decision, "sec-websocket-protocol"), changes(&decision).selected_protocol()), (None, Some("app")));
    // No source: no upgrade, another name first, no credential behind the name, or nothing is read at all.
    for (path, headers) in [
        ("/", vec![("sec-websocket-protocol", protocols.as_str())]),
        ("/", vec![upgrade, ("sec-websocket-protocol", "graphql-ws, app")]),
        ("/", vec![upgrade, ("sec-websocket-protocol", "app")]),
    ] {
        assert_eq!(code(&world.ask(&get(path, &headers))), Err(Code::MissingCredential), "{headers:?}");
    }
    let decision = world.ask(&get("/open", &[upgrade, ("sec-websocket-protocol", &protocols)]));
    assert_eq!((set(&decision, "sec-websocket-protocol"), changes(&decision).selected_protocol()), (None, None));
}

#[test]
fn a_credential_of_the_query_is_removed_in_every_spelling() {
    let world = World::new(&(document(&[KINDS[1]], PLACES) + &secrets(&[])));
    let token = hs_token(HS_SECRET, json!({}));
    let bearer = format!("Bearer {token}");
    let upgrade = ("upgrade", "websocket");
    for (path, headers, expected) in [
        (format!("/?a=1&token={token}"), vec![upgrade], Ok(vec!["token"])),
        (format!("/?%74oken={token}"), vec![upgrade], Ok(vec!["%74oken"])),
        (format!("/?key={token}&token=x"), vec![], Ok(vec!["key"])),
        (format!("/?token={token}"), vec![], Err(Code::MissingCredential)),
        (format!("/?token={token}&token="), vec![upgrade], Err(Code::MalformedRequest)),
        ("/?token=x&key=y&%6bey=z".to_owned(), vec![("authorization", bearer.as_str())], Ok(vec!["%6bey", "key"])),
        ("/?token=x&key=y".to_owned(), vec![("authorization", bearer.as_str()), upgrade], Ok(vec!["key", "token"])),
        (format!("/keep?key={token}"), vec![], Ok(vec![])),
        (format!("/keep?key={token}&token=x"), vec![upgrade], Err(Code::InvalidToken)),
        ("/open?key=x&token=y".to_owned(), vec![upgrade], Ok(vec![])),
    ] {
        let decision = world.ask(&get(&path, &headers));
        let found = code(&decision)
            .map(|()| changes(&decision).removed_parameters().iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found, expected, "{path}");
    }
}
