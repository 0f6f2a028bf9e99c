//! Callers and resources that others are asked about, after the caller is known.

use serde_json::json;

use super::{
    confusion::document,
    services::{Asked, ask_with, asked, bearer, read},
    *,
};
use crate::remote::{Ownership, Reply, Standing, What};

#[test]
fn callers_are_asked_about_after_they_are_known() {
    let more = "authorization: {roleScopes: {admin: ['*'], reader: ['doc:read']}, webhook: {url: 'https://hook.test/active'}}\n\
                routes: [{name: docs, paths: [/docs], require: {scopes: ['doc:read']}}, {name: open, paths: [/open], access: Public}]";
    let sso = "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}";
    let fresh = || World::new(&document(&[("sso", sso)], more));
    for (answer, docs, root) in [
        (json!({"active": true}), Err(Code::InsufficientScope), Ok(())),
        (json!({"active": true, "roles": ["reader"]}), Ok(()), Ok(())),
        (json!({"active": true, "roles": ["admin"]}), Ok(()), Ok(())),
        (json!({"active": true, "roles": null, "scopes": ["doc:read"]}), Ok(()), Ok(())),
        (json!({"active": true, "roles": []}), Err(Code::InsufficientScope), Ok(())),
        (json!({"active": false, "roles": ["admin"]}), Err(Code::Forbidden), Err(Code::Forbidden)),
        (json!({"active": "true"}), Err(Code::Unavailable), Err(Code::Unavailable)),
        (json!({"roles": ["admin"]}), Err(Code::Unavailable), Err(Code::Unavailable)),
        (json!({"active": true, "roles": "admin"}), Err(Code::Unavailable), Err(Code::Unavailable)),
        (json!({"active": true, "scopes": [1]}), Err(Code::Unavailable), Err(Code::Unavailable)),
    ] {
        for (path, expected) in [("/docs", docs), ("/", root)] {
            let world = fresh();
            let alice = bearer(&world.token(json!({"sub": "alice", "jti": "1"})));
            let request = get(path, &[("authorization", &alice)]);
            let (decision, questions) = ask_with(&world, &request, NOW_MS, 0, &|what| read(what, answer.clone()));
            assert_eq!(code(&decision), expected, "{path} {answer}");
            let [Asked::Caller(question)] = questions.as_slice() else { panic!("{questions:?}") };
            assert_eq!(
                (&question["principal"]["subject"], &question["principal"]["claims"]["jti"]),
                (&json!("alice"), &json!("1"))
            );
        }
    }
    // A role that the answer leaves out is gone, although the token says otherwise.
    let world = fresh();
    let was = bearer(&world.token(json!({"sub": "alice", "roles": ["admin"]})));
    let request = get("/docs", &[("authorization", &was)]);
    assert_eq!(code(&ask_with(&world, &request, NOW_MS, 0, &|what| read(what, json!({"active": true}))).0), Ok(()));
    let (decision, _) =
        ask_with(&world, &request, NOW_MS, 0, &|what| read(what, json!({"active": true, "roles": ["reader"]})));
    assert_eq!(set(&decision, "x-auth-roles"), Some("reader"));
    // Nobody is asked about those whose credential is bad, or about nobody.
    let nobody = |what: &What| panic!("asks {:?}", asked(what));
    let bad = bearer(&world.token(json!({"sub": "alice", "aud": "other"})));
    assert_eq!(
        code(&ask_with(&world, &get("/", &[("authorization", &bad)]), NOW_MS, 0, &nobody).0),
        Err(Code::InvalidToken)
    );
    assert_eq!(code(&ask_with(&world, &get("/open", &[("authorization", &was)]), NOW_MS, 0, &nobody).0), Ok(()));
}

#[test]
fn an_inactive_caller_is_refused_and_is_no_stranger_either() {
    let more =
        "requireAuth: false\ninvalidCredential: Ignore\nauthorization: {webhook: {url: 'https://hook.test/active'}}";
    let world = World::new(&document(
        &[("sso", "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}")],
        more,
    ));
    let alice = bearer(&world.token(json!({"sub": "alice"})));
    let request = get("/", &[("authorization", &alice)]);
    let inactive = |_: &What| Reply::Standing(Standing::default());
    let (decision, _) = ask_with(&world, &request, NOW_MS, 5_000, &inactive);
    assert_eq!(code(&decision), Err(Code::Forbidden));
    assert_eq!(decision.facts.requirements_in_words(), [("the caller is active".to_owned(), false)]);
    // Active again: only the answer that is kept stands in the way.
    let active = |_: &What| Reply::Standing(Standing { active: true, ..Standing::default() });
    assert_eq!(code(&ask_with(&world, &request, NOW_MS + 4_999, 0, &active).0), Err(Code::Forbidden));
    assert_eq!(code(&ask_with(&world, &request, NOW_MS + 5_000, 0, &active).0), Ok(()));
}

const OWNED: &str = "routes: [{name: thread, paths: ['/threads', '/threads/{thread}', '/threads/{thread}/{**}'], require: {roles: [user], owner: {webhook: {url: 'https://hook.test/owner'}, resource: '{thread}'}}}]";

fn owned(more: &str) -> World {
    World::new(&document(&[("sso", "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}")], more))
}

#[test]
fn the_owner_of_what_a_path_names() {
    let hidden = OWNED.replace("resource:", "notOwner: NotFound, resource:");
    let reply = |ownership: Ownership| move |_: &What| Reply::Owner(ownership);
    for (more, ownership, expected) in [
        (OWNED, Ownership::Caller, Ok(())),
        (OWNED, Ownership::Unknown, Ok(())),
        (OWNED, Ownership::Other, Err(Code::Forbidden)),
        (&hidden, Ownership::Other, Err(Code::NotFound)),
    ] {
        for (method, path) in [
            ("GET", "/threads/t1"),
            ("DELETE", "/threads/t1"),
            ("PUT", "/threads/t1/state/x"),
            ("GET", "/threads/t%31"),
        ] {
            let world = owned(more);
            let alice = bearer(&world.token(json!({"sub": "alice", "roles": ["user"]})));
            let request = Ask { method, ..get(path, &[("authorization", &alice)]) };
            let (decision, questions) = ask_with(&world, &request, NOW_MS, 0, &reply(ownership));
            assert_eq!(code(&decision), expected, "{method} {path} {ownership:?}");
            let [Asked::Owner(question)] = questions.as_slice() else { panic!("{questions:?}") };
            assert_eq!((&question["resource"], &question["route"]), (&json!("t1"), &json!("thread")));
            assert_eq!(question["principal"]["subject"], "alice");
        }
    }
    let world = owned(OWNED);
    let alice = bearer(&world.token(json!({"sub": "alice", "roles": ["user"]})));
    let nobody = |what: &What| panic!("asks {:?}", asked(what));
    let at = |path: &str, value: &str, service: &dyn Fn(&What) -> Reply| {
        code(&ask_with(&world, &get(path, &[("authorization", value)]), NOW_MS, 0, service).0)
    };
    assert_eq!(at("/threads", &alice, &nobody), Ok(()), "names no resource");
    let roleless = bearer(&world.token(json!({"sub": "bob"})));
    assert_eq!(at("/threads/t1", &roleless, &nobody), Err(Code::Forbidden), "nobody is asked who is refused anyway");
    for path in ["/threads/t1;x", "/threads/t1;", "/threads/t1%3Bx=y/state"] {
        assert_eq!(at(path, &alice, &nobody), Err(Code::MalformedRequest), "{path} is t1 for some servers");
    }
    let down = |_: &What| Reply::Failed("down");
    assert_eq!(at("/threads/t1", &alice, &down), Err(Code::Unavailable));
    for nonsense in [json!({}), json!({"owner": "true"}), json!({"owner": 1}), json!({"owner": "alice"})] {
        assert_eq!(
            at("/threads/t1", &alice, &|what| read(what, nonsense.clone())),
            Err(Code::Unavailable),
            "{nonsense}"
        );
    }
}

#[test]
fn who_is_nobody_owns_nothing() {
    let open = OWNED.replace("roles: [user], ", "").replace("name: thread,", "name: thread, access: Optional,");
    let nobody = |what: &What| panic!("asks {:?}", asked(what));
    let (decision, _) = ask_with(&owned(&open), &get("/threads/t1", &[]), NOW_MS, 0, &nobody);
    assert_eq!(code(&decision), Err(Code::Forbidden));
}

#[test]
fn ownership_is_kept_for_its_owner_and_asked_afresh_to_delete() {
    let world = owned(OWNED);
    let [alice, bob] = ["alice", "bob"].map(|who| bearer(&world.token(json!({"sub": who, "roles": ["user"]}))));
    let of_alice = |what: &What| match asked(what) {
        Asked::Owner(question) if question["principal"]["subject"] == "alice" => Reply::Owner(Ownership::Caller),
        _ => Reply::Owner(Ownership::Other),
    };
    let at = |method: &'static str, who: &str, service: &dyn Fn(&What) -> Reply| {
        let request = Ask { method, ..get("/threads/t1", &[("authorization", who)]) };
        let (decision, questions) = ask_with(&world, &request, NOW_MS, 30_000, service);
        (code(&decision), questions.len())
    };
    assert_eq!(at("GET", &alice, &of_alice), (Ok(()), 1));
    assert_eq!(at("PUT", &alice, &of_alice), (Ok(()), 0));
    assert_eq!(
        at("GET", &bob, &of_alice),
        (Err(Code::Forbidden), 1),
        "what is kept about alice says nothing about bob"
    );
    let of_nobody = |_: &What| Reply::Owner(Ownership::Other);
    assert_eq!(at("DELETE", &alice, &of_nobody), (Err(Code::Forbidden), 1), "a kept answer is not enough");
}

#[test]
fn an_owner_of_the_policy_holds_where_a_route_names_the_resource() {
    let more = "require: {owner: {webhook: {url: 'https://hook.test/owner'}, resource: '{thread}'}}\n\
                routes: [{name: thread, paths: ['/threads/{thread}']}, {name: other, paths: ['/other/{id}']}]";
    let world = owned(more);
    let alice = bearer(&world.token(json!({"sub": "alice"})));
    for (path, expected, count) in
        [("/threads/t1", Err(Code::Forbidden), 1), ("/other/t1", Ok(()), 0), ("/", Ok(()), 0)]
    {
        let (decision, questions) =
            ask_with(&world, &get(path, &[("authorization", &alice)]), NOW_MS, 0, &|_| Reply::Owner(Ownership::Other));
        assert_eq!((code(&decision), questions.len()), (expected, count), "{path}");
    }
}
