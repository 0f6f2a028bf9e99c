//! Decision to CheckResponse: the only file that builds one.
//!
//! Envoy takes a response without a status, or with status code 0, for "allow", whatever else it holds (`CheckResponse::default()`
//! is "allow"). So a response is made from a [`Decision`] alone, the gRPC code of everything but an allow is a non-zero type, and no field is
//! left to a default.

use std::{borrow::Cow, num::NonZeroI32};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        service::auth::v3::{CheckResponse, DeniedHttpResponse, check_response::HttpResponse},
        r#type::v3::HttpStatus,
    },
    google::rpc::Status,
};
use prost::Message;

use super::writer::Writer;
use crate::{
    decide::{Answer, Decision, Facts, HeaderChanges, Verdict},
    errors::{self, Asked, Refusal},
    principal::CallerKind,
};

/// PERMISSION_DENIED: to Envoy, an answer of our own is a request that does not pass.
const ANSWERED: NonZeroI32 = match NonZeroI32::new(7) {
    Some(code) => code,
    None => NonZeroI32::MIN,
};

/// Our member of the dynamic metadata.
pub(super) const METADATA: &str = "gatewright.dev";

/// The answer to Envoy, encoded.
pub(super) fn respond(decision: Decision, asked: &Asked<'_>) -> Vec<u8> {
    let Decision { facts, verdict } = decision;
    match verdict {
        Verdict::Allow(changes) => {
            let audited = facts.audited.as_ref().map_or("", |deny| deny.code.as_str());
            allow(&changes, &facts, audited)
        }
        // Decided as "allow", and yet not one for Envoy: it sends what is denied, with our status, and asks no upstream.
        Verdict::Answer(answer) => {
            let Answer { status, mut headers, body } = answer;
            add_limit(&mut headers, &facts);
            denied(ANSWERED, "answered", status, headers, body, (&facts, "allow", ""))
        }
        Verdict::Deny(deny) => {
            let mut refusal = errors::refusal(&deny, facts.rules.as_deref(), asked);
            add_limit(&mut refusal.headers, &facts);
            refuse(refusal, (&facts, "deny", deny.code.as_str()))
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

/// Fields of `CheckResponse` and what it holds, by number.
mod field {
    pub(super) const STATUS: u32 = 1;
    pub(super) const OK_RESPONSE: u32 = 3;
    pub(super) const DYNAMIC_METADATA: u32 = 4;
    /// `OkHttpResponse`.
    pub(super) mod ok {
        pub(in super::super) const HEADERS: u32 = 2;
        pub(in super::super) const HEADERS_TO_REMOVE: u32 = 5;
        pub(in super::super) const RESPONSE_HEADERS_TO_ADD: u32 = 6;
        pub(in super::super) const QUERY_PARAMETERS_TO_REMOVE: u32 = 8;
    }
}

/// The one answer that lets a request pass. Written field by field: it is nearly every answer, and as strings, maps and messages it
/// would cost more than the decision.
fn allow(changes: &HeaderChanges, facts: &Facts, audited: &str) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    // Present and empty: status code 0, which is what lets the request pass.
    out.message(field::STATUS, |_| {});
    out.message(field::OK_RESPONSE, |out| {
        for (name, value) in changes.set_headers() {
            out.message(field::ok::HEADERS, |out| header_option(out, name, value, OVERWRITE));
        }
        changes.removed_headers().iter().for_each(|name| out.text(field::ok::HEADERS_TO_REMOVE, name));
        // Overwriting: an upstream that counts for itself must not make two truths of it.
        for (name, value) in limit_headers(facts) {
            out.message(field::ok::RESPONSE_HEADERS_TO_ADD, |out| header_option(out, name, &value, OVERWRITE));
        }
        // The protocol that the answer to a handshake selects, unless the upstream selected one.
        if let Some(protocol) = changes.selected_protocol() {
            let name = "sec-websocket-protocol";
            out.message(field::ok::RESPONSE_HEADERS_TO_ADD, |out| header_option(out, name, protocol, IF_ABSENT));
        }
        changes.removed_parameters().iter().for_each(|name| out.text(field::ok::QUERY_PARAMETERS_TO_REMOVE, name));
    });
    out.message(field::DYNAMIC_METADATA, |out| metadata(out, facts, "allow", audited));
    out.into_bytes()
}

/// A client's value never stands beside ours: `append` unset overwrites, whatever the action says; the action says the same for an
/// Envoy that reads it first.
const OVERWRITE: HeaderAppendAction = HeaderAppendAction::OverwriteIfExistsOrAdd;
const IF_ABSENT: HeaderAppendAction = HeaderAppendAction::AddIfAbsent;

/// `HeaderValueOption`. Its `append` stays unset: it would add to the client's value.
fn header_option(out: &mut Writer, name: &str, value: &str, action: HeaderAppendAction) {
    out.message(1, |out| {
        out.text(1, name);
        out.text(2, value);
    });
    out.number(3, action as u64);
}

fn refuse(refusal: Refusal, told: Told<'_>) -> Vec<u8> {
    // PERMISSION_DENIED (7) if a code ever claimed to be 0: a refusal cannot be written down as anything Envoy lets pass.
    let code = NonZeroI32::new(i32::from(refusal.code.grpc())).unwrap_or(ANSWERED);
    denied(code, refusal.code.as_str(), refusal.status, refusal.headers, refusal.body, told)
}

/// What the metadata tells: facts, decision, reason.
type Told<'a> = (&'a Facts, &'a str, &'a str);

/// What Envoy sends itself. The type of `code` leaves no way to write an "allow" down here.
fn denied(
    code: NonZeroI32,
    message: &str,
    status: u16,
    headers: Vec<(Cow<'static, str>, String)>,
    body: String,
    (facts, decision, reason): Told<'_>,
) -> Vec<u8> {
    let response = CheckResponse {
        status: Some(Status { code: code.get(), message: message.to_owned(), details: Vec::new() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(status) }),
            headers: headers.into_iter().map(|(name, value)| header(&name, value)).collect(),
            body,
        })),
    };
    let mut out = Writer::new(response.encode_to_vec());
    out.message(field::DYNAMIC_METADATA, |out| metadata(out, facts, decision, reason));
    out.into_bytes()
}

/// A header for the client. `append` stays unset: set, Envoy drops repeated `Set-Cookie` lines.
fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        ..HeaderValueOption::default()
    }
}

/// What access logs and later filters may read (a `google.protobuf.Struct`); never a token or a claim beyond the identity.
fn metadata(out: &mut Writer, facts: &Facts, decision: &str, reason: &str) {
    member(out, METADATA, |out| {
        out.message(STRUCT_VALUE, |out| {
            text_member(out, "decision", decision);
            text_member(out, "reason", reason);
            text_member(out, "policy", facts.policy.as_ref().map_or("", |(name, _)| name));
            text_member(
                out,
                "route",
                facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default(),
            );
            if let Some(lease) = &facts.lease {
                text_member(out, "lease", &lease.to_string());
            }
            member(out, "principal", |out| out.message(STRUCT_VALUE, |out| principal(out, facts)));
        });
    });
}

fn principal(out: &mut Writer, facts: &Facts) {
    text_member(out, "type", facts.caller.map_or("", CallerKind::as_str));
    if let Some(proven) = &facts.proven {
        let one = &proven.principal;
        text_member(out, "issuer", one.issuer.as_deref().unwrap_or_default());
        text_member(out, "subject", &one.subject);
        text_member(out, "user", &one.user);
    }
}

/// `Value.struct_value` and `Value.string_value`.
const STRUCT_VALUE: u32 = 5;
const STRING_VALUE: u32 = 3;

/// One member of a `Struct`: an entry of its map of values.
fn member(out: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    out.message(1, |out| {
        out.text(1, name);
        out.message(2, value);
    });
}

fn text_member(out: &mut Writer, name: &str, text: &str) {
    // Written even if empty: a value without a kind is none that Envoy shows as text.
    member(out, name, |out| out.text(STRING_VALUE, text));
}

#[cfg(test)]
mod tests;
