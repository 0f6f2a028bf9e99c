//! Tokens that an authorization server gives us for the upstream, and what its answer says (RFC 6749 section 5.1, RFC 8693 section 2.2).

use std::time::Duration;

use crds::{
    secret::Secret,
    snapshot::{Grant, GrantKind},
};
use serde_json::{Map, Value};

use super::Reply;

/// A token that says nothing about its end is believed for this long.
const UNKNOWN_LIFE: Duration = Duration::from_mins(1);
/// No token is kept longer: whoever took its client's rights away would wait in vain.
const MAX_LIFE: Duration = Duration::from_hours(24);
/// A token must still be good when the upstream looks at it; at most a tenth of its life is given up for that.
const MARGIN: Duration = Duration::from_secs(5);
/// As for every credential of ours: servers commonly refuse longer header lines.
const MAX_TOKEN_BYTES: usize = 8192;

/// A token of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Issued {
    /// `Bearer` and the token.
    pub authorization: Secret,
    /// How long it may be used from now on.
    pub life: Duration,
    /// How long before the end of that a new one is asked for.
    pub renew_before: Duration,
}

/// Reads the answer to a grant. What is not a bearer token, or cannot be a header, is none.
pub fn read(grant: &Grant, answer: &Map<String, Value>) -> Reply {
    let Some(token) = answer.get("access_token").and_then(Value::as_str).filter(|token| is_token(token)) else {
        return Reply::SHAPE;
    };
    let bearer =
        answer.get("token_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Reply::Failed("the token that was given is no bearer token");
    }
    let life = match answer.get("expires_in") {
        None | Some(Value::Null) => UNKNOWN_LIFE,
        // Some servers write the number as text (and RFC 6749 has no type for it but in an example).
        Some(Value::String(text)) if text.parse::<u64>().is_ok() => Duration::from_secs(text.parse().unwrap_or(0)),
        Some(value) => match value.as_u64() {
            Some(seconds) => Duration::from_secs(seconds),
            None => return Reply::SHAPE,
        },
    };
    if life.is_zero() {
        return Reply::Failed("the token that was given has ended already");
    }
    let life = life.min(MAX_LIFE);
    let life = life.saturating_sub(MARGIN.min(life / 10));
    let renew_before = match grant.kind {
        GrantKind::ClientCredentials { renew_before } => renew_before.min(life / 2),
        // A caller's next request asks anew; nobody waits for one that may never come.
        GrantKind::TokenExchange => Duration::ZERO,
    };
    Reply::Issued(Issued { authorization: Secret::new(format!("Bearer {token}").into_bytes()), life, renew_before })
}

/// RFC 6750 section 2.1.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(kind: GrantKind) -> Grant {
        let url = url::Url::parse("https://as.test/token").unwrap();
        let endpoint =
            crds::snapshot::Endpoint { url, timeout: Duration::from_secs(1), tls: Default::default(), id: [0; 32] };
        let client = crds::snapshot::OAuthClient { id: "a".into(), authentication: None };
        Grant { endpoint, client, kind, form: Vec::new(), fingerprint: [0; 32] }
    }

    fn read_as(renew_before: u64, answer: Value) -> Reply {
        let kind = GrantKind::ClientCredentials { renew_before: Duration::from_secs(renew_before) };
        read(&grant(kind), answer.as_object().unwrap())
    }

    #[test]
    fn lives_are_bounded_and_renewed_in_time() {
        for (answer, life, renew_before) in [
            (json!({"access_token": "a", "token_type": "Bearer", "expires_in": 3600}), 3595, 300),
            (json!({"access_token": "a", "token_type": "bearer", "expires_in": "3600"}), 3595, 300),
            (json!({"access_token": "a", "token_type": "BEARER", "expires_in": 100}), 95, 47),
            (json!({"access_token": "a", "token_type": "Bearer"}), 55, 27),
            (json!({"access_token": "a", "token_type": "Bearer", "expires_in": 10_000_000}), 86_395, 300),
        ] {
            let Reply::Issued(issued) = read_as(300, answer.clone()) else { panic!("{answer}") };
            assert_eq!((issued.life.as_secs(), issued.renew_before.as_secs()), (life, renew_before), "{answer}");
            assert_eq!(issued.authorization.expose(), b"Bearer a");
            assert!(!format!("{issued:?}").contains("Bearer"));
        }
        let exchanged = read(
            &grant(GrantKind::TokenExchange),
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": 60}).as_object().unwrap(),
        );
        assert!(matches!(exchanged, Reply::Issued(Issued { renew_before: Duration::ZERO, .. })));
    }

    #[test]
    fn what_is_no_bearer_token_is_none() {
        for answer in [
            json!({}),
            json!({"access_token": "a"}),
            json!({"access_token": "a", "token_type": "DPoP"}),
            json!({"access_token": "a", "token_type": "N_A"}),
            json!({"access_token": "", "token_type": "Bearer"}),
            json!({"access_token": 1, "token_type": "Bearer"}),
            json!({"access_token": "a\r\nx-admin: 1", "token_type": "Bearer"}),
            json!({"access_token": "a b", "token_type": "Bearer"}),
            json!({"access_token": "a".repeat(8193), "token_type": "Bearer"}),
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": 0}),
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": -1}),
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": 1.5}),
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": "soon"}),
        ] {
            assert!(matches!(read_as(300, answer.clone()), Reply::Failed(_)), "{answer}");
        }
    }
}
