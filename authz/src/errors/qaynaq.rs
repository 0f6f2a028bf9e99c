//! Qaynaq: `{"error"}`, always as JSON, whatever content type the application sniffed.

use crds::code::Code;
use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
}

pub(super) fn body(facts: &Facts<'_>) -> String {
    let own = match facts.code() {
        Code::MissingCredential | Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing => "Unauthorized",
        Code::Forbidden | Code::InsufficientScope | Code::ClaimUnusable | Code::NoPolicy => "forbidden: role required",
        Code::NotFound => "not found",
        Code::MalformedRequest => "Invalid request",
        Code::RateLimited => "too many requests",
        Code::TooManyFailures => "Too many attempts",
        Code::Unavailable | Code::Overloaded => "service unavailable",
    };
    serde_json::to_string(&Body { error: facts.message.unwrap_or(own) }).unwrap_or_default()
}
