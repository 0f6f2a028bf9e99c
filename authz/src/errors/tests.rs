//! Locks refusals byte by byte where a client parses them.

use std::collections::BTreeMap;

use crds::snapshot::Cors;

use super::*;
use crate::decide::{Factor, RateLimited};

const PROFILES: [ErrorProfile; 7] = [
    ErrorProfile::Standard,
    ErrorProfile::AIQ,
    ErrorProfile::AgentFlow,
    ErrorProfile::AgentFlow403,
    ErrorProfile::FastAPIDetail,
    ErrorProfile::Qaynaq,
    ErrorProfile::CQ,
];

const GRPC: Asked<'_> = Asked { is_grpc: true, request_id: "r-1", now_ms: 0, accept: None, origin: None };
const ASKED: Asked<'_> =
    Asked { is_grpc: false, request_id: "r-1", now_ms: 1_800_000_000_123, accept: None, origin: None };

fn deny(code: Code) -> Deny {
    let limited =
        (code.status() == 429).then_some(RateLimited { limit: 100, window_seconds: 60, retry_after_seconds: 12 });
    Deny { scopes: vec!["doc:read".into(), "a\"b".into()], limited, ..Deny::new(code, "") }
}

fn errors(profile: ErrorProfile, message: Option<&str>) -> Errors {
    Errors { profile, message: message.map(Into::into), responses: BTreeMap::new() }
}

/// As on a route that asks for no scope.
fn render(deny: &Deny, errors: Option<&Errors>, asked: &Asked<'_>) -> Refusal {
    super::render(deny, errors, None, asked)
}

fn rendered(profile: ErrorProfile, deny: &Deny) -> Refusal {
    render(deny, Some(&errors(profile, None)), &ASKED)
}

fn header<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
    refusal.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

#[test]
fn standard_is_problem_details() {
    let refusal = render(&deny(Code::MissingCredential), None, &ASKED);
    let json: serde_json::Value = serde_json::from_str(&refusal.body).unwrap();
    assert_eq!(json["status"], 401);
    assert_eq!(json["code"], "missing_credential");
    assert_eq!(json["request_id"], "r-1");
    assert!(
        refusal.body.starts_with(r#"{"type":"https://gatewright.dev/errors/missing_credential","title":"#),
        "{}",
        refusal.body
    );
}

#[test]
fn aiq_bodies() {
    for (code, body) in [
        (Code::MissingCredential, r#"{"detail":"Missing auth token","error":"token_missing"}"#),
        (Code::ExpiredToken, r#"{"detail":"Token has expired","error":"token_expired"}"#),
        (Code::InvalidToken, r#"{"detail":"Invalid auth token","error":"token_invalid"}"#),
        (Code::ClaimMissing, r#"{"detail":"Authentication failed","error":"claim_missing"}"#),
        (Code::NotFound, r#"{"detail":"Not found"}"#),
        (Code::Unavailable, r#"{"detail":"Authentication failed","error":"auth_unavailable"}"#),
    ] {
        assert_eq!(rendered(ErrorProfile::AIQ, &deny(code)).body, body);
    }
    let said = render(&deny(Code::InvalidToken), Some(&errors(ErrorProfile::AIQ, Some("Say \"please\""))), &ASKED);
    assert_eq!(said.body, r#"{"detail":"Say \"please\"","error":"token_invalid"}"#);
}

/// The envelope with this code and message.
fn envelope(code: &str, message: &str) -> String {
    format!(
        r#"{{"error":{{"code":"{code}","message":"{message}","details":[]}},"metadata":{{"request_id":"r-1","timestamp":"2027-01-15T08:00:00.123Z","message":"{message}"}}}}"#
    )
}

#[test]
fn agentflow_envelopes() {
    let claim = Deny { claim: Some("user_id".into()), ..Deny::new(Code::ClaimMissing, "") };
    let scope = Deny { missing: vec!["graph:invoke".into()], ..Deny::new(Code::InsufficientScope, "") };
    let factor = |factor| Deny { factor: Some(factor), ..Deny::new(Code::InvalidToken, "") };
    for (deny, status, code, message) in [
        (factor(Factor::Missing), 401, "HTTPException", "Invalid token format. Expected: jwt:mfa_code"),
        (factor(Factor::Wrong), 401, "HTTPException", "Invalid MFA code"),
        (deny(Code::MissingCredential), 401, "REVOKED_TOKEN", "Invalid token, please login again"),
        (deny(Code::ExpiredToken), 401, "EXPIRED_TOKEN", "Token has expired, please login again"),
        (deny(Code::InvalidToken), 401, "INVALID_TOKEN", "Invalid token, please login again"),
        (claim, 401, "INVALID_TOKEN", "Invalid token, user_id missing"),
        (scope, 403, "HTTPException", "Missing required scope: graph:invoke"),
        (deny(Code::Forbidden), 403, "HTTPException", "Not authorized to access this resource"),
        (deny(Code::TooManyFailures), 429, "HTTPException", "Too many attempts"),
        (deny(Code::Unavailable), 503, "JWT_SETTINGS_NOT_CONFIGURED", "JWT settings are not configured"),
    ] {
        let refusal = rendered(ErrorProfile::AgentFlow, &deny);
        assert_eq!((refusal.status, refusal.body), (status, envelope(code, message)));
        // The older generation: the same to the byte, with 403 for 401 and so without a challenge.
        let older = rendered(ErrorProfile::AgentFlow403, &deny);
        assert_eq!(
            (older.status, older.body.as_str()),
            (if status == 401 { 403 } else { status }, envelope(code, message).as_str())
        );
        assert_eq!(header(&older, "www-authenticate").is_some(), deny.code == Code::InsufficientScope);
    }
    let said = render(&deny(Code::InvalidToken), Some(&errors(ErrorProfile::AgentFlow, Some("No."))), &ASKED);
    assert_eq!(said.body, envelope("INVALID_TOKEN", "No."));
}

#[test]
fn agentflow_names_what_is_not_allowed() {
    let own = errors(ErrorProfile::AgentFlow, None);
    for (needed, message) in [
        ("graph:read", "Not authorized to read graph"),
        // No scope of AgentFlow's form.
        ("admin", "Not authorized to access this resource"),
    ] {
        let refusal = super::render(&deny(Code::Forbidden), Some(&own), Some(needed), &ASKED);
        assert_eq!(refusal.body, envelope("HTTPException", message));
    }
}

#[test]
fn agentflow_limits() {
    let limited = RateLimited { limit: 100, window_seconds: 60, retry_after_seconds: 12 };
    let refusal = rendered(ErrorProfile::AgentFlow, &Deny { limited: Some(limited), ..deny(Code::RateLimited) });
    let body = r#"{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Too many requests. Limit: 100 per 60s. Retry after 12s.","limit":100,"window_seconds":60,"retry_after_seconds":12},"metadata":{"request_id":"r-1","status":"error"}}"#;
    assert_eq!((refusal.status, refusal.body.as_str()), (429, body));
    assert_eq!(header(&refusal, "retry-after"), Some("12"));
    let unknown = rendered(ErrorProfile::AgentFlow, &Deny { limited: None, ..deny(Code::RateLimited) });
    assert_eq!(
        unknown.body,
        r#"{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Too many requests."},"metadata":{"request_id":"r-1","status":"error"}}"#
    );
}

#[test]
fn details_and_errors() {
    let key = errors(ErrorProfile::CQ, Some("Invalid API key"));
    for code in [Code::MissingCredential, Code::InvalidToken, Code::ExpiredToken, Code::ClaimMissing] {
        assert_eq!(render(&deny(code), Some(&key), &ASKED).body, r#"{"detail":"Invalid API key"}"#);
    }
    for (profile, code, body) in [
        (ErrorProfile::FastAPIDetail, Code::MissingCredential, r#"{"detail":"Not authenticated"}"#),
        (ErrorProfile::FastAPIDetail, Code::InvalidToken, r#"{"detail":"Could not validate credentials"}"#),
        (ErrorProfile::FastAPIDetail, Code::ExpiredToken, r#"{"detail":"Token has expired"}"#),
        (ErrorProfile::FastAPIDetail, Code::Forbidden, r#"{"detail":"Forbidden"}"#),
        (ErrorProfile::CQ, Code::MissingCredential, r#"{"detail":"Missing or invalid authorization header"}"#),
        (ErrorProfile::CQ, Code::InvalidToken, r#"{"detail":"Invalid or expired token"}"#),
        (ErrorProfile::CQ, Code::ExpiredToken, r#"{"detail":"Invalid or expired token"}"#),
        (ErrorProfile::CQ, Code::ClaimMissing, r#"{"detail":"Invalid or expired token"}"#),
        (ErrorProfile::CQ, Code::NotFound, r#"{"detail":"Not Found"}"#),
        (ErrorProfile::CQ, Code::Forbidden, r#"{"detail":"Forbidden"}"#),
        (ErrorProfile::Qaynaq, Code::MissingCredential, r#"{"error":"Unauthorized"}"#),
        (ErrorProfile::Qaynaq, Code::ExpiredToken, r#"{"error":"Unauthorized"}"#),
        (ErrorProfile::Qaynaq, Code::Forbidden, r#"{"error":"forbidden: role required"}"#),
        (ErrorProfile::Qaynaq, Code::InsufficientScope, r#"{"error":"forbidden: role required"}"#),
        (ErrorProfile::Qaynaq, Code::NotFound, r#"{"error":"not found"}"#),
    ] {
        let refusal = rendered(profile, &deny(code));
        assert_eq!(
            (refusal.body.as_str(), header(&refusal, "content-type")),
            (body, Some("application/json")),
            "{profile:?} {code:?}"
        );
    }
}

#[test]
fn every_refusal_has_its_headers() {
    for code in Code::ALL {
        for profile in PROFILES {
            let refusal = render(&deny(code), Some(&errors(profile, Some("own words"))), &GRPC);
            assert!(refusal.body.contains("own words"), "{profile:?} {code:?}");
            let header = |name| header(&refusal, name);
            assert_eq!(header("cache-control"), Some("no-store"));
            assert_eq!(header("grpc-status"), Some(code.grpc().to_string().as_str()));
            assert_eq!(header("retry-after").is_some(), matches!(refusal.status, 429 | 503));
            let challenged = refusal.status == 401 || code == Code::InsufficientScope;
            assert_eq!(header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), challenged);
            assert!(refusal.status >= 400 && code.grpc() != 0);
            let names: std::collections::BTreeSet<_> = refusal.headers.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), refusal.headers.len(), "each header once");
        }
    }
}

#[test]
fn challenges() {
    let of = |code: Code| challenge(&deny(code), code.status());
    assert_eq!(of(Code::MissingCredential).as_deref(), Some("Bearer"));
    assert!(of(Code::ExpiredToken).unwrap().contains("error=\"invalid_token\""));
    assert_eq!(of(Code::InsufficientScope).as_deref(), Some("Bearer error=\"insufficient_scope\", scope=\"doc:read\""));
    assert_eq!(of(Code::Unavailable), None);
}

fn own(code: Code, response: ErrorResponse) -> Errors {
    Errors { responses: BTreeMap::from([(code, response)]), ..errors(ErrorProfile::Qaynaq, None) }
}

const NOTHING: ErrorResponse =
    ErrorResponse { status: None, headers: Vec::new(), body: None, location: None, unless_accept: None };

#[test]
fn a_refusal_becomes_what_the_policy_says() {
    let moved = ErrorResponse {
        status: Some(307),
        location: Some("/no-access".into()),
        unless_accept: Some("application/json".into()),
        ..NOTHING
    };
    let errors = own(Code::Forbidden, moved);
    let render = |code, asked: &Asked<'_>| render(&deny(code), Some(&errors), asked);
    let page = render(Code::Forbidden, &ASKED);
    assert_eq!((page.status, page.body.as_str(), header(&page, "location")), (307, "", Some("/no-access")));
    assert_eq!((header(&page, "cache-control"), header(&page, "content-type")), (Some("no-store"), None));
    let normal = r#"{"error":"forbidden: role required"}"#;
    let json = render(Code::Forbidden, &Asked { accept: Some("application/json".into()), ..ASKED });
    assert_eq!((json.status, json.body.as_str(), header(&json, "location")), (403, normal, None));
    assert_eq!(render(Code::Forbidden, &GRPC).status, 403, "a gRPC client is not sent to a page");
    assert_eq!(render(Code::InvalidToken, &ASKED).status, 401, "other codes stay");
}

#[test]
fn a_changed_status_keeps_its_headers() {
    let status = |status| ErrorResponse { status: Some(status), ..NOTHING };
    let limited = render(&deny(Code::Forbidden), Some(&own(Code::Forbidden, status(429))), &ASKED);
    assert!(header(&limited, "retry-after").is_some());
    let asked = render(&deny(Code::Forbidden), Some(&own(Code::Forbidden, status(401))), &ASKED);
    assert_eq!(
        header(&asked, "www-authenticate"),
        Some("Bearer"),
        "whatever made it one, a 401 says how to authenticate"
    );
    let hidden = render(&deny(Code::MissingCredential), Some(&own(Code::MissingCredential, status(404))), &ASKED);
    assert_eq!(header(&hidden, "www-authenticate"), None);
    let said = ErrorResponse {
        headers: vec![("x-a".into(), "b".into()), ("content-type".into(), "text/html".into())],
        body: Some("<p>".into()),
        ..NOTHING
    };
    let said = render(&deny(Code::NotFound), Some(&own(Code::NotFound, said)), &ASKED);
    assert_eq!(
        (said.status, said.body.as_str(), header(&said, "x-a"), header(&said, "content-type")),
        (404, "<p>", Some("b"), Some("text/html"))
    );
}

#[test]
fn pages_of_allowed_origins_read_refusals() {
    let listed = Cors {
        origins: Some(vec![crds::origin::Origin::parse("https://ui.test").unwrap()]),
        methods: "GET".into(),
        headers: "".into(),
        exposed: "WWW-Authenticate".into(),
        credentials: true,
        max_age: None,
    };
    let any = Cors { origins: None, credentials: false, ..listed.clone() };
    for (cors, origin, allowed) in [
        (&listed, Some("https://ui.test"), Some("https://ui.test")),
        (&listed, Some("https://ui.test.evil.test"), None),
        (&listed, Some("http://ui.test"), None),
        (&listed, Some("null"), None),
        (&listed, None, None),
        (&any, Some("null"), Some("*")),
        (&any, None, None),
    ] {
        let mut refusal = render(&deny(Code::MissingCredential), None, &ASKED);
        cors::readable(&mut refusal.headers, cors, origin);
        assert_eq!(header(&refusal, "access-control-allow-origin"), allowed, "{origin:?}");
        assert_eq!(header(&refusal, "access-control-expose-headers").is_some(), allowed.is_some());
        assert_eq!(
            header(&refusal, "access-control-allow-credentials").is_some(),
            allowed.is_some() && cors.credentials
        );
        assert_eq!(header(&refusal, "vary"), Some("Authorization, Cookie, Origin"));
    }
}
