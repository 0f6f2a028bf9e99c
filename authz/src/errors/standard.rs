//! RFC 9457 problem details.

use crds::code::Code;
use serde::Serialize;

use super::Facts;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
}

pub(super) fn body(facts: &Facts<'_>) -> String {
    let code = facts.code().as_str();
    // The numbers of a limit are the client's own to know, and what makes the answer useful.
    let numbered = facts.deny.limited.map(|limited| format!("{} {limited}", facts.standard()));
    let problem = Problem {
        r#type: format!("https://gatewright.dev/errors/{code}"),
        title: title(facts.code()),
        status: facts.status,
        detail: facts.message.or(numbered.as_deref()).unwrap_or_else(|| facts.standard()),
        code,
        request_id: facts.asked.request_id,
    };
    // Strings and numbers always serialise; were that to change, an empty body is still a refusal.
    serde_json::to_string(&problem).unwrap_or_default()
}

/// A short summary that does not change from occurrence to occurrence (RFC 9457 section 3.1.3).
const fn title(code: Code) -> &'static str {
    match code {
        Code::MalformedRequest => "Malformed request",
        Code::MissingCredential => "Missing credential",
        Code::InvalidToken => "Invalid token",
        Code::ExpiredToken => "Expired token",
        Code::ClaimMissing => "Missing claim",
        Code::Forbidden => "Forbidden",
        Code::InsufficientScope => "Insufficient scope",
        Code::ClaimUnusable => "Unusable claim",
        Code::RateLimited => "Too many requests",
        Code::TooManyFailures => "Too many attempts",
        Code::NoPolicy => "No policy",
        Code::NotFound => "Not found",
        Code::Unavailable => "Temporarily unavailable",
        Code::Overloaded => "Overloaded",
    }
}

/// What the client can do about it.
pub(super) const fn detail(code: Code) -> &'static str {
    match code {
        Code::MalformedRequest => {
            "The host, the path or the credential can be read in more than one way. Send each of them once and in canonical form."
        }
        Code::MissingCredential => "This resource needs a credential. Send a token as `Authorization: Bearer`.",
        Code::InvalidToken => "The credential is not accepted here. Get a new one for this resource.",
        Code::ExpiredToken => "The token has expired. Get a new one and send the request again.",
        Code::ClaimMissing => "The token lacks a claim that this resource needs.",
        Code::Forbidden => "The request is not allowed.",
        Code::InsufficientScope => "The token lacks a scope that this resource needs.",
        Code::ClaimUnusable => "A claim of the token cannot be passed on to this resource.",
        Code::RateLimited => "Too many requests.",
        Code::TooManyFailures => "Too many attempts.",
        Code::NoPolicy => "No policy answers for this host.",
        Code::NotFound => "There is nothing at this path.",
        Code::Unavailable => "The request cannot be decided at the moment. Send it again a little later.",
        Code::Overloaded => "Too many requests at once. Send it again a little later.",
    }
}
