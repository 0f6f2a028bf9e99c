//! The bodies of NVIDIA AI-Q: `{"detail", "error"}`, members in that order.

use crds::code::Code;
use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
struct Body<'a> {
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

pub(super) fn body(facts: &Facts<'_>) -> String {
    let (detail, error) = match facts.code() {
        Code::MissingCredential => ("Missing auth token", Some("token_missing")),
        Code::ExpiredToken => ("Token has expired", Some("token_expired")),
        Code::InvalidToken => ("Invalid auth token", Some("token_invalid")),
        Code::NotFound => ("Not found", None),
        Code::Unavailable => ("Authentication failed", Some("auth_unavailable")),
        Code::RateLimited => ("Too many requests", Some("rate_limited")),
        Code::TooManyFailures => ("Too many attempts", Some("too_many_failures")),
        code => ("Authentication failed", Some(code.as_str())),
    };
    serde_json::to_string(&Body { detail: facts.message.unwrap_or(detail), error }).unwrap_or_default()
}
