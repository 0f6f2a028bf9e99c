//! Claims mean the same whatever credential brings them: a rule that one kind forgot would be the way in.

use serde_json::{Value, json};

use super::{
    confusion::{HS_SECRET, KINDS, TWO_SECRET, document, hs_token, secrets, sha256},
    second_factor::code_at,
    services::{ask_with, read},
    *,
};

/// Rules that look at every field of a caller.
const RULES: &str = "require: {cel: \"principal.subject != 'blocked'\"}\n\
    forward: {headers: [{name: x-tenant, claim: tenant}]}\n\
    routes:\n\
    - {name: role, paths: [/role], require: {roles: [admin]}}\n\
    - {name: scope, paths: [/scope], require: {scopes: [doc:write]}}\n\
    - {name: domain, paths: [/domain], require: {domains: [corp.test]}}\n\
    - {name: verified, paths: [/verified], require: {verifiedEmail: true, domains: [corp.test]}}\n\
    - {name: level, paths: [/level], require: {cel: 'principal.claims.level != 3'}}\n\
    - {name: absent, paths: [/absent], require: {cel: \"!(principal.claims.team in ['red'])\"}}";

/// One request with a credential of this kind that says `claims`, which hold a `sub` unless that is what is tried.
fn ask(kind: &str, path: &str, claims: &Value) -> Decision {
    let (name, spec) = KINDS.into_iter().find(|(name, _)| *name == kind).unwrap();
    let record = match kind {
        "digest" => vec![("the-key", claims.to_string())],
        _ => Vec::new(),
    };
    let world = World::new(&(document(&[(name, spec)], RULES) + &secrets(&record)));
    // A member that is null is taken out of the token.
    let signed = |secret| hs_token(secret, with(json!({"sub": null}), claims.clone()));
    let credential = match kind {
        "issuer" => world.token(claims.clone()),
        "static" => signed(HS_SECRET),
        "two-factor" => format!("{}:{}", signed(TWO_SECRET), code_at(NOW_MS)),
        "digest" => "the-key".to_owned(),
        _ => "opaque".to_owned(),
    };
    let answer = match kind {
        "introspected" => with(claims.clone(), json!({"active": true})),
        "hook" => json!({"authenticated": true, "claims": claims}),
        _ => claims.clone(),
    };
    let bearer = format!("Bearer {credential}");
    ask_with(&world, &get(path, &[("authorization", &bearer)]), NOW_MS, 0, &|what| read(what, answer.clone())).0
}

/// The kinds whose credentials bring claims of their own; a `cqa.v1` record has a user and nothing else.
const WITH_CLAIMS: [&str; 6] = ["issuer", "static", "digest", "introspected", "profile", "hook"];

#[test]
fn a_subject_is_text_that_a_header_can_carry() {
    for (what, claims, expected) in [
        ("missing", json!({"email": "a@corp.test"}), Err(Code::ClaimMissing)),
        ("a number", json!({"sub": 7}), Err(Code::InvalidToken)),
        ("a truth value", json!({"sub": true}), Err(Code::InvalidToken)),
        ("a list", json!({"sub": ["alice"]}), Err(Code::InvalidToken)),
        ("an object", json!({"sub": {"id": "alice"}}), Err(Code::InvalidToken)),
        ("empty", json!({"sub": ""}), Err(Code::InvalidToken)),
        ("with a line break", json!({"sub": "alice\r\nx-auth-roles: admin"}), Err(Code::ClaimUnusable)),
        ("with a zero byte", json!({"sub": "alice\u{0}"}), Err(Code::ClaimUnusable)),
        ("too long", json!({"sub": "a".repeat(4097)}), Err(Code::ClaimUnusable)),
        ("blocked", json!({"sub": "blocked"}), Err(Code::Forbidden)),
        ("good", json!({"sub": "alice"}), Ok(())),
    ] {
        for kind in WITH_CLAIMS {
            assert_eq!(code(&ask(kind, "/", &claims)), expected, "a subject that is {what}, of kind {kind}");
        }
    }
    for kind in ["issuer", "static"] {
        let megabyte = json!({"sub": "a".repeat(1 << 20)});
        assert_eq!(code(&ask(kind, "/", &megabyte)), Err(Code::InvalidToken), "no token of {kind} is that long");
    }
    for kind in WITH_CLAIMS {
        let decision = ask(kind, "/", &json!({"sub": "Zoë, 100%"}));
        assert_eq!(set(&decision, "x-auth-subject"), Some("Zo%C3%AB, 100%25"), "{kind}");
    }
}

#[test]
fn no_other_value_can_pose_as_a_header_or_as_two() {
    for kind in WITH_CLAIMS {
        for (name, value) in
            [("email", json!("a@corp.test\nx: 1")), ("name", json!("A\u{0}")), ("tenant", json!("t\r\n"))]
        {
            let mut claims = json!({"sub": "alice"});
            claims[name] = value;
            assert_eq!(code(&ask(kind, "/", &claims)), Err(Code::ClaimUnusable), "{name} of {kind}");
        }
        let decision = ask(kind, "/", &json!({"sub": "alice", "roles": ["reader,admin"], "tenant": ["a,b", "c"]}));
        assert_eq!(set(&decision, "x-auth-roles"), Some("reader%2Cadmin"), "{kind}");
        assert_eq!(set(&decision, "x-tenant"), Some("a%2Cb,c"), "{kind}");
        let many: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
        let decision = ask(kind, "/", &json!({"sub": "alice", "scope": many.join(" ")}));
        assert_eq!(code(&decision), Err(Code::ClaimUnusable), "a thousand scopes of {kind}");
    }
}

#[test]
fn a_claim_of_another_type_or_an_absent_one_satisfies_no_rule() {
    for (path, claims, expected) in [
        ("/role", json!({"roles": ["admin"]}), Ok(())),
        ("/role", json!({"roles": "admin"}), Ok(())),
        ("/role", json!({"roles": {"admin": true}}), Err(Code::Forbidden)),
        ("/role", json!({"roles": [["admin"]]}), Err(Code::Forbidden)),
        ("/role", json!({"roles": ["admin", 1]}), Err(Code::Forbidden)),
        ("/role", json!({"roles": ["Admin"]}), Err(Code::Forbidden)),
        ("/role", json!({"roles": "admin reader"}), Err(Code::Forbidden)),
        ("/role", json!({"_claim_names": {"roles": "src1"}}), Err(Code::Forbidden)),
        ("/scope", json!({"scope": "doc:read doc:write"}), Ok(())),
        ("/scope", json!({"scp": ["doc:write"]}), Ok(())),
        ("/scope", json!({"scope": "doc:writer"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "doc:read\tdoc:write"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "DOC:WRITE"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": {"doc:write": true}}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "*"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "doc:write doc:write"}), Ok(())),
        ("/scope", json!({"scope": "doc"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "doc:write:all"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "doc:read,doc:write"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": "doc:read\u{a0}doc:write"}), Err(Code::InsufficientScope)),
        ("/scope", json!({"scope": ["doc:read doc:write"]}), Err(Code::InsufficientScope)),
        ("/domain", json!({"email": "A@Corp.test"}), Ok(())),
        ("/domain", json!({"email": "a@evil.test@corp.test"}), Err(Code::Forbidden)),
        ("/domain", json!({"email": "a@corp.test.evil.test"}), Err(Code::Forbidden)),
        ("/domain", json!({"email": "a@sub.corp.test"}), Err(Code::Forbidden)),
        ("/domain", json!({"email": "corp.test"}), Err(Code::Forbidden)),
        ("/domain", json!({"email": ["a@corp.test"]}), Err(Code::Forbidden)),
        ("/domain", json!({}), Err(Code::Forbidden)),
        ("/verified", json!({"email": "a@corp.test", "email_verified": true}), Ok(())),
        ("/verified", json!({"email": "a@corp.test", "email_verified": "true"}), Err(Code::Forbidden)),
        ("/verified", json!({"email": "a@corp.test", "email_verified": 1}), Err(Code::Forbidden)),
        ("/verified", json!({"email": "a@corp.test"}), Err(Code::Forbidden)),
        ("/level", json!({"level": 4}), Ok(())),
        ("/level", json!({"level": 3}), Err(Code::Forbidden)),
        ("/level", json!({}), Err(Code::Forbidden)),
        ("/absent", json!({"team": "blue"}), Ok(())),
        ("/absent", json!({}), Err(Code::Forbidden)),
    ] {
        for kind in WITH_CLAIMS {
            let claims = with(json!({"sub": "alice"}), claims.clone());
            assert_eq!(code(&ask(kind, path, &claims)), expected, "{claims} on {path}, of kind {kind}");
        }
    }
}

#[test]
fn the_same_name_of_two_kinds_is_two_people() {
    let mut users: Vec<String> = Vec::new();
    for kind in WITH_CLAIMS {
        users.push(set(&ask(kind, "/", &json!({"sub": "alice"})), "x-auth-user").unwrap().to_owned());
    }
    let two = ask("two-factor", "/", &json!({"sub": "alice"}));
    users.push(set(&two, "x-auth-user").unwrap().to_owned());
    let distinct: std::collections::HashSet<&String> = users.iter().collect();
    assert_eq!(distinct.len(), users.len(), "{users:?}");
}

#[test]
fn ends_and_bound_keys_hold_wherever_they_are_said() {
    let now = NOW_MS / 1000;
    for (what, claims) in [
        ("over", json!({"exp": now})),
        ("not begun", json!({"nbf": now + 60, "exp": now + 600})),
        ("bound to a key", json!({"cnf": {"jkt": "x"}, "exp": now + 600})),
    ] {
        // Records of API keys end by `expires_at`, and their other members are claims like any.
        for kind in WITH_CLAIMS.into_iter().filter(|kind| *kind != "digest") {
            let claims = with(json!({"sub": "alice"}), claims.clone());
            let refused = code(&ask(kind, "/", &claims)).unwrap_err();
            assert!(matches!(refused, Code::InvalidToken | Code::ExpiredToken), "{what}, of kind {kind}: {refused:?}");
        }
    }
    for (expires, expected) in [("2027-01-15T07:59:59Z", Err(Code::InvalidToken)), ("2027-01-15T08:00:01Z", Ok(()))] {
        let record = json!({"sub": "alice", "expires_at": expires});
        assert_eq!(code(&ask("digest", "/", &record)), expected, "{expires}");
    }
}

#[test]
fn only_api_keys_are_noted_and_only_good_ones() {
    let second = u32::try_from(NOW_MS / 1000).unwrap();
    for kind in WITH_CLAIMS {
        let decision = ask(kind, "/", &json!({"sub": "alice"}));
        let used = decision.facts.proven.as_ref().and_then(|proven| proven.used.as_ref());
        let id = used.and_then(|used| used.due(second)).map(|id| id.to_string());
        let expected = (kind == "digest").then(|| sha256("the-key").chars().take(32).collect::<String>());
        assert_eq!(id, expected, "{kind}");
        // A key was used even where the caller may not do what he asks for.
        let refused = ask(kind, "/role", &json!({"sub": "alice"}));
        let noted = refused.facts.proven.as_ref().is_some_and(|proven| proven.used.is_some());
        assert_eq!((code(&refused), noted), (Err(Code::Forbidden), kind == "digest"), "{kind}");
    }
    let expired = ask("digest", "/", &json!({"sub": "alice", "expires_at": "2020-01-01T00:00:00Z"}));
    assert!(expired.facts.proven.is_none());
}
