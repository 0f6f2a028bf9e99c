//! `{"detail"}`: AgentFlow's first generation, in FastAPI's words.

use crds::code::Code;
use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
struct Body<'a> {
    detail: &'a str,
}

pub(super) fn body(facts: &Facts<'_>) -> String {
    match facts.code() {
        Code::InvalidToken if facts.deny.factor.is_some() => detail(facts, facts.factor().unwrap_or_default()),
        Code::MissingCredential => detail(facts, "Not authenticated"),
        Code::InvalidToken | Code::ClaimMissing => detail(facts, "Could not validate credentials"),
        Code::ExpiredToken => detail(facts, "Token has expired"),
        _ => other(facts),
    }
}

/// What FastAPI says where the application says nothing: the phrase of the status, except for scopes and failed attempts.
pub(super) fn other(facts: &Facts<'_>) -> String {
    match facts.code() {
        Code::InsufficientScope => detail(facts, &facts.missing_scope()),
        Code::TooManyFailures => detail(facts, "Too many attempts"),
        Code::MalformedRequest => detail(facts, "Bad Request"),
        Code::MissingCredential | Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing => {
            detail(facts, "Unauthorized")
        }
        Code::Forbidden | Code::ClaimUnusable | Code::NoPolicy => detail(facts, "Forbidden"),
        Code::NotFound => detail(facts, "Not Found"),
        Code::RateLimited => detail(facts, "Too Many Requests"),
        Code::Unavailable | Code::Overloaded => detail(facts, "Service Unavailable"),
    }
}

/// The body with this detail, or with the policy's own text.
pub(super) fn detail(facts: &Facts<'_>, own: &str) -> String {
    serde_json::to_string(&Body { detail: facts.message.unwrap_or(own) }).unwrap_or_default()
}
