//! Answers of the policy's own, preflights, and policies on trial.

use super::*;
use crate::errors::{Asked, refusal};

fn answer(decision: &Decision) -> &Answer {
    match &decision.verdict {
        Verdict::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_route_answers_whoever_may_come_in() {
    let world = World::new(&policy(
        "routes:\n- {name: open, paths: [/open], access: Public, respond: {status: 200, headers: {Content-Type: application/json}, body: '{}'}}\n\
         - {name: closed, paths: [/closed], respond: {status: 418, body: tea}}",
    ));
    let open = world.ask(&get("/open", &[]));
    assert_eq!(
        answer(&open),
        &Answer { status: 200, headers: vec![("content-type".into(), "application/json".into())], body: "{}".into() }
    );
    assert_eq!(code(&world.ask(&get("/closed", &[]))), Err(Code::MissingCredential));
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    let closed = world.ask(&get("/closed", &[("authorization", &bearer)]));
    assert_eq!(
        (answer(&closed).status, header(answer(&closed), "content-type")),
        (418, Some("text/plain; charset=utf-8"))
    );
}

#[test]
fn true_preflights_are_answered_before_anything_else() {
    let world = World::new(&policy(
        "cors: {allowOrigins: ['https://ui.test'], allowMethods: [GET, PUT], allowHeaders: [authorization], allowCredentials: true, maxAge: 10m}\n\
         routes: [{name: put, paths: [/put], methods: [PUT]}]\nunmatched: NotFound",
    ));
    let method = ("access-control-request-method", "PUT");
    let options =
        |path, headers: &[(&'static str, &'static str)]| world.ask(&Ask { method: "OPTIONS", ..get(path, headers) });
    let asked = options("/put", &[("origin", "https://ui.test"), method]);
    for (name, value) in [
        ("access-control-allow-origin", Some("https://ui.test")),
        ("access-control-allow-methods", Some("GET, PUT")),
        ("access-control-allow-headers", Some("authorization")),
        ("access-control-allow-credentials", Some("true")),
        ("access-control-max-age", Some("600")),
        ("www-authenticate", None),
    ] {
        assert_eq!(header(answer(&asked), name), value, "{name}");
    }
    assert_eq!(answer(&asked).status, 204);
    let preflight = [("origin", "https://ui.test"), method, ("authorization", "Bearer x"), ("cookie", "sid=x")];
    let with_credential = options("/put", &preflight);
    assert_eq!(answer(&with_credential), answer(&asked), "no credential is looked at, and no upstream is behind it");
    assert!(with_credential.facts.credential.is_none() && with_credential.facts.outcomes.is_empty());
    // No preflights: no question, another origin, no origin, another method.
    for headers in [
        vec![("origin", "https://ui.test")],
        vec![("origin", "https://evil.test"), method],
        vec![method],
        vec![("origin", "null"), method],
    ] {
        assert_eq!(code(&options("/put", &headers)), Err(Code::NotFound), "{headers:?}");
    }
    assert_eq!(code(&world.ask(&get("/x", &[("origin", "https://ui.test"), method]))), Err(Code::NotFound));
    assert_eq!(code(&options("/a/../put", &[("origin", "https://ui.test"), method])), Err(Code::MalformedRequest));
    let elsewhere = World::new(&policy("unmatched: Authenticate"));
    let plain = Ask { method: "OPTIONS", ..get("/put", &[("origin", "https://ui.test"), method]) };
    assert_eq!(code(&elsewhere.ask(&plain)), Err(Code::MissingCredential), "without `cors` nothing is special");
}

#[test]
fn no_refusal_repeats_the_request_or_can_be_taken_for_a_page() {
    let world = World::new(&policy("routes: [{name: a, paths: [/a]}]\nunmatched: NotFound"));
    let tag = "<script>alert(1)</script>";
    let (path, bearer) = (format!("/{tag}"), format!("Bearer {tag}"));
    for ask in [
        get(&path, &[]),
        get("/a", &[("authorization", &bearer)]),
        get("/a", &[("origin", tag), ("accept", tag), ("cookie", tag)]),
        Ask { host: tag, ..get("/a", &[]) },
        Ask { method: tag, ..get("/a", &[]) },
    ] {
        let decision = world.ask(&ask);
        let Verdict::Deny(deny) = &decision.verdict else { panic!("{} {} is let in", ask.method, ask.path) };
        let refusal = refusal(deny, decision.facts.rules.as_deref(), &Asked::unread("r-1", NOW_MS));
        assert!(!format!("{refusal:?}").contains("alert"), "{refusal:?}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("content-type", "application/problem+json")] {
            let found: Vec<&str> =
                refusal.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect();
            assert_eq!(found, [value], "{name}");
        }
    }
}

#[test]
fn a_policy_on_trial_lets_through_and_tells() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {jwt: 0123456789abcdef0123456789abcdef}\n";
    let spec = "mode: Audit\nunmatched: NotFound\nroutes:\n- {name: all, paths: [/, /x], require: {scopes: [a]}}\n- {name: own, paths: [/own], access: Public, respond: {status: 200}}\n\
                forward: {claimsHeader: x-claims, replaceCredential: {signedJWT: {algorithm: HS256, secretKeyRef: {name: s, key: jwt}}}}";
    let world = World::new(&(policy(spec) + secret));
    let token = |scope: &str| format!("Bearer {}", world.token(serde_json::json!({"sub": "alice", "scope": scope})));
    let (good, short) = (token("a"), token("b"));
    for (path, authorization, audited) in [
        ("/x", good.as_str(), None),
        ("/x", short.as_str(), Some(Code::InsufficientScope)),
        ("/x", "Bearer x", Some(Code::InvalidToken)),
        ("/x", "", Some(Code::MissingCredential)),
        ("/nowhere", "", Some(Code::NotFound)),
    ] {
        let decision = world.ask(&get(
            path,
            &[("authorization", authorization), ("x-auth-subject", "mallory"), ("x_auth_roles", "admin")],
        ));
        assert_eq!(decision.facts.audited.as_ref().map(|deny| deny.code), audited, "{path} {authorization}");
        assert_eq!(changes(&decision).set_headers(), [], "nobody's identity is sent, and nothing of ours");
        for name in ["x-auth-subject", "x-auth-type", "x_auth_roles", "x-claims"] {
            assert!(removed(&decision, name), "{name}");
        }
        assert!(!removed(&decision, "authorization"), "the service behind still checks it itself");
    }
    assert_eq!(
        code(&world.ask(&get("/x/../y", &[]))),
        Err(Code::MalformedRequest),
        "what can be read in two ways reaches nobody"
    );
    assert_eq!(code(&world.ask(&get("/x", &[("authorization", "Bearer a,Bearer b")]))), Err(Code::MalformedRequest));
    assert_eq!(
        code(&world.ask(&Ask { method: "CONNECT", ..get("/x", &[]) })),
        Err(Code::Forbidden),
        "before a policy is known there is no trial"
    );
    assert_eq!(answer(&world.ask(&get("/own", &[]))).status, 200);
}

#[test]
fn of_two_policies_of_one_name_only_the_one_that_was_chosen_is_on_trial() {
    let read = |texts: &[String]| {
        let mut objects = Objects::default();
        texts.iter().enumerate().for_each(|(index, text)| objects.read(&format!("{index}.yaml"), text));
        objects
    };
    let first = policy("mode: Audit");
    let second = policy("").replace("externalHostnames: [a.test]", "externalHostnames: [a.test, b.test]");
    let mut compiler = Compiler::new(Options::default(), LastGood::default());
    compiler.compile(&read(std::slice::from_ref(&first)));
    let mut world = World::new(&first);
    world.snapshot = compiler.compile(&read(&[first, second])).snapshot;
    assert_eq!(code(&world.ask(&get("/", &[]))), Ok(()), "accepted before, and still on trial");
    let held = world.ask(&Ask { host: "b.test", ..get("/", &[]) });
    assert_eq!((code(&held), held.facts.audited), (Err(Code::Unavailable), None));
}
