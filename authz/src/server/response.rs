//! Decision to CheckResponse: the only file that builds one.
//!
//! Envoy takes a response without a status, or with status code 0, for "allow", whatever else it holds (`CheckResponse::default()`
//! is "allow"). So a response is made from a [`Decision`] alone, the gRPC code of everything but an allow is a non-zero type, and no field is
//! left to a default.

use std::{borrow::Cow, num::NonZeroI32};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse},
        r#type::v3::HttpStatus,
    },
    google::{
        protobuf::{Struct, Value, value::Kind},
        rpc::Status,
    },
};

use crate::{
    decide::{Answer, Decision, Facts, HeaderChanges, Verdict},
    errors::{self, Asked, Refusal},
};

/// PERMISSION_DENIED: to Envoy, an answer of our own is a request that does not pass.
const ANSWERED: NonZeroI32 = match NonZeroI32::new(7) {
    Some(code) => code,
    None => NonZeroI32::MIN,
};

/// Our member of the dynamic metadata.
const METADATA: &str = "gatewright.dev";

/// The answer to Envoy.
pub(super) fn respond(decision: Decision, asked: &Asked<'_>) -> CheckResponse {
    let Decision { facts, verdict } = decision;
    match verdict {
        Verdict::Allow(changes) => {
            let audited = facts.audited.as_ref().map_or("", |deny| deny.code.as_str());
            allow(changes, limit_headers(&facts), metadata(&facts, "allow", audited))
        }
        // Decided as "allow", and yet not one for Envoy: it sends what is denied, with our status, and asks no upstream.
        Verdict::Answer(answer) => {
            let Answer { status, mut headers, body } = answer;
            add_limit(&mut headers, &facts);
            denied(ANSWERED, "answered", status, headers, body, metadata(&facts, "allow", ""))
        }
        Verdict::Deny(deny) => {
            let mut refusal = errors::refusal(&deny, facts.rules.as_deref(), asked);
            add_limit(&mut refusal.headers, &facts);
            refuse(refusal, metadata(&facts, "deny", deny.code.as_str()))
        }
    }
}

/// How far the limit is used, on every answer where one holds.
fn limit_headers(facts: &Facts) -> impl Iterator<Item = (&'static str, String)> + use<> {
    facts.limit.map(|standing| standing.headers()).into_iter().flatten()
}

/// On answers of our own; a policy's own header of such a name would be a second truth.
fn add_limit(headers: &mut Vec<(Cow<'static, str>, String)>, facts: &Facts) {
    for (name, value) in limit_headers(facts) {
        headers.retain(|(own, _)| own != name);
        headers.push((name.into(), value));
    }
}

fn allow(
    changes: HeaderChanges,
    answer: impl Iterator<Item = (&'static str, String)>,
    metadata: Struct,
) -> CheckResponse {
    let protocol = changes.selected_protocol().map(if_absent);
    let query_parameters_to_remove = changes.removed_parameters().to_vec();
    let (set, remove) = changes.into_parts();
    CheckResponse {
        status: Some(Status { code: 0, message: String::new(), details: Vec::new() }),
        dynamic_metadata: Some(metadata),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set.into_iter().map(|(name, value)| overwriting(&name, value)).collect(),
            headers_to_remove: remove.iter().map(ToString::to_string).collect(),
            query_parameters_to_remove,
            // Overwriting: an upstream that counts for itself must not make two truths of it.
            response_headers_to_add: answer.map(|(name, value)| overwriting(name, value)).chain(protocol).collect(),
            ..OkHttpResponse::default()
        })),
    }
}

fn refuse(refusal: Refusal, metadata: Struct) -> CheckResponse {
    // PERMISSION_DENIED (7) if a code ever claimed to be 0: a refusal cannot be written down as anything Envoy lets pass.
    let code = NonZeroI32::new(i32::from(refusal.code.grpc())).unwrap_or(ANSWERED);
    denied(code, refusal.code.as_str(), refusal.status, refusal.headers, refusal.body, metadata)
}

/// What Envoy sends itself. The type of `code` leaves no way to write an "allow" down here.
fn denied(
    code: NonZeroI32,
    message: &str,
    status: u16,
    headers: Vec<(Cow<'static, str>, String)>,
    body: String,
    metadata: Struct,
) -> CheckResponse {
    CheckResponse {
        status: Some(Status { code: code.get(), message: message.to_owned(), details: Vec::new() }),
        dynamic_metadata: Some(metadata),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(status) }),
            headers: headers.into_iter().map(|(name, value)| header(&name, value)).collect(),
            body,
        })),
    }
}

/// A header for the client. `append` stays unset: set, Envoy drops repeated `Set-Cookie` lines.
fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        ..HeaderValueOption::default()
    }
}

/// A header for the upstream: a client's value never stands beside ours. `append` unset overwrites, whatever the action says; the
/// action says the same for an Envoy that reads it first.
fn overwriting(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption { append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32, ..header(name, value) }
}

/// The protocol that the answer to a handshake selects, unless the upstream selected one.
fn if_absent(protocol: &str) -> HeaderValueOption {
    let option = header("sec-websocket-protocol", protocol.to_owned());
    HeaderValueOption { append_action: HeaderAppendAction::AddIfAbsent as i32, ..option }
}

/// What access logs and later filters may read; never a token or a claim beyond the identity.
fn metadata(facts: &Facts, decision: &str, reason: &str) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let record = |fields: Vec<(&str, Value)>| Struct {
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let mut principal = vec![("type", text(facts.caller.map_or("", crate::principal::CallerKind::as_str)))];
    if let Some(proven) = &facts.proven {
        let one = &proven.principal;
        principal.push(("issuer", text(one.issuer.as_deref().unwrap_or_default())));
        principal.push(("subject", text(&one.subject)));
        principal.push(("user", text(&one.user)));
    }
    let ours = record(vec![
        ("decision", text(decision)),
        ("reason", text(reason)),
        ("policy", text(facts.policy.as_ref().map_or("", |(name, _)| name))),
        ("route", text(facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default())),
        ("principal", Value { kind: Some(Kind::StructValue(record(principal))) }),
    ]);
    record(vec![(METADATA, Value { kind: Some(Kind::StructValue(ours)) })])
}

#[cfg(test)]
mod tests {
    use crds::code::Code;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::decide::Deny;

    /// What Envoy makes of a response: measured, `status` unset or 0 is "allow" whatever else there is.
    fn envoy_allows(bytes: &[u8]) -> bool {
        CheckResponse::decode(bytes).is_ok_and(|response| response.status.is_none_or(|status| status.code == 0))
    }

    fn decision(code: Code, detail: &'static str) -> Decision {
        Decision::refusal(Deny { scopes: vec!["a".into()], ..Deny::new(code, detail) })
    }

    proptest! {
        #[test]
        fn no_refusal_is_read_as_allow(index in 0..Code::ALL.len(), grpc: bool, id in ".*") {
            let response = respond(decision(Code::ALL[index], "why"), &Asked { is_grpc: grpc, ..Asked::unread(&id, 0) });
            prop_assert!(!envoy_allows(&response.encode_to_vec()));
            let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("not a denied response") };
            prop_assert!(denied.status.is_some_and(|status| status.code >= 400));
        }
    }

    #[test]
    fn an_answer_of_our_own_is_not_read_as_allow() {
        for status in [200, 204, 307, 418, 503] {
            let answer = Answer { status, headers: vec![("x-a".into(), "b".to_owned())], body: "c".to_owned() };
            let decision = Decision { facts: Facts::default(), verdict: Verdict::Answer(answer) };
            let response = respond(decision, &Asked::default());
            assert!(!envoy_allows(&response.encode_to_vec()));
            let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
                panic!("not a denied response")
            };
            assert_eq!(
                (denied.status.unwrap().code, denied.body.as_str(), denied.headers.len()),
                (i32::from(status), "c", 1)
            );
        }
    }

    /// A member of our metadata.
    fn told(response: &CheckResponse, name: &str) -> String {
        let ours = response
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
    fn header_options_overwrite() {
        let option = overwriting("x-a", "b".to_owned());
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
        assert!(
            option.encode_to_vec().windows(2).all(|pair| pair != [0x12, 0x02]),
            "`append` must stay unset: it adds to the client's value"
        );
    }
}
