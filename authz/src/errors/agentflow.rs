//! AgentFlow's envelope: `{"error", "metadata"}`. The generation that answers 403 where authentication failed has the same bodies.

use crds::code::Code;
use serde::Serialize;

use super::{Facts, RateLimited};

#[derive(Serialize)]
struct Envelope<'a> {
    error: Error<'a>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    message: &'a str,
    details: [(); 0],
}

#[derive(Serialize)]
struct Metadata<'a> {
    request_id: &'a str,
    timestamp: String,
    message: &'a str,
}

#[derive(Serialize)]
struct TooMany<'a> {
    error: TooManyError<'a>,
    metadata: TooManyMetadata<'a>,
}

#[derive(Serialize)]
struct TooManyError<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(flatten)]
    limited: Option<RateLimited>,
}

#[derive(Serialize)]
struct TooManyMetadata<'a> {
    request_id: &'a str,
    status: &'static str,
}

pub(super) fn body(facts: &Facts<'_>) -> String {
    if facts.code() == Code::RateLimited {
        return too_many(facts);
    }
    let (code, own) = words(facts);
    let message = facts.message.unwrap_or(&own);
    let envelope = Envelope {
        error: Error { code, message, details: [] },
        metadata: Metadata { request_id: facts.asked.request_id, timestamp: facts.timestamp(), message },
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// Code and message. What is no failure of a token is an `HTTPException` there, with its detail as the message.
fn words(facts: &Facts<'_>) -> (&'static str, String) {
    let exception = |text: String| ("HTTPException", text);
    match facts.code() {
        // Odd, and what clients test: nothing was revoked, there was no credential.
        Code::MissingCredential => ("REVOKED_TOKEN", "Invalid token, please login again".to_owned()),
        Code::InvalidToken if facts.deny.factor.is_some() => exception(facts.factor().unwrap_or_default().to_owned()),
        Code::InvalidToken => ("INVALID_TOKEN", "Invalid token, please login again".to_owned()),
        Code::ExpiredToken => ("EXPIRED_TOKEN", "Token has expired, please login again".to_owned()),
        Code::ClaimMissing => {
            ("INVALID_TOKEN", format!("Invalid token, {} missing", facts.deny.claim.as_deref().unwrap_or("a claim")))
        }
        // The only word its clients know for "the server cannot check tokens".
        Code::Unavailable => ("JWT_SETTINGS_NOT_CONFIGURED", "JWT settings are not configured".to_owned()),
        Code::InsufficientScope => exception(facts.missing_scope()),
        Code::Forbidden | Code::ClaimUnusable | Code::NoPolicy => {
            exception(facts.not_authorized().unwrap_or_else(|| "Not authorized to access this resource".to_owned()))
        }
        Code::TooManyFailures => exception("Too many attempts".to_owned()),
        Code::NotFound => exception("Not Found".to_owned()),
        Code::MalformedRequest | Code::RateLimited | Code::Overloaded => exception(facts.standard().to_owned()),
    }
}

fn too_many(facts: &Facts<'_>) -> String {
    let own = match facts.deny.limited {
        Some(limited) => format!("Too many requests. {limited}"),
        None => "Too many requests.".to_owned(),
    };
    let body = TooMany {
        error: TooManyError {
            code: "RATE_LIMIT_EXCEEDED",
            message: facts.message.unwrap_or(&own),
            limited: facts.deny.limited,
        },
        metadata: TooManyMetadata { request_id: facts.asked.request_id, status: "error" },
    };
    serde_json::to_string(&body).unwrap_or_default()
}
