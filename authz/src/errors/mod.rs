//! Refusals as the client sees them: status, headers, body (contract, section 4).
//!
//! Pure. Owns every byte of a refusal; nothing of the request or of a token is ever part of one, except the request id.
//!
//! A profile is one file with one function from `Facts` to a body; its status rule stands in `status`. What the policy puts in place of
//! a profile's answer is in `own`, what browsers of other origins may read in `cors`.

mod agentflow;
mod aiq;
pub(crate) mod cors;
mod cq;
mod fastapi;
mod own;
mod qaynaq;
mod standard;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crds::{
    code::Code,
    snapshot::{ErrorProfile, ErrorResponse, Errors, Requirement, Rules},
};

use crate::{
    decide::{Deny, Factor, RateLimited},
    request::RequestView,
};

/// Response headers.
type Headers = Vec<(Cow<'static, str>, String)>;

/// A refusal ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its code; the gRPC status follows from it.
    pub code: Code,
    /// The HTTP status: the code's, unless the profile or the policy has its own. Never one of success.
    pub status: u16,
    /// Response headers, names lower case, each once.
    pub headers: Headers,
    /// Response body.
    pub body: String,
}

/// What an answer may depend on beside the decision.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// Whether the client speaks gRPC.
    pub is_grpc: bool,
    /// The proxy's id of the request.
    pub request_id: &'a str,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The client's `Accept`.
    pub accept: Option<Cow<'a, str>>,
    /// The client's `Origin`.
    pub origin: Option<Cow<'a, str>>,
}

/// What every profile can use.
struct Facts<'a> {
    deny: &'a Deny,
    status: u16,
    /// The policy's own text.
    message: Option<&'a str>,
    /// The scope that the route is about, such as `graph:read`: some clients are told what was not allowed.
    needed: Option<&'a str>,
    asked: &'a Asked<'a>,
}

/// Seconds after which asking again makes sense: a key set that failed is tried again within a few seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

// === impl Asked ===

impl<'a> Asked<'a> {
    /// What a request asks for.
    pub fn of<'r: 'a>(request: &RequestView<'r>, request_id: &'a str, now_ms: i64) -> Self {
        let headers = &request.headers;
        Self {
            is_grpc: headers.is_grpc(),
            request_id,
            now_ms,
            accept: headers.text("accept"),
            origin: headers.text("origin"),
        }
    }

    /// Nothing is known of the request.
    pub fn unread(request_id: &'a str, now_ms: i64) -> Self {
        Self { request_id, now_ms, ..Self::default() }
    }
}

// === impl Facts ===

impl Facts<'_> {
    const fn code(&self) -> Code {
        self.deny.code
    }

    /// The text of the profile `Standard`.
    const fn standard(&self) -> &'static str {
        standard::detail(self.deny.code)
    }

    /// FastAPI applications name the scopes.
    fn missing_scope(&self) -> String {
        format!("Missing required scope: {}", self.deny.missing.join(", "))
    }

    /// AgentFlow's words for the second factor.
    fn factor(&self) -> Option<&'static str> {
        Some(match self.deny.factor? {
            Factor::Missing => "Invalid token format. Expected: jwt:mfa_code",
            Factor::Wrong => "Invalid MFA code",
        })
    }

    /// AgentFlow's words for whoever may not do this to this one: a scope there is `resource:action`.
    fn not_authorized(&self) -> Option<String> {
        let (resource, action) = self.needed?.split_once(':')?;
        Some(format!("Not authorized to {action} {resource}"))
    }

    /// RFC 3339, in UTC. A clock beyond what can be written is no reason to answer nothing.
    fn timestamp(&self) -> String {
        jiff::Timestamp::from_millisecond(self.asked.now_ms).unwrap_or_default().to_string()
    }
}

/// Renders a refusal. `rules`: of the route or policy; before one is known, the default profile speaks.
pub fn refusal(deny: &Deny, rules: Option<&Rules>, asked: &Asked<'_>) -> Refusal {
    let mut refusal = render(deny, rules.map(|rules| &*rules.errors), rules.and_then(needed), asked);
    if let Some(cors) = rules.and_then(|rules| rules.cors.as_deref()) {
        cors::readable(&mut refusal.headers, cors, asked.origin.as_deref());
    }
    refusal
}

/// The one scope that a route asks for. Of several none says what the route is about.
fn needed(rules: &Rules) -> Option<&str> {
    let mut scopes = rules.require.iter().filter_map(|one| match one {
        Requirement::Scopes(scopes) => Some(scopes),
        _ => None,
    });
    match (scopes.next().map(Vec::as_slice), scopes.next()) {
        (Some([one]), None) => Some(one),
        _ => None,
    }
}

fn render(deny: &Deny, errors: Option<&Errors>, needed: Option<&str>, asked: &Asked<'_>) -> Refusal {
    let profile = errors.map_or(ErrorProfile::Standard, |errors| errors.profile);
    let own = own::response(deny, errors, asked);
    // The schema refuses other statuses; were one to get here, the code's own is a refusal for sure.
    let status = own
        .and_then(|own| own.status)
        .filter(|status| (300..=599).contains(status))
        .unwrap_or(status(profile, deny.code));
    let message = errors.and_then(|errors| errors.message.as_deref());
    let facts = Facts { deny, status, message, needed, asked };
    let mut body = match profile {
        ErrorProfile::Standard => standard::body(&facts),
        ErrorProfile::AIQ => aiq::body(&facts),
        ErrorProfile::AgentFlow | ErrorProfile::AgentFlow403 => agentflow::body(&facts),
        ErrorProfile::FastAPIDetail => fastapi::body(&facts),
        ErrorProfile::Qaynaq => qaynaq::body(&facts),
        ErrorProfile::CQ => cq::body(&facts),
    };
    let content_type = if profile == ErrorProfile::Standard { "application/problem+json" } else { "application/json" };
    let mut headers = common(deny, status, asked);
    if let Some(ErrorResponse { headers: added, body: text, location, .. }) = own {
        headers.extend(added.iter().map(|(name, value)| (name.to_string().into(), value.to_string())));
        headers.extend(location.iter().map(|location| ("location".into(), location.to_string())));
        match text {
            Some(text) => body = text.to_string(),
            None if location.is_some() => body.clear(),
            None => {}
        }
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".into(), content_type.to_owned()));
    }
    Refusal { code: deny.code, status, headers, body }
}

/// The status: the code's, except that one generation of AgentFlow knows no 401.
const fn status(profile: ErrorProfile, code: Code) -> u16 {
    match (profile, code.status()) {
        (ErrorProfile::AgentFlow403, 401) => 403,
        (_, status) => status,
    }
}

/// What every refusal of this status carries, whatever its body.
fn common(deny: &Deny, status: u16, asked: &Asked<'_>) -> Headers {
    let mut headers: Headers = vec![
        ("cache-control".into(), "no-store".to_owned()),
        // A cache that ignores no-store must at least not mix callers up.
        ("vary".into(), "Authorization, Cookie".to_owned()),
        ("x-content-type-options".into(), "nosniff".to_owned()),
    ];
    if let Some(challenge) = challenge(deny, status) {
        headers.push(("www-authenticate".into(), challenge));
    }
    if matches!(status, 429 | 503) {
        let seconds = deny.limited.map_or(RETRY_AFTER_SECONDS, |limited| limited.retry_after_seconds);
        headers.push(("retry-after".into(), seconds.to_string()));
    }
    if asked.is_grpc {
        // Envoy derives a gRPC status from the HTTP one and maps 400 and 404 otherwise than the contract.
        headers.push(("grpc-status".into(), deny.code.grpc().to_string()));
        headers.push(("grpc-message".into(), deny.code.as_str().to_owned()));
    }
    headers
}

/// The Bearer challenge (RFC 6750 section 3): one on every 401, whatever made it one, and for scopes on 403. No error code where no
/// credential was sent.
fn challenge(deny: &Deny, status: u16) -> Option<String> {
    match (status, deny.code) {
        (403, Code::InsufficientScope) => {
            // RFC 6749 section 3.3: scope tokens hold no quote and no backslash; the schema refuses such names.
            let scopes =
                deny.scopes.iter().filter(|one| one.bytes().all(is_scope_byte)).map(|one| &**one).collect::<Vec<_>>();
            Some(format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" ")))
        }
        // Nothing but the code: why exactly a token is bad is for `explain`, not for whoever sent it.
        (401, Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing) => {
            Some("Bearer error=\"invalid_token\"".to_owned())
        }
        (401, _) => Some("Bearer".to_owned()),
        _ => None,
    }
}

const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}
