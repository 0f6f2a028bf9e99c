//! ServiceAccount tokens: whose they are, for whom, and what the API server is asked.

use serde_json::{Value, json};

use super::{
    confusion::document,
    services::{Asked, ask_with, bearer, read},
    *,
};
use crate::remote::{Reply, What};

pub(super) const SUBJECT: &str = "system:serviceaccount:demo:builder";
const LOCAL: &str = "serviceAccount: {audiences: [api, other]}";
const REVIEWED: &str = "serviceAccount: {audiences: [api, other], review: TokenReview}";

/// As an API server signs it.
pub(super) fn token(world: &World, change: &Value) -> String {
    let account = json!({"namespace": "demo", "serviceaccount": {"name": "builder", "uid": "1"}});
    let mut claims = json!({"iss": CLUSTER, "aud": ["api"], "sub": SUBJECT, "iat": NOW_MS / 1000, "nbf": NOW_MS / 1000, "kubernetes.io": account});
    for (name, value) in change.as_object().into_iter().flatten() {
        // What is null there is left out of the token.
        claims[name] = value.clone();
    }
    world.token(claims)
}

fn world(kind: &str) -> World {
    World::new(&document(&[("pods", kind)], ""))
}

fn local(world: &World, token: &str) -> Result<(), Code> {
    code(&world.ask(&get("/", &[("authorization", &bearer(token))])))
}

/// As an API server answers.
fn review(user: &str, audiences: &Value) -> Value {
    json!({"kind": "TokenReview", "status": {"authenticated": true, "user": {"username": user}, "audiences": audiences}})
}

#[test]
fn a_token_of_the_cluster_is_its_account() {
    let world = world(LOCAL);
    let decision = world.ask(&get("/", &[("authorization", &bearer(&token(&world, &json!({}))))]));
    for (name, value) in [
        ("x-auth-type", "service-account"),
        ("x-auth-authenticator", "pods"),
        ("x-auth-issuer", CLUSTER),
        ("x-auth-subject", SUBJECT),
    ] {
        assert_eq!(set(&decision, name), Some(value));
    }
    // The same from the cache, and for the same account as an OpenID Connect token of that issuer.
    assert_eq!(local(&world, &token(&world, &json!({}))), Ok(()));
    let jwt = World::new(&document(&[("sso", &format!("jwt: {{issuer: '{CLUSTER}', audiences: [api]}}"))], ""));
    let mut jwt = jwt;
    jwt.keys(CLUSTER, true, false, false);
    let other = jwt.ask(&get("/", &[("authorization", &bearer(&token(&jwt, &json!({}))))]));
    assert_eq!(set(&other, "x-auth-user"), set(&decision, "x-auth-user"));
}

#[test]
fn a_condition_reads_what_kubernetes_says_of_the_account() {
    for (namespace, expected) in [("demo", Ok(())), ("other", Err(Code::Forbidden))] {
        let rule = format!("require: {{cel: \"principal.claims['kubernetes.io'].namespace == '{namespace}'\"}}");
        let world = World::new(&document(&[("pods", LOCAL)], &rule));
        assert_eq!(local(&world, &token(&world, &json!({}))), expected, "{namespace}");
    }
}

#[test]
fn what_is_no_token_of_an_account_for_us_is_refused() {
    let world = world(LOCAL);
    for (what, change, expected) in [
        ("another audience", json!({"aud": ["https://kubernetes.default.svc"]}), Code::InvalidToken),
        ("no audience", json!({"aud": null}), Code::InvalidToken),
        ("another issuer", json!({"iss": "https://other.svc"}), Code::InvalidToken),
        ("no issuer", json!({"iss": null}), Code::InvalidToken),
        ("expired", json!({"exp": NOW_MS / 1000}), Code::ExpiredToken),
        ("without end", json!({"exp": null}), Code::InvalidToken),
        ("not yet valid", json!({"nbf": NOW_MS / 1000 + 60}), Code::InvalidToken),
        ("a person", json!({"sub": "alice"}), Code::InvalidToken),
        ("a node", json!({"sub": "system:node:n1"}), Code::InvalidToken),
        ("no namespace", json!({"sub": "system:serviceaccount:builder"}), Code::InvalidToken),
        ("an empty name", json!({"sub": "system:serviceaccount:demo:"}), Code::InvalidToken),
        ("one part more", json!({"sub": "system:serviceaccount:demo:a:b"}), Code::InvalidToken),
        ("capitals", json!({"sub": "system:serviceaccount:Demo:a"}), Code::InvalidToken),
    ] {
        assert_eq!(local(&world, &token(&world, &change)), Err(expected), "{what}");
    }
    let mut forged = World::new(&document(&[("pods", LOCAL)], ""));
    forged.signer = &ROGUE_P256;
    assert_eq!(local(&forged, &token(&forged, &json!({}))), Err(Code::InvalidToken), "signed by another");
}

#[test]
fn without_the_keys_nobody_knows() {
    let mut world = world(LOCAL);
    let token = token(&world, &json!({}));
    world.cluster_keys(false, false, true);
    assert_eq!(local(&world, &token), Err(Code::Unavailable));
    // A token that says of itself that it is of no account is nobody's in any case.
    assert_eq!(local(&world, &world.token(json!({"sub": "alice"}))), Err(Code::InvalidToken));
    world.cluster_keys(false, true, false);
    let request = bearer(&token);
    let step = world.step(&get("/", &[("authorization", &request)]), &Awaited::default(), NOW_MS);
    assert!(matches!(step, Step::Wait(Need::Keys(id)) if id == KeySetId::cluster()));
}

#[test]
fn a_cluster_that_changes_its_issuer_ends_what_was_kept() {
    let mut world = world(LOCAL);
    let token = token(&world, &json!({}));
    assert_eq!(local(&world, &token), Ok(()));
    if let Some(state) = world.store.sets.get_mut("") {
        state.issuer = Some("https://moved.svc".into());
    }
    assert_eq!(local(&world, &token), Err(Code::InvalidToken));
}

#[test]
fn the_api_server_is_asked_once_about_a_good_token() {
    let world = world(REVIEWED);
    let token = token(&world, &json!({"exp": NOW_MS / 1000 + 5}));
    let request = bearer(&token);
    let request = get("/", &[("authorization", &request)]);
    let answer = |what: &What| read(what, review(SUBJECT, &json!(["api"])));
    let (decision, questions) = ask_with(&world, &request, NOW_MS, 10_000, &answer);
    assert_eq!((code(&decision), set(&decision, "x-auth-type")), (Ok(()), Some("service-account")));
    assert_eq!(questions, [Asked::Review("pods".to_owned(), token)]);
    let silent = |_: &What| panic!("asked again");
    assert_eq!(code(&ask_with(&world, &request, NOW_MS + 1, 0, &silent).0), Ok(()));
    // The token's own end comes before that of the answer.
    let late = ask_with(&world, &request, NOW_MS + 5_000, 0, &silent);
    assert_eq!(code(&late.0), Err(Code::ExpiredToken));
}

#[test]
fn nobody_is_asked_about_what_the_cluster_did_not_sign() {
    let mut world = world(REVIEWED);
    let silent = |_: &What| panic!("asked");
    for change in [json!({"aud": "x"}), json!({"exp": NOW_MS / 1000}), json!({"sub": "alice"}), json!({"iss": "x"})] {
        let request = bearer(&token(&world, &change));
        let (decision, _) = ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &silent);
        assert!(code(&decision).is_err());
    }
    world.signer = &ROGUE_P256;
    let request = bearer(&token(&world, &json!({})));
    let (decision, _) = ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &silent);
    assert_eq!(code(&decision), Err(Code::InvalidToken));
}

#[test]
fn what_the_api_server_says_counts() {
    let good = review(SUBJECT, &json!(["other"]));
    let status = |status: Value| json!({ "status": status });
    for (what, answer, expected) in [
        ("one of our audiences", good, Ok(())),
        ("another audience", review(SUBJECT, &json!(["x"])), Err(Code::InvalidToken)),
        ("no audiences", review(SUBJECT, &json!([])), Err(Code::InvalidToken)),
        ("audiences unknown", review(SUBJECT, &Value::Null), Err(Code::InvalidToken)),
        ("somebody else", review("system:serviceaccount:demo:other", &json!(["api"])), Err(Code::InvalidToken)),
        ("no", status(json!({"authenticated": false, "error": "gone"})), Err(Code::InvalidToken)),
        ("a no that is left out", status(json!({"error": "gone"})), Err(Code::InvalidToken)),
        ("text", status(json!({"authenticated": "true"})), Err(Code::Unavailable)),
        ("nobody", status(json!({"authenticated": true, "audiences": ["api"]})), Err(Code::Unavailable)),
        ("no status", json!({"kind": "Status"}), Err(Code::Unavailable)),
    ] {
        let world = world(REVIEWED);
        let request = bearer(&token(&world, &json!({})));
        let request = get("/", &[("authorization", &request)]);
        let (decision, _) = ask_with(&world, &request, NOW_MS, 0, &|what| read(what, answer.clone()));
        assert_eq!(code(&decision), expected, "{what}");
    }
    let world = world(REVIEWED);
    let request = bearer(&token(&world, &json!({})));
    let (decision, _) =
        ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &|_| Reply::Failed("down"));
    assert_eq!(code(&decision), Err(Code::Unavailable));
}
