//! Decision to CheckResponse: the only file that builds one.
//!
//! Envoy takes a response without a status, or with status code 0, for "allow", whatever else it holds (`CheckResponse::default()`
//! is "allow"). So a response is made from a [`Decision`] alone, the gRPC code of a refusal is a non-zero type, and no field is
//! left to a default.

use std::num::NonZeroI32;

use crds::snapshot::Errors;
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
    decide::{Decision, Facts, HeaderChanges, Verdict},
    errors::{self, Refusal},
};

/// Our member of the dynamic metadata.
const METADATA: &str = "gatewright.dev";

/// The answer to Envoy.
pub(super) fn respond(decision: Decision, is_grpc: bool, request_id: &str) -> CheckResponse {
    let Decision { facts, verdict } = decision;
    match verdict {
        Verdict::Allow(changes) => allow(changes, metadata(&facts, "allow", "")),
        Verdict::Deny(deny) => {
            let errors: Option<&Errors> = facts.rules.as_ref().map(|rules| &*rules.errors);
            let refusal = errors::render(&deny, errors, is_grpc, request_id);
            refuse(refusal, metadata(&facts, "deny", deny.code.as_str()))
        }
    }
}

fn allow(changes: HeaderChanges, metadata: Struct) -> CheckResponse {
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
            response_headers_to_add: protocol.into_iter().collect(),
            ..OkHttpResponse::default()
        })),
    }
}

fn refuse(refusal: Refusal, metadata: Struct) -> CheckResponse {
    // PERMISSION_DENIED (7) if a code ever claimed to be 0: a refusal cannot be written down as anything Envoy lets pass.
    let code = NonZeroI32::new(i32::from(refusal.code.grpc())).map_or(7, NonZeroI32::get);
    let status = i32::from(refusal.code.status());
    CheckResponse {
        status: Some(Status { code, message: refusal.code.as_str().to_owned(), details: Vec::new() }),
        dynamic_metadata: Some(metadata),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: status }),
            headers: refusal.headers.into_iter().map(|(name, value)| header(name, value)).collect(),
            body: refusal.body,
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
    let record = |fields: Vec<(&str, Value)>| Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() };
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
    use prost::Message;
    use proptest::prelude::*;

    use super::*;
    use crate::decide::Deny;

    /// What Envoy makes of a response: measured, `status` unset or 0 is "allow" whatever else there is.
    fn envoy_allows(bytes: &[u8]) -> bool {
        CheckResponse::decode(bytes).map_or(false, |response| response.status.is_none_or(|status| status.code == 0))
    }

    fn decision(code: Code, detail: &'static str) -> Decision {
        Decision::refusal(Deny { scopes: vec!["a".into()], ..Deny::new(code, detail) })
    }

    proptest! {
        #[test]
        fn no_refusal_is_read_as_allow(index in 0..Code::ALL.len(), grpc: bool, id in ".*") {
            let response = respond(decision(Code::ALL[index], "why"), grpc, &id);
            prop_assert!(!envoy_allows(&response.encode_to_vec()));
            let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("not a denied response") };
            prop_assert!(denied.status.is_some_and(|status| status.code >= 400));
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
        assert!(option.encode_to_vec().windows(2).all(|pair| pair != [0x12, 0x02]), "`append` must stay unset: it adds to the client's value");
    }
}
