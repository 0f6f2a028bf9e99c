//! Credentials that others are asked about: who is asked what, and what each answer comes to.

use serde_json::{Value, json};

use super::{confusion::document, *};
use crate::remote::{Reply, What, grant, introspection, token_review, user_info, webhook};

const INTROSPECTION: &str = "introspection: {endpoint: 'https://as.test/introspect', client: {clientID: gw, clientSecretRef: {name: s, key: k}}";
const USER_INFO: &str = "userInfo: {endpoint: 'https://as.test/userinfo'}";
const WEBHOOK: &str = "webhook: {url: 'https://hook.test/verify', forwardHeaders: [X-Tenant]}";
const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {k: client-secret}\n";

/// One question, as a service would see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Token(String, String),
    Credential(Value),
    Caller(Value),
    Owner(Value),
    /// Who asks the API server, and about which token.
    Review(String, String),
    /// Parameters in one line, and the token that is shown.
    Grant(String, Option<String>),
}

pub(super) fn asked(what: &What) -> Asked {
    let text = |secret: &crds::secret::Secret| String::from_utf8(secret.expose().to_vec()).unwrap();
    let body = |secret: &crds::secret::Secret| serde_json::from_slice(secret.expose()).unwrap();
    match what {
        What::Token(authenticator, token) => Asked::Token(authenticator.name.to_string(), text(token)),
        What::Credential(_, question) => Asked::Credential(body(question)),
        What::Caller(_, question) => Asked::Caller(body(question)),
        What::Owner(_, question) => Asked::Owner(body(question)),
        What::Review { authenticator, token, .. } => Asked::Review(authenticator.name.to_string(), text(token)),
        What::Grant(grant, subject) => {
            let form: Vec<String> = grant.form.iter().map(|(name, value)| format!("{name}={value}")).collect();
            Asked::Grant(form.join(" "), subject.as_ref().map(text))
        }
    }
}

/// Decides; every question is answered by `service`, and its answer kept for `keep_ms`. Gives the questions too.
pub(super) fn ask_with(
    world: &World,
    request: &Ask<'_>,
    now_ms: i64,
    keep_ms: i64,
    service: &dyn Fn(&What) -> Reply,
) -> (Decision, Vec<Asked>) {
    let (mut awaited, mut questions) = (Awaited::default(), Vec::new());
    loop {
        match world.step(request, &awaited, now_ms) {
            Step::Done(decision) => return (decision, questions),
            Step::Wait(Need::Remote(ask)) => {
                questions.push(asked(&ask.what));
                assert!(questions.len() < 10, "asks for ever: {questions:?}");
                let kept = Arc::new(Kept { reply: service(&ask.what), until_ms: now_ms + keep_ms });
                if keep_ms > 0 && !ask.fresh {
                    world.services.kept.lock().unwrap().insert(ask.id, kept.clone());
                }
                awaited.note_reply(ask.id, kept);
            }
            Step::Wait(Need::Code(attempt, _)) => {
                assert!(awaited.redeemed(&attempt).is_none(), "the code is used twice");
                awaited.note_code(attempt, world.factors.redeem(&attempt, now_ms));
            }
            Step::Wait(Need::Signer(algorithm)) => {
                world.signers.make(algorithm);
                awaited.note_signer(algorithm);
            }
            Step::Wait(need @ (Need::Keys(_) | Need::Count(_) | Need::Lease(_))) => panic!("waits for {need:?}"),
        }
    }
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// What the authenticator of a question makes of an answer.
pub(super) fn read(what: &What, answer: Value) -> Reply {
    match what {
        What::Token(authenticator, _) => match &authenticator.kind {
            crds::snapshot::AuthenticatorKind::Introspection(rules) => introspection::read(rules, object(answer)),
            _ => user_info::read(object(answer)),
        },
        What::Review { authenticator, ends_ms, .. } => match &authenticator.kind {
            crds::snapshot::AuthenticatorKind::ServiceAccount(rules) => {
                token_review::read(rules, &object(answer), *ends_ms)
            }
            other => panic!("asks the API server for {other:?}"),
        },
        What::Credential(..) => webhook::credential(object(answer)),
        What::Caller(..) => webhook::caller(&object(answer)),
        What::Owner(..) => webhook::owner(&object(answer)),
        What::Grant(grant, _) => grant::read(grant, &object(answer)),
    }
}

fn world(kind: &str, more: &str) -> World {
    World::new(&(document(&[("svc", kind)], more) + SECRET))
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_good_answer_is_a_caller_and_is_asked_for_once() {
    for (kind, word, answer) in [
        (
            format!("{INTROSPECTION}, issuer: 'https://as.test'}}"),
            "introspection",
            json!({"active": true, "sub": "alice", "scope": "a b"}),
        ),
        (USER_INFO.to_owned(), "userinfo", json!({"sub": "alice", "scope": "a b"})),
        (WEBHOOK.to_owned(), "webhook", json!({"authenticated": true, "claims": {"sub": "alice", "scope": "a b"}})),
    ] {
        let world = world(&kind, "");
        let request = bearer("opaque-token");
        let headers = [("authorization", request.as_str()), ("x-tenant", "t1")];
        let (decision, questions) =
            ask_with(&world, &get("/", &headers), NOW_MS, 60_000, &|what| read(what, answer.clone()));
        assert_eq!(code(&decision), Ok(()), "{word}");
        assert_eq!((set(&decision, "x-auth-type"), set(&decision, "x-auth-subject")), (Some(word), Some("alice")));
        assert_eq!(set(&decision, "x-auth-scopes"), Some("a,b"));
        assert_eq!(set(&decision, "x-auth-issuer"), (word == "introspection").then_some("https://as.test"), "{word}");
        assert_eq!(questions.len(), 1, "{word}: {questions:?}");
        if word == "webhook" {
            let question = json!({"policy": "n/p", "authenticator": "svc", "credential": "opaque-token", "headers": {"x-tenant": "t1"}});
            assert_eq!(questions, [Asked::Credential(question)]);
        } else {
            assert_eq!(questions, [Asked::Token("svc".to_owned(), "opaque-token".to_owned())]);
        }
        // From the caches, until the answer ends; then the question is asked again.
        let nobody = |what: &What| panic!("asks {:?}", asked(what));
        for now_ms in [NOW_MS, NOW_MS + 59_999] {
            assert_eq!(code(&ask_with(&world, &get("/", &headers), now_ms, 0, &nobody).0), Ok(()), "{word}");
        }
        let (decision, questions) =
            ask_with(&world, &get("/", &headers), NOW_MS + 60_000, 0, &|_| Reply::Refused("not any more"));
        assert_eq!((code(&decision), questions.len()), (Err(Code::InvalidToken), 1), "{word}");
    }
}

#[test]
fn answers_become_refusals_and_failures_never_a_401() {
    let good = |change: Value| with(json!({"active": true, "sub": "alice"}), change);
    let kind = format!("{INTROSPECTION}, issuer: 'https://as.test', audiences: [api]}}");
    let good = |change| good(with(json!({"aud": ["api", "b"]}), change));
    for (answer, expected) in [
        (good(json!({})), Ok(())),
        (good(json!({"iss": "https://as.test", "exp": NOW_MS / 1000 + 1, "nbf": NOW_MS / 1000})), Ok(())),
        (json!({"active": false}), Err(Code::InvalidToken)),
        (json!({"active": false, "sub": "alice"}), Err(Code::InvalidToken)),
        (good(json!({"iss": "https://other.test"})), Err(Code::InvalidToken)),
        (good(json!({"aud": "other"})), Err(Code::InvalidToken)),
        (good(json!({"aud": []})), Err(Code::InvalidToken)),
        (good(json!({"sub": 7})), Err(Code::InvalidToken)),
        (good(json!({"sub": ""})), Err(Code::InvalidToken)),
        (good(json!({"cnf": {"jkt": "x"}})), Err(Code::InvalidToken)),
        (good(json!({"nbf": NOW_MS / 1000 + 1})), Err(Code::InvalidToken)),
        (good(json!({"exp": NOW_MS / 1000})), Err(Code::ExpiredToken)),
        (json!({"active": true, "aud": "api"}), Err(Code::ClaimMissing)),
        // Nonsense is the server's failure.
        (good(json!({"active": "true"})), Err(Code::Unavailable)),
        (good(json!({"active": 1})), Err(Code::Unavailable)),
        (json!({"active": null, "sub": "alice", "aud": "api"}), Err(Code::Unavailable)),
        (json!({"sub": "alice", "aud": "api"}), Err(Code::Unavailable)),
        (good(json!({"exp": "2099-01-01"})), Err(Code::Unavailable)),
        (json!({"active": true, "sub": "alice", "aud": "api", "exp": null}), Err(Code::Unavailable)),
        (good(json!({"exp": -1})), Err(Code::Unavailable)),
        (good(json!({"nbf": true})), Err(Code::Unavailable)),
        (good(json!({"iss": ["https://as.test"]})), Err(Code::Unavailable)),
        (good(json!({"aud": {"api": 1}})), Err(Code::Unavailable)),
        (good(json!({"aud": ["api", 7]})), Err(Code::Unavailable)),
    ] {
        let world = world(&kind, "");
        let request = bearer("opaque");
        let (decision, _) =
            ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &|what| read(what, answer.clone()));
        assert_eq!(code(&decision), expected, "{answer}");
    }
}

#[test]
fn answers_of_a_webhook_say_yes_or_no_in_one_way() {
    for (answer, expected) in [
        (json!({"authenticated": true, "claims": {"sub": "a"}}), Ok(())),
        (json!({"authenticated": false}), Err(Code::InvalidToken)),
        (json!({"authenticated": false, "reason": "invalid"}), Err(Code::InvalidToken)),
        (json!({"authenticated": false, "reason": "expired"}), Err(Code::ExpiredToken)),
        (json!({"authenticated": true, "claims": {"sub": "a", "exp": NOW_MS / 1000}}), Err(Code::ExpiredToken)),
        (json!({"authenticated": true, "claims": {}}), Err(Code::ClaimMissing)),
        (json!({"authenticated": true}), Err(Code::Unavailable)),
        (json!({"authenticated": "true", "claims": {"sub": "a"}}), Err(Code::Unavailable)),
        (json!({"authenticated": true, "claims": [["sub", "a"]]}), Err(Code::Unavailable)),
        (json!({"authenticated": true, "claims": {"sub": "a"}, "reason": "expired"}), Err(Code::Unavailable)),
        (json!({"authenticated": false, "claims": {"sub": "a"}}), Err(Code::Unavailable)),
        (json!({"authenticated": false, "reason": "because"}), Err(Code::Unavailable)),
        (json!({"authenticated": false, "reason": 1}), Err(Code::Unavailable)),
        (json!({}), Err(Code::Unavailable)),
    ] {
        let world = world(WEBHOOK, "");
        let request = bearer("opaque");
        let (decision, _) =
            ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &|what| read(what, answer.clone()));
        assert_eq!(code(&decision), expected, "{answer}");
    }
}

#[test]
fn an_outage_makes_nobody_a_stranger() {
    let down = |_: &What| Reply::Failed("the service has not answered in time");
    let request = bearer("opaque");
    let ask = get("/", &[("authorization", &request)]);
    for more in ["", "requireAuth: false", "requireAuth: false\ninvalidCredential: Ignore"] {
        let (decision, _) = ask_with(&world(WEBHOOK, more), &ask, NOW_MS, 0, &down);
        assert_eq!(code(&decision), Err(Code::Unavailable), "{more}");
        let Verdict::Deny(deny) = &decision.verdict else { panic!() };
        assert_eq!(deny.detail, "the service has not answered in time");
    }
    // It counts as nobody's bad credential.
    let world = world(WEBHOOK, "limits: {failedAuthentications: {rate: 1, window: 60s}}");
    for _ in 0..3 {
        assert_eq!(code(&ask_with(&world, &ask, NOW_MS, 0, &down).0), Err(Code::Unavailable));
    }
    let no = |_: &What| Reply::Refused("no");
    assert_eq!(code(&ask_with(&world, &ask, NOW_MS, 0, &no).0), Err(Code::InvalidToken));
    assert_eq!(code(&ask_with(&world, &ask, NOW_MS, 0, &no).0), Err(Code::TooManyFailures));
}

#[test]
fn forwarded_headers_are_part_of_the_question() {
    let world = world(WEBHOOK, "");
    let request = bearer("opaque");
    let of_tenant = |what: &What| match asked(what) {
        Asked::Credential(question) if question["headers"] == json!({"x-tenant": "one"}) => {
            read(what, json!({"authenticated": true, "claims": {"sub": "alice"}}))
        }
        _ => Reply::Refused("not of this tenant"),
    };
    let decide = |headers: &[(&str, &str)]| code(&ask_with(&world, &get("/", headers), NOW_MS, 60_000, &of_tenant).0);
    let own = ("authorization", request.as_str());
    assert_eq!(decide(&[own, ("x-tenant", "one")]), Ok(()));
    assert_eq!(
        decide(&[own, ("x-tenant", "two")]),
        Err(Code::InvalidToken),
        "the answer for one tenant is none for another"
    );
    assert_eq!(decide(&[own]), Err(Code::InvalidToken));
    assert_eq!(decide(&[own, ("x-other", "one")]), Err(Code::InvalidToken));
}

#[test]
fn a_credential_cannot_pretend_to_be_a_header() {
    let world = world(WEBHOOK, "credentials: [{query: key}]");
    let yes = |what: &What| match asked(what) {
        Asked::Credential(question) if question["credential"] == "k" => {
            read(what, json!({"authenticated": true, "claims": {"sub": "alice"}}))
        }
        _ => Reply::Refused("no"),
    };
    let headers = [("x-tenant", "one")];
    assert_eq!(code(&ask_with(&world, &get("/?key=k", &headers), NOW_MS, 60_000, &yes).0), Ok(()));
    // Name and value of the header as they are hashed, and then the good key.
    let length = |bytes: u8| format!("{}%{bytes:02x}", "%00".repeat(7));
    let path = format!("/?key={}x-tenant{}onek", length(8), length(3));
    assert_eq!(code(&ask_with(&world, &get(&path, &[]), NOW_MS, 60_000, &yes).0), Err(Code::InvalidToken));
}

#[test]
fn only_what_may_be_of_the_kind_is_asked_about() {
    let prefixed = format!("{INTROSPECTION}, accepts: {{prefix: opq_}}}}");
    let pattern = "webhook: {url: 'https://hook.test/verify', accepts: {pattern: 'k[0-9]{3}'}}";
    let issuer = format!("{INTROSPECTION}, issuer: 'https://as.test'}}");
    let foreign = token_of(&P256, Algorithm::ES256, json!({"iss": "https://elsewhere.test", "sub": "a"}));
    let own = token_of(&P256, Algorithm::ES256, json!({"iss": "https://as.test", "sub": "a"}));
    let long = "a".repeat(48 * 1024 + 1);
    for (kind, text, is_asked) in [
        (prefixed.as_str(), "opq_1", true),
        (&prefixed, "1_opq_", false),
        (&prefixed, "opq_ 1", false),
        (pattern, "k123", true),
        (pattern, "xk123", false),
        (pattern, "k1234", false),
        (issuer.as_str(), "opaque", true),
        (&issuer, &own, true),
        (&issuer, &foreign, false),
        (USER_INFO, &foreign, true),
        (USER_INFO, "a\"b", false),
        (USER_INFO, &long, false),
        (WEBHOOK, "a\"b c", true),
        (WEBHOOK, "a\u{fffd}b", false),
    ] {
        let world = world(kind, "");
        let request = bearer(text);
        let (decision, questions) =
            ask_with(&world, &get("/", &[("authorization", &request)]), NOW_MS, 0, &|_| Reply::Refused("no"));
        assert_eq!(code(&decision), Err(Code::InvalidToken));
        assert_eq!(!questions.is_empty(), is_asked, "{kind}: {}", text.get(..20).unwrap_or(text));
    }
}

#[test]
fn tokens_that_are_judged_here_are_given_to_nobody() {
    let kinds = [("svc", WEBHOOK), ("sso", "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}")];
    let mut world = World::new(&document(&kinds, ""));
    let nobody = |what: &What| panic!("asks {:?}", asked(what));
    let wrong = bearer(&world.token(json!({"sub": "a", "aud": "other"})));
    assert_eq!(
        code(&ask_with(&world, &get("/", &[("authorization", &wrong)]), NOW_MS, 0, &nobody).0),
        Err(Code::InvalidToken)
    );
    // Not even while the issuer's keys are missing.
    world.keys(ISSUER, false, false, true);
    let good = bearer(&token_of(&P256, Algorithm::ES256, json!({"sub": "a"})));
    assert_eq!(
        code(&ask_with(&world, &get("/", &[("authorization", &good)]), NOW_MS, 0, &nobody).0),
        Err(Code::Unavailable)
    );
    let other = bearer(&token_of(&P256, Algorithm::ES256, json!({"sub": "a", "iss": "https://b.test"})));
    let (_, questions) =
        ask_with(&world, &get("/", &[("authorization", &other)]), NOW_MS, 0, &|_| Reply::Refused("no"));
    assert_eq!(questions.len(), 1, "of an issuer that nobody here knows");
}

#[test]
fn one_that_says_yes_is_enough_and_is_asked_after_another_said_no() {
    let kinds = [("first", USER_INFO), ("second", WEBHOOK)];
    let world = World::new(&document(&kinds, ""));
    let request = bearer("opaque");
    let ask = get("/", &[("authorization", &request)]);
    let second = |what: &What| match what {
        What::Credential(..) => read(what, json!({"authenticated": true, "claims": {"sub": "a"}})),
        _ => Reply::Refused("no"),
    };
    let (decision, questions) = ask_with(&world, &ask, NOW_MS, 0, &second);
    assert_eq!((code(&decision), set(&decision, "x-auth-authenticator")), (Ok(()), Some("second")));
    assert_eq!(questions.len(), 2);
    let first_down = |what: &What| match what {
        What::Credential(..) => Reply::Refused("no"),
        _ => Reply::Failed("down"),
    };
    assert_eq!(code(&ask_with(&world, &ask, NOW_MS, 0, &first_down).0), Err(Code::Unavailable), "it may be a good one");
}
