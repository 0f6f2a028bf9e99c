//! Tokens for the upstream from an authorization server: who gets one, whose token is shown for it, and when it is asked for again.

use std::time::Duration;

use crds::secret::Secret;
use serde_json::json;

use super::{
    confusion::{TWO_SECRET, cqa_key, document, hs_token, secrets},
    second_factor::code_at,
    services::{Asked, ask_with},
    *,
};
use crate::remote::{Reply, What, grant::Issued};

const ROUTES: &str = "invalidCredential: Ignore
routes:
- {name: maybe, paths: [/maybe], access: Optional}
- {name: exchanged, paths: [/exchanged], forward: {replaceCredential: {tokenExchange: {tokenURL: 'https://as.test/token', client: {clientID: gw, clientSecretRef: {name: hs, key: new}}, audience: orders, scopes: [a, b]}}}}
- {name: keyless, paths: [/keyless], forward: {replaceCredential: {clientCredentials: {tokenURL: 'https://as.test/token', client: {clientID: gw, clientSecretRef: {name: hs, key: new}}, extraHeader: {name: X-Service-Token, secretKeyRef: {name: hs, key: gone}}}}}}
forward: {replaceCredential: {clientCredentials: {tokenURL: 'https://as.test/token', client: {clientID: gw, clientSecretRef: {name: hs, key: new}}, scopes: [a, b], refreshBefore: 30s, extraHeader: {name: X-Service-Token, secretKeyRef: {name: hs, key: pepper}}}}}";
const KINDS: [(&str, &str); 3] = [
    ("issuer", "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}"),
    (
        "agent",
        "apiKey: {cqaV1: {peppers: [{secretKeyRef: {name: hs, key: pepper}}], keys: {secretRef: {name: agents}}}}",
    ),
    (
        "two-factor",
        "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: hs, key: two}}]}, totp: {secretsRef: {name: codes}}",
    ),
];

fn world() -> World {
    World::new(&(document(&KINDS, ROUTES) + &secrets(&[])))
}

fn issued(text: &str) -> Reply {
    let authorization = Secret::new(format!("Bearer {text}").into_bytes());
    Reply::Issued(Issued { authorization, life: Duration::from_mins(1), renew_before: Duration::from_secs(30) })
}

fn asked_for(world: &World, path: &str, credential: &str, service: &dyn Fn(&What) -> Reply) -> (Decision, Vec<Asked>) {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str()), ("x-service-token", "mine"), ("x_service_token", "mine")];
    ask_with(world, &get(path, &headers), NOW_MS, 60_000, service)
}

#[test]
fn our_own_token_is_everybodys_and_replaces_theirs() {
    let world = world();
    let ours = |_: &What| issued("ours");
    let (decision, questions) = asked_for(&world, "/x", &world.token(json!({"sub": "alice"})), &ours);
    assert_eq!(set(&decision, "authorization"), Some("Bearer ours"));
    assert_eq!(set(&decision, "x-service-token"), Some("a-pepper-of-at-least-32-bytes-long!!!!!!"));
    assert!(removed(&decision, "x_service_token"));
    assert!(["authorization", "x-service-token"].iter().all(|name| changes(&decision).is_secret(name)));
    let form = "grant_type=client_credentials scope=a b".to_owned();
    assert_eq!(questions, [Asked::Grant(form, None)]);
    // Another caller's request asks nobody.
    let (decision, questions) = asked_for(&world, "/x", &cqa_key(), &ours);
    assert_eq!((set(&decision, "authorization"), questions.len()), (Some("Bearer ours"), 0));
}

#[test]
fn strangers_get_nothing_and_bring_nothing() {
    let world = world();
    let (decision, questions) = asked_for(&world, "/maybe", "x.y.z", &|_| panic!("asks for a stranger"));
    assert_eq!((code(&decision), questions.len()), (Ok(()), 0));
    for name in ["authorization", "x-service-token", "x_service_token"] {
        assert!(removed(&decision, name), "{name}");
    }
    let bearer = format!("Bearer {}", world.token(json!({"sub": "alice"})));
    let anybody = Ask { proven_peer: false, ..get("/x", &[("authorization", &bearer)]) };
    assert_eq!(code(&world.ask(&anybody)), Err(Code::Unavailable), "a peer that might be anybody");
}

#[test]
fn a_token_near_its_end_serves_and_is_renewed() {
    let world = world();
    let token = world.token(json!({"sub": "alice"}));
    let bearer = format!("Bearer {token}");
    asked_for(&world, "/x", &token, &|_| issued("first"));
    let nobody = |_: &What| panic!("waits for what is there");
    for (later, renews) in [(0, false), (29_999, false), (30_000, true), (59_999, true)] {
        let request = get("/x", &[("authorization", bearer.as_str())]);
        let (decision, _) = ask_with(&world, &request, NOW_MS + later, 0, &nobody);
        assert_eq!(set(&decision, "authorization"), Some("Bearer first"), "{later}");
        assert_eq!(decision.facts.renew.is_some(), renews, "{later}");
    }
    let request = get("/x", &[("authorization", bearer.as_str())]);
    let (decision, questions) = ask_with(&world, &request, NOW_MS + 60_000, 0, &|_| issued("second"));
    assert_eq!((set(&decision, "authorization"), questions.len()), (Some("Bearer second"), 1), "never past its end");
}

#[test]
fn a_token_is_exchanged_for_its_holder_alone() {
    let world = world();
    let exchange = |what: &What| match what {
        What::Grant(_, Some(subject)) => issued(&format!("for-{}", subject.expose().len())),
        _ => panic!("no token is shown"),
    };
    let alice = world.token(json!({"sub": "alice"}));
    let form = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange audience=orders scope=a b \
                subject_token_type=urn:ietf:params:oauth:token-type:access_token \
                requested_token_type=urn:ietf:params:oauth:token-type:access_token";
    let (decision, questions) = asked_for(&world, "/exchanged", &alice, &exchange);
    assert_eq!(set(&decision, "authorization"), Some(format!("Bearer for-{}", alice.len()).as_str()));
    assert_eq!(questions, [Asked::Grant(form.to_owned(), Some(alice.clone()))]);
    assert!(asked_for(&world, "/exchanged", &alice, &exchange).1.is_empty(), "kept for this token");
    let carol = world.token(json!({"sub": "carol"}));
    assert_eq!(asked_for(&world, "/exchanged", &carol, &exchange).1.len(), 1, "and for no other");
    // A code is nobody else's business.
    let two = hs_token(TWO_SECRET, json!({}));
    let (_, questions) = asked_for(&world, "/exchanged", &format!("{two}:{}", code_at(NOW_MS)), &exchange);
    assert_eq!(questions, [Asked::Grant(form.to_owned(), Some(two))]);
}

#[test]
fn refusals_are_ours_unless_they_are_about_the_callers_token() {
    let world = world();
    let alice = world.token(json!({"sub": "alice"}));
    for (path, reply, expected) in [
        ("/x", Reply::Failed("down"), Code::Unavailable),
        ("/exchanged", Reply::Failed("down"), Code::Unavailable),
        ("/exchanged", Reply::Refused("no"), Code::Forbidden),
        ("/exchanged", Reply::Expired, Code::Unavailable),
    ] {
        let world = self::world();
        let (decision, _) = asked_for(&world, path, &alice, &|_| reply.clone());
        assert_eq!(code(&decision), Err(expected), "{path} {reply:?}");
    }
    let (decision, questions) = asked_for(&world, "/exchanged", &cqa_key(), &|_| panic!("shows a key"));
    assert_eq!((code(&decision), questions.len()), (Err(Code::Forbidden), 0), "an API key is no token");
    let (decision, _) = asked_for(&world, "/keyless", &alice, &|_| issued("a"));
    assert_eq!(code(&decision), Err(Code::Unavailable), "a secret that is missing");
}
