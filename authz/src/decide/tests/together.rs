//! Kinds of credentials meet what policies say about callers, limits and refusals: none of it is for tokens alone.

use serde_json::json;

use super::{confusion::*, *};

const SPEC: &str = "credentials: [{query: key}, {header: Authorization, scheme: Bearer}]\n\
authorization: {roleScopes: {ops: [write]}}\n\
require: {scopes: [write]}\n\
limits: {requests: {rate: 1, window: 60s, by: Principal}}\n\
forward: {replaceCredential: {static: {header: x-api-key, secretKeyRef: {name: hs, key: new}}}}";

fn world(spec: &str) -> World {
    let keys = [
        ("good", json!({"sub": "bob", "roles": ["ops"]})),
        ("other", json!({"sub": "carol", "roles": ["ops"]})),
        ("weak", json!({"sub": "dave"})),
        ("nobody", json!({"team": "x"})),
    ];
    let keys: Vec<_> = keys.iter().map(|(text, record)| (*text, record.to_string())).collect();
    World::new(&(document(&[KINDS[1], KINDS[2]], spec) + &secrets(&keys)))
}

#[test]
fn an_api_key_has_roles_scopes_a_count_and_is_replaced() {
    let world = world(SPEC);
    let first = world.ask(&get("/?key=good", &[]));
    assert_eq!(set(&first, "x-auth-roles"), Some("ops"));
    assert_eq!(set(&first, "x-api-key"), Some(HS_SECRET));
    assert_eq!(changes(&first).removed_parameters(), ["key"]);
    for (path, expected) in [
        ("/?key=good", Err(Code::RateLimited)),
        ("/?key=other", Ok(())),
        ("/?key=weak", Err(Code::InsufficientScope)),
        ("/?key=unknown", Err(Code::InvalidToken)),
        ("/", Err(Code::MissingCredential)),
    ] {
        assert_eq!(code(&world.ask(&get(path, &[]))), expected, "{path}");
    }
}

#[test]
fn bad_keys_count_as_failures() {
    let world = world("limits: {failedAuthentications: {rate: 1, window: 60s}}");
    let ask = |key: &str| {
        let bearer = format!("Bearer {key}");
        let request = Ask { source: "192.0.2.1".parse().ok(), ..get("/", &[("authorization", &bearer)]) };
        code(&world.ask(&request))
    };
    assert_eq!(ask("unknown"), Err(Code::InvalidToken));
    assert_eq!(ask("unknown"), Err(Code::TooManyFailures));
    assert_eq!(ask("good"), Ok(()));
}

#[test]
fn the_missing_claim_is_named_whatever_the_credential_is() {
    let kind = "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: new}}], requiredClaims: [tenant, team]}";
    let required = World::new(&(document(&[("static", kind)], "") + &secrets(&[])));
    let keys = world("");
    for (world, credential, claim) in [
        (&required, hs_token(HS_SECRET, json!({"tenant": "a"})), "team"),
        (&keys, hs_token(HS_SECRET, json!({"sub": null})), "sub"),
        (&keys, "nobody".to_owned(), "sub"),
    ] {
        let bearer = format!("Bearer {credential}");
        let Verdict::Deny(deny) = world.ask(&get("/", &[("authorization", &bearer)])).verdict else {
            panic!("{claim} is not missed")
        };
        assert_eq!((deny.code, deny.claim.as_deref()), (Code::ClaimMissing, Some(claim)));
    }
}

#[test]
fn on_trial_credentials_stay_where_they_came_from() {
    let world = world(&format!("mode: Audit\n{SPEC}"));
    for (path, audited) in
        [("/?key=good", None), ("/?key=good", Some(Code::RateLimited)), ("/?key=weak", Some(Code::InsufficientScope))]
    {
        let decision = world.ask(&get(path, &[("x-auth-user", "mallory")]));
        assert_eq!(decision.facts.audited.as_ref().map(|deny| deny.code), audited, "{path}");
        assert_eq!((changes(&decision).set_headers(), changes(&decision).removed_parameters()), (&[][..], &[][..]));
        assert!(removed(&decision, "x-auth-user"));
    }
}
