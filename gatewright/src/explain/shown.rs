//! What may be shown of a decision. Must never show a value that came in with the request, or a secret of the policy.

use authz::decide::{Decision, Facts, HeaderChanges};
use crds::snapshot::{Access, HeaderValueSource, SourceKind};

use crate::cli::ExplainArgs;

/// What is set on these headers came in with the request; a credential of ours is for the upstream alone.
pub(super) fn shown<'a>(facts: &Facts, changes: &HeaderChanges, name: &str, value: &'a str) -> &'a str {
    match name {
        _ if changes.is_secret(name) => "(a credential for the upstream)",
        _ if is_copied(facts, name) => "(made of headers of the request)",
        "cookie" => "(the other cookies)",
        "sec-websocket-protocol" => "(the other protocols)",
        _ => value,
    }
}

/// Whether an expression that reads headers makes this one: the credential may be among them.
fn is_copied(facts: &Facts, name: &str) -> bool {
    let mapped = facts.rules.iter().flat_map(|rules| &rules.forward.headers).filter(|header| *header.name == *name);
    mapped.into_iter().any(
        |header| matches!(&header.value, HeaderValueSource::Cel(expression) if expression.source().contains("headers")),
    )
}

/// Where the credential was found.
pub(super) fn credential(decision: &Decision, args: &ExplainArgs) -> String {
    let facts = &decision.facts;
    let source = facts.credential.and_then(|index| facts.rules.as_ref().and_then(|rules| rules.sources.get(index)));
    match source.map(|source| &source.kind) {
        Some(SourceKind::Header { name, scheme: Some(scheme) }) => format!("header {name}, scheme {scheme}"),
        Some(SourceKind::Header { name, scheme: None }) => format!("header {name}"),
        Some(SourceKind::Cookie { name, .. }) => format!("cookie {name}"),
        Some(SourceKind::Query { name, .. }) => format!("query parameter {name}"),
        Some(SourceKind::ClientCertificate) => "client certificate".to_owned(),
        Some(SourceKind::WebSocketProtocol { name }) => format!("WebSocket protocol {name}"),
        None if facts.rules.as_ref().is_some_and(|rules| rules.access == Access::Public)
            && !args.headers.is_empty() =>
        {
            "not looked at".to_owned()
        }
        None => "none".to_owned(),
    }
}
