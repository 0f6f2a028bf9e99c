//! mozilla-ai cq: `{"detail"}`, with its own words for tokens.

use crds::code::Code;

use super::{Facts, fastapi};

pub(super) fn body(facts: &Facts<'_>) -> String {
    match facts.code() {
        Code::MissingCredential => fastapi::detail(facts, "Missing or invalid authorization header"),
        Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing => {
            fastapi::detail(facts, "Invalid or expired token")
        }
        _ => fastapi::other(facts),
    }
}
