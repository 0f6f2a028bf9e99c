//! Locks refusals byte by byte where a client parses them.

use super::*;
use crate::decide::RateLimited;

fn deny(code: Code) -> Deny {
    let limited =
        (code.status() == 429).then_some(RateLimited { limit: 100, window_seconds: 60, retry_after_seconds: 12 });
    Deny { scopes: vec!["doc:read".into(), "a\"b".into()], limited, ..Deny::new(code, "") }
}

fn errors(profile: ErrorProfile, message: Option<&str>) -> Errors {
    Errors { profile, message: message.map(Into::into) }
}

#[test]
fn standard_is_problem_details() {
    let refusal = render(&deny(Code::MissingCredential), None, false, "r-1");
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
        assert_eq!(render(&deny(code), Some(&errors(ErrorProfile::AIQ, None)), false, "").body, body);
    }
    let said = render(&deny(Code::InvalidToken), Some(&errors(ErrorProfile::AIQ, Some("Say \"please\""))), false, "");
    assert_eq!(said.body, r#"{"detail":"Say \"please\"","error":"token_invalid"}"#);
}

#[test]
fn every_refusal_has_its_headers() {
    for code in Code::ALL {
        for profile in [ErrorProfile::Standard, ErrorProfile::AIQ] {
            let refusal = render(&deny(code), Some(&errors(profile, None)), true, "");
            let header = |name| refusal.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
            assert_eq!(header("cache-control"), Some("no-store"));
            assert_eq!(header("grpc-status"), Some(code.grpc().to_string().as_str()));
            assert_eq!(header("retry-after").is_some(), matches!(code.status(), 429 | 503));
            assert_eq!(
                header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")),
                code.status() == 401 || code == Code::InsufficientScope
            );
            assert!(code.status() >= 400 && code.grpc() != 0);
        }
    }
}

#[test]
fn challenges() {
    assert_eq!(challenge(&deny(Code::MissingCredential)).as_deref(), Some("Bearer"));
    assert!(challenge(&deny(Code::ExpiredToken)).unwrap().contains("error=\"invalid_token\""));
    assert_eq!(
        challenge(&deny(Code::InsufficientScope)).as_deref(),
        Some("Bearer error=\"insufficient_scope\", scope=\"doc:read\"")
    );
    assert_eq!(challenge(&deny(Code::Unavailable)), None);
}
