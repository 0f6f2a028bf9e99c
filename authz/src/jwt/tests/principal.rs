//! Mapping of claims, and rules about the person.

use std::sync::Arc;

use crds::snapshot::{Authenticator, AuthenticatorKind, ClaimMapping, IdentityRequirements};
use serde_json::{Value, json};

use super::super::{PrincipalFailure, admits, lookup::claim, principal, testkit::*};
use crate::principal::Principal;

fn names(all: &[&str]) -> Vec<Box<str>> {
    all.iter().map(|one| (*one).into()).collect()
}

fn authenticator(change: impl FnOnce(&mut ClaimMapping)) -> Authenticator {
    let mut claims = ClaimMapping {
        stable_id: Some("sub".into()),
        subject: names(&["sub"]),
        email: names(&["email"]),
        name: names(&["name"]),
        roles: names(&["roles"]),
        scopes: names(&["scope", "scp"]),
    };
    change(&mut claims);
    Authenticator {
        name: "main".into(),
        fingerprint: [0; 32],
        second_factor: None,
        kind: AuthenticatorKind::Jwt(settings()),
        claims: claims.into(),
        require: IdentityRequirements::default(),
        identity_issuer: Arc::from("urn:gatewright:a/b/main"),
    }
}

fn mapped(claims: Value) -> Result<Principal, PrincipalFailure> {
    principal(object(claims), &authenticator(|_| {}), Some(ISSUER))
}

#[test]
fn claims_become_fields() {
    let found = mapped(json!({
        "sub": "alice", "email": "a@example.com", "name": "Alice", "roles": ["admin", "dev"], "scope": "read write:all",
    }))
    .unwrap();
    assert_eq!(&*found.authenticator, "main");
    assert_eq!(found.issuer.as_deref(), Some(ISSUER));
    assert_eq!(&*found.subject, "alice");
    assert_eq!(found.email.as_deref(), Some("a@example.com"));
    assert_eq!(found.name.as_deref(), Some("Alice"));
    assert_eq!(found.roles, names(&["admin", "dev"]));
    assert_eq!(found.scopes, names(&["read", "write:all"]));
    assert_eq!(found.claims["sub"], "alice");
}

/// The digits were computed with another implementation of SHA-256.
#[test]
fn the_stable_id_is_a_digest_of_issuer_and_id() {
    let user =
        |claims: Value, issuer: Option<&str>| principal(object(claims), &authenticator(|_| {}), issuer).unwrap().user;
    assert_eq!(&*user(json!({"sub": "alice"}), Some("https://issuer.example")), "6d17d965682556721e5ff258ff9b7630");
    assert_eq!(&*user(json!({"sub": "alice"}), None), "4270205d7cfa489b1850920bca8e834c");
    assert_eq!(&*user(json!({"sub": "Zoë"}), Some("https://issuer.example")), "e9b83c8cd005a7dfa3d3d6f0ed334a3e");
    assert_ne!(user(json!({"sub": "alice"}), Some("https://a.example")), user(json!({"sub": "alice"}), None), "C101");
}

#[test]
fn a_principal_needs_a_subject_and_a_stable_id() {
    let invalid = |failure: Result<Principal, _>| matches!(failure, Err(PrincipalFailure::Invalid(_)));
    let missing = |failure: Result<Principal, _>| matches!(failure, Err(PrincipalFailure::ClaimMissing));
    assert!(missing(mapped(json!({}))));
    assert!(missing(mapped(json!({"sub": null}))));
    for bad in [json!(""), json!(5), json!(["alice"]), json!(true), json!({})] {
        assert!(invalid(mapped(json!({"sub": bad}))), "{bad}");
    }
    let split = authenticator(|claims| {
        claims.stable_id = Some("oid".into());
        claims.subject = names(&["upn", "sub"]);
    });
    let map = |claims: Value| principal(object(claims), &split, Some(ISSUER));
    assert_eq!(&*map(json!({"oid": "1", "upn": "a", "sub": "b"})).unwrap().subject, "a");
    assert_eq!(&*map(json!({"oid": "1", "upn": null, "sub": "b"})).unwrap().subject, "b");
    assert!(invalid(map(json!({"oid": "1", "upn": 5, "sub": "b"}))), "the first present one decides");
    assert!(missing(map(json!({"upn": "a"}))), "the stable id");
    assert!(missing(map(json!({"upn": "a", "oid": null}))));
    assert!(invalid(map(json!({"upn": "a", "oid": 5}))));
    assert!(invalid(map(json!({"upn": "a", "oid": ""}))));
}

#[test]
fn a_name_is_found_in_one_way() {
    let claims = object(json!({
        "a.b": "literal", "a": {"b": "nested", "c": {"d": 1}, "": {"x": 2}, "n": null}, "list": [{"x": 1}],
        "__proto__": {"admin": true},
    }));
    for (row, name, expected) in [
        ("C106 the literal name wins", "a.b", Some(json!("literal"))),
        ("a path", "a.c.d", Some(json!(1))),
        ("C106 an empty segment is a name", "a..x", Some(json!(2))),
        ("C106 an array has no names", "list.0.x", None),
        ("C106 text has no members", "a.b.length", None),
        ("null is missing", "a.n", None),
        ("null has no members", "a.n.x", None),
        ("missing", "b", None),
        ("a dot alone", ".", None),
        ("C106 nothing special", "__proto__.admin", Some(json!(true))),
    ] {
        assert_eq!(claim(&claims, name), expected.as_ref(), "{row}");
    }
    let null_wins = object(json!({"a.b": null, "a": {"b": 1}}));
    assert_eq!(claim(&null_wins, "a.b"), None, "a literal name that is null is never completed by a path");
}

#[test]
fn lists_of_names() {
    let split = authenticator(|claims| claims.roles = names(&["realm.roles", "groups"]));
    let roles = |claims: Value| principal(object(with(json!({"sub": "a"}), claims)), &split, None).unwrap().roles;
    for (row, claims, expected) in [
        ("an array", json!({"groups": ["a", "b"]}), vec!["a", "b"]),
        ("C105 one text is one role", json!({"groups": "admin user"}), vec!["admin user"]),
        ("C105 numbers", json!({"groups": [1, 2]}), vec![]),
        ("C105 one number among texts", json!({"groups": ["admin", 2]}), vec![]),
        ("C105 nested", json!({"groups": [["admin"]]}), vec![]),
        ("C105 overage", json!({"_claim_names": {"groups": "src1"}}), vec![]),
        ("an object", json!({"groups": {"admin": true}}), vec![]),
        ("the first that is there", json!({"realm": {"roles": ["x"]}, "groups": ["y"]}), vec!["x"]),
        ("an empty one is there", json!({"realm": {"roles": []}, "groups": ["y"]}), vec![]),
        ("a wrong type counts as absent", json!({"realm": {"roles": 5}, "groups": ["y"]}), vec!["y"]),
        ("empty names are nobody's", json!({"groups": ["", "a"]}), vec!["a"]),
    ] {
        assert_eq!(roles(claims), names(&expected), "{row}");
    }
    let scopes = |claims: Value| mapped(with(json!({"sub": "a"}), claims)).unwrap().scopes;
    for (row, claims, expected) in [
        ("C104 text", json!({"scope": "read write"}), vec!["read", "write"]),
        ("C104 blanks", json!({"scope": "  read   write "}), vec!["read", "write"]),
        ("C104 a tab separates nothing", json!({"scope": "read\twrite"}), vec!["read\twrite"]),
        ("C104 an array is not split", json!({"scope": ["read write"]}), vec!["read write"]),
        ("C104 scp", json!({"scp": ["read"]}), vec!["read"]),
        ("C104 scope first", json!({"scope": "a", "scp": "b"}), vec!["a"]),
        ("C104 a wrong type", json!({"scope": 5}), vec![]),
    ] {
        assert_eq!(scopes(claims), names(&expected), "{row}");
    }
    let email = |claims: Value| mapped(with(json!({"sub": "a"}), claims)).unwrap().email;
    assert_eq!(email(json!({"email": 5})), None);
    assert_eq!(email(json!({"email": ""})), None);
}

#[test]
fn rules_about_the_person() {
    let person = |claims: Value| mapped(with(json!({"sub": "a"}), claims)).unwrap();
    let domain = |domain: &str| IdentityRequirements { domains: names(&[domain]), ..IdentityRequirements::default() };
    let corp = domain("corp.com");
    for (row, email, expected) in [
        ("plain", json!("a@corp.com"), true),
        ("upper case", json!("A@CORP.com"), true),
        ("C102 two signs", json!("a@evil.com@corp.com"), false),
        ("C102 two signs the other way", json!("a@corp.com@evil.com"), false),
        ("C102 NUL", json!("a@corp.com\0.evil"), false),
        ("C102 quoted", json!("\"a@evil.com\"@corp.com"), false),
        ("C102 quoted, one sign", json!("\"a b\"@corp.com"), false),
        ("C102 a comment", json!("a@corp.com(x)"), false),
        ("C102 in brackets", json!("<a@corp.com>"), false),
        ("a blank", json!("a b@corp.com"), false),
        ("a line feed", json!("a@corp.com\n"), false),
        ("C102 a sign that folds to k", json!("a@\u{212a}orp.com"), false),
        ("no local part", json!("@corp.com"), false),
        ("no domain", json!("a@"), false),
        ("no sign", json!("corp.com"), false),
        ("a subdomain", json!("a@x.corp.com"), false),
        ("a trailing dot", json!("a@corp.com."), false),
        ("a suffix", json!("a@notcorp.com"), false),
        ("an array", json!(["a@corp.com"]), false),
        ("missing", json!(null), false),
        ("empty", json!(""), false),
    ] {
        assert_eq!(admits(&corp, &person(json!({ "email": email }))), expected, "{row}");
    }
    assert!(!admits(&domain("korp.com"), &person(json!({"email": "a@\u{212a}orp.com"}))), "C102 folding");
    let either = IdentityRequirements { emails: names(&["b@other.com"]), ..corp };
    assert!(admits(&either, &person(json!({"email": "x@corp.com"}))));
    assert!(admits(&either, &person(json!({"email": "B@other.com"}))));
    assert!(!admits(&either, &person(json!({"email": "c@other.com"}))));
    let verified = IdentityRequirements { verified_email: true, ..IdentityRequirements::default() };
    for (value, expected) in
        [(json!(true), true), (json!(false), false), (json!("true"), false), (json!(1), false), (json!(null), false)]
    {
        assert_eq!(admits(&verified, &person(json!({"email_verified": value}))), expected, "{value}");
    }
    let both = IdentityRequirements { verified_email: true, ..either };
    assert!(!admits(&both, &person(json!({"email": "x@corp.com"}))), "not verified");
    assert!(!admits(&both, &person(json!({"email": "x@evil.com", "email_verified": true}))), "another domain");
    assert!(admits(&both, &person(json!({"email": "x@corp.com", "email_verified": true}))));
    assert!(admits(&IdentityRequirements::default(), &person(json!({}))), "nothing is asked");
}
