//! What Envoy reads in our answers: they are decoded by its own types.

use std::sync::Arc;

use crds::code::Code;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use proptest::prelude::*;

use super::*;
use crate::{
    decide::{Choice, Deny, Grants, Proven},
    limits::{Standing, Taken},
    principal::{Principal, PrincipalKind},
};

/// What Envoy makes of a response: measured, `status` unset or 0 is "allow" whatever else there is.
fn envoy_allows(bytes: &[u8]) -> bool {
    CheckResponse::decode(bytes).is_ok_and(|response| response.status.is_none_or(|status| status.code == 0))
}

fn read(bytes: &[u8]) -> CheckResponse {
    CheckResponse::decode(bytes).unwrap()
}

fn decision(code: Code, detail: &'static str) -> Decision {
    Decision::refusal(Deny { scopes: vec!["a".into()], ..Deny::new(code, detail) })
}

proptest! {
    #[test]
    fn no_refusal_is_read_as_allow(index in 0..Code::ALL.len(), grpc: bool, id in ".*") {
        let response = respond(decision(Code::ALL[index], "why"), &Asked { is_grpc: grpc, ..Asked::unread(&id, 0) });
        prop_assert!(!envoy_allows(&response));
        let Some(HttpResponse::DeniedResponse(denied)) = read(&response).http_response else { panic!("not a denied response") };
        prop_assert!(denied.status.is_some_and(|status| status.code >= 400));
    }
}

#[test]
fn an_answer_of_our_own_is_not_read_as_allow() {
    for status in [200, 204, 307, 418, 503] {
        let answer = Answer { status, headers: vec![("x-a".into(), "b".to_owned())], body: "c".to_owned() };
        let decision = Decision { facts: Facts::default(), verdict: Verdict::Answer(answer) };
        let response = respond(decision, &Asked::default());
        assert!(!envoy_allows(&response));
        let Some(HttpResponse::DeniedResponse(denied)) = read(&response).http_response else {
            panic!("not a denied response")
        };
        assert_eq!(
            (denied.status.unwrap().code, denied.body.as_str(), denied.headers.len()),
            (i32::from(status), "c", 1)
        );
    }
}

/// A member of our metadata.
fn told(response: &[u8], name: &str) -> String {
    let ours = read(response)
        .dynamic_metadata
        .as_ref()
        .and_then(|all| all.fields.get(METADATA))
        .and_then(|ours| ours.kind.clone());
    let Some(Kind::StructValue(ours)) = ours else { panic!("no metadata") };
    match ours.fields.get(name).and_then(|value| value.kind.clone()) {
        Some(Kind::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_tells_what_was_decided_and_what_would_have_been() {
    let answer = Answer { status: 200, headers: Vec::new(), body: String::new() };
    let trial = || Facts { audited: Some(Box::new(Deny::new(Code::NotFound, ""))), ..Facts::default() };
    for (facts, verdict, expected) in [
        (Facts::default(), Verdict::Allow(HeaderChanges::default()), ["allow", ""]),
        (Facts::default(), Verdict::Answer(answer), ["allow", ""]),
        (trial(), Verdict::Allow(HeaderChanges::default()), ["allow", "not_found"]),
        (Facts::default(), Verdict::Deny(Deny::new(Code::NotFound, "")), ["deny", "not_found"]),
    ] {
        let response = respond(Decision { facts, verdict }, &Asked::default());
        assert_eq!(["decision", "reason"].map(|name| told(&response, name)), expected.map(str::to_owned));
    }
}

#[test]
fn the_default_response_is_what_we_think_it_is() {
    assert!(envoy_allows(&CheckResponse::default().encode_to_vec()), "if this fails, Envoy's types became safer");
}

#[test]
fn an_allow_holds_what_was_decided_and_overwrites() {
    let mut changes = HeaderChanges::default();
    let long = "v".repeat(300);
    for (name, value) in [("x-a", "b"), ("x-empty", ""), ("x-long", &long)] {
        changes.set(&Arc::from(name), value.to_owned());
    }
    ["x-gone", "x-too"].iter().for_each(|name| changes.remove(&Arc::from(*name)));
    changes.remove_parameters(["t".to_owned(), "a".to_owned()].into_iter());
    changes.select_protocol("bearer");
    let bytes = respond(Decision { facts: Facts::default(), verdict: Verdict::Allow(changes) }, &Asked::default());
    assert!(envoy_allows(&bytes));
    let response = read(&bytes);
    assert_eq!(response.status, Some(Status::default()), "an allow is said, not left to a default");
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!("not an allow") };
    let told = |options: &[HeaderValueOption]| {
        let told = options.iter().map(|option| {
            #[allow(deprecated, reason = "what Envoy reads first")]
            let append = option.append;
            assert_eq!((append, option.keep_empty_value), (None, false), "`append` would add to the client's value");
            let header = option.header.clone().unwrap();
            assert!(header.raw_value.is_empty());
            (header.key, header.value, option.append_action())
        });
        told.collect::<Vec<_>>()
    };
    let set = [("x-a", "b"), ("x-empty", ""), ("x-long", &long)];
    assert_eq!(told(&ok.headers), set.map(|(name, value)| (name.to_owned(), value.to_owned(), OVERWRITE)));
    assert_eq!(ok.headers_to_remove, ["x-gone", "x-too"]);
    assert_eq!(ok.query_parameters_to_remove, ["a", "t"]);
    let protocol = ("sec-websocket-protocol".to_owned(), "bearer".to_owned(), IF_ABSENT);
    assert_eq!(told(&ok.response_headers_to_add), [protocol]);
    let members = |bytes: &Struct| bytes.fields.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(members(&response.dynamic_metadata.unwrap()), [METADATA.to_owned()].into());
}

/// The rules of the one route of a small policy.
fn rules() -> Arc<crds::snapshot::Rules> {
    use crds::{
        compile::{Compiler, LastGood, Options},
        documents::Objects,
        snapshot::Entry,
    };
    let mut objects = Objects::default();
    objects.read(
        "p.yaml",
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: p, namespace: n}\n\
         spec: {externalHostnames: [a.test], requireAuth: false, routes: [{name: one, paths: [/one]}]}\n",
    );
    let compiled = Compiler::new(Options::default(), LastGood::default()).compile(&objects);
    let [Entry::InForce(policy)] = compiled.snapshot.entries() else { panic!("{:?}", compiled.verdicts) };
    policy.policy.routes.iter().next().unwrap().rules.clone()
}

fn proven() -> Arc<Proven> {
    let principal = Principal {
        kind: PrincipalKind::Jwt,
        authenticator: "sso".into(),
        issuer: Some("https://issuer.example".into()),
        subject: "alice".into(),
        user: "0123".into(),
        email: None,
        name: None,
        roles: Vec::new(),
        scopes: Vec::new(),
        mfa: false,
        claims: serde_json::Map::new(),
    };
    let (ends_ms, keep_until_ms, active, headers) = (None, None, None, None);
    let grants = Grants::default();
    Arc::new(Proven {
        principal,
        authenticator: 0,
        ends_ms,
        keep_until_ms,
        active,
        admitted: None,
        headers,
        grants,
        used: None,
    })
}

fn text(value: Option<&Value>) -> &str {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_names_policy_route_and_principal() {
    let facts = Facts {
        policy: Some(("n/p".into(), Choice::Host)),
        rules: Some(rules()),
        caller: Some(CallerKind::Proven(PrincipalKind::Jwt)),
        proven: Some(proven()),
        ..Facts::default()
    };
    let bytes = respond(Decision { facts, verdict: Verdict::Allow(HeaderChanges::default()) }, &Asked::default());
    assert_eq!((told(&bytes, "policy").as_str(), told(&bytes, "route").as_str()), ("n/p", "one"));
    let all = read(&bytes).dynamic_metadata.unwrap();
    let ours = match &all.fields[METADATA].kind {
        Some(Kind::StructValue(ours)) => ours,
        other => panic!("{other:?}"),
    };
    let Some(Kind::StructValue(principal)) = &ours.fields["principal"].kind else { panic!("no principal") };
    let expected = [("type", "jwt"), ("issuer", "https://issuer.example"), ("subject", "alice"), ("user", "0123")];
    for (name, value) in expected {
        assert_eq!(text(principal.fields.get(name)), value, "{name}");
    }
    assert_eq!(principal.fields.len(), expected.len());
}

/// Names and values of what the client gets.
fn to_the_client(bytes: &[u8]) -> Vec<(String, String)> {
    let options = match read(bytes).http_response.unwrap() {
        HttpResponse::OkResponse(ok) => ok.response_headers_to_add,
        HttpResponse::DeniedResponse(denied) => denied.headers,
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    };
    let headers = options.into_iter().map(|option| option.header.unwrap());
    headers.map(|header| (header.key, header.value)).collect()
}

#[test]
fn a_limit_is_told_once_on_every_answer() {
    let taken = Taken { allowed: true, remaining: 7, resets_ms: 60_000 };
    let limit = Standing { limit: 9, window: std::time::Duration::from_mins(1), taken, now_ms: 30_000 };
    let expected = [("limit", "9"), ("remaining", "7"), ("reset", "60"), ("reset-after", "30")];
    let expected = expected.map(|(name, value)| (format!("x-ratelimit-{name}"), value.to_owned()));
    let own = vec![("x-own".into(), "1".to_owned()), ("x-ratelimit-limit".into(), "second truth".to_owned())];
    let answer = Answer { status: 200, headers: own, body: String::new() };
    for verdict in [
        Verdict::Allow(HeaderChanges::default()),
        Verdict::Answer(answer),
        Verdict::Deny(Deny::new(Code::RateLimited, "")),
    ] {
        let shown = format!("{verdict:?}");
        let own = matches!(verdict, Verdict::Answer(_));
        let facts = Facts { limit: Some(limit), ..Facts::default() };
        let headers = to_the_client(&respond(Decision { facts, verdict }, &Asked::default()));
        let told: Vec<_> = headers.iter().filter(|(name, _)| name.starts_with("x-ratelimit-")).cloned().collect();
        assert_eq!(told, expected, "{shown}");
        assert_eq!(headers.contains(&("x-own".to_owned(), "1".to_owned())), own, "{shown}");
    }
}
