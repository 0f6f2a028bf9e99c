//! Refusals as the client sees them: status, headers, body (contract, section 4).
//!
//! Pure. Owns every byte of a refusal; nothing of the request or of a token is ever part of one, except the request id.

mod aiq;
mod standard;
#[cfg(test)]
mod tests;

use crds::{
    code::Code,
    snapshot::{ErrorProfile, Errors},
};

use crate::decide::Deny;

/// A refusal ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its code; status and gRPC status follow from it.
    pub code: Code,
    /// Response headers, names lower case, each once.
    pub headers: Vec<(&'static str, String)>,
    /// Response body.
    pub body: String,
}

/// What every profile can use.
struct Facts<'a> {
    code: Code,
    /// The policy's own text, else the standard one.
    text: &'a str,
    request_id: &'a str,
}

/// Seconds after which asking again makes sense: a key set that failed is tried again within a few seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// Renders a refusal. `errors`: of the route or policy; before one is known, the default.
pub fn render(deny: &Deny, errors: Option<&Errors>, is_grpc: bool, request_id: &str) -> Refusal {
    let message = errors.and_then(|errors| errors.message.as_deref());
    // The numbers are the client's own to know, and what makes the answer useful.
    let detail = deny.limited.map(|limited| format!("{} {limited}", standard::detail(deny.code)));
    let text = message.or(detail.as_deref()).unwrap_or_else(|| standard::detail(deny.code));
    let facts = Facts { code: deny.code, text, request_id };
    let (content_type, body) = match errors.map_or(ErrorProfile::Standard, |errors| errors.profile) {
        ErrorProfile::Standard => ("application/problem+json", standard::body(&facts)),
        ErrorProfile::AIQ => ("application/json", aiq::body(&facts, message)),
    };
    let mut headers = vec![
        ("content-type", content_type.to_owned()),
        ("cache-control", "no-store".to_owned()),
        // A cache that ignores no-store must at least not mix callers up.
        ("vary", "Authorization, Cookie".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    if let Some(challenge) = challenge(deny) {
        headers.push(("www-authenticate", challenge));
    }
    if deny.code.status() == 503 {
        headers.push(("retry-after", RETRY_AFTER_SECONDS.to_owned()));
    }
    if let Some(limited) = deny.limited {
        headers.push(("retry-after", limited.retry_after_seconds.to_string()));
    }
    if is_grpc {
        // Envoy derives a gRPC status from the HTTP one and maps 400 and 404 otherwise than the contract.
        headers.push(("grpc-status", deny.code.grpc().to_string()));
        headers.push(("grpc-message", deny.code.as_str().to_owned()));
    }
    Refusal { code: deny.code, headers, body }
}

/// The Bearer challenge (RFC 6750 section 3): no error code where no credential was sent.
fn challenge(deny: &Deny) -> Option<String> {
    match deny.code {
        Code::MissingCredential => Some("Bearer".to_owned()),
        // Nothing but the code: why exactly a token is bad is for `explain`, not for whoever sent it.
        Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing => {
            Some("Bearer error=\"invalid_token\"".to_owned())
        }
        Code::InsufficientScope => {
            // RFC 6749 section 3.3: scope tokens hold no quote and no backslash; the schema refuses such names.
            let scopes =
                deny.scopes.iter().filter(|one| one.bytes().all(is_scope_byte)).map(|one| &**one).collect::<Vec<_>>();
            Some(format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" ")))
        }
        _ => None,
    }
}

const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}
