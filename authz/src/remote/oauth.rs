//! We as a client of an authorization server: a form is posted, with proof of who we are, and answered in JSON.
//!
//! For introspection (RFC 7662) and every grant (RFC 6749, RFC 8693): what is asked for is in the form, what the answer means is the
//! caller's. Secrets are in the request and nowhere else: neither in an error nor in anything that prints.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::{
    Engine, engine::general_purpose::STANDARD as BASE64, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL,
};
use crds::{
    secret::Secret,
    signing::SigningKey,
    snapshot::{ClientAuthentication, Endpoint, OAuthClient},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::transport::{CallError, Question, Transport};

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion is good: long enough for clocks that differ.
const ASSERTION_SECONDS: u64 = 60;
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Why an authorization server gave us nothing. Holds nothing it sent but the one word of the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// There was no answer to use.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refused, and said why.
    #[error("the authorization server refused with status {status}: {}", .error.as_str())]
    Refused {
        /// 400 or 401.
        status: u16,
        /// Its `error`.
        error: Refusal,
    },
}

/// `error` of a refusal (RFC 6749 section 5.2, RFC 8693 section 2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed.
    InvalidRequest,
    /// We are not who we say: the policy's client is wrong, never the caller.
    InvalidClient,
    /// The grant or the token that was handed in is not good.
    InvalidGrant,
    /// This client may not do this.
    UnauthorizedClient,
    /// The server does not know this grant.
    UnsupportedGrantType,
    /// The scope is unknown or too wide.
    InvalidScope,
    /// The audience or resource is not served.
    InvalidTarget,
    /// A word of no registry, or none.
    Other,
}

// === impl Refusal ===

impl Refusal {
    /// The word of the registry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::Other => "an error of no registry",
        }
    }

    fn of(body: &Map<String, Value>) -> Self {
        const ALL: [Refusal; 7] = [
            Refusal::InvalidRequest,
            Refusal::InvalidClient,
            Refusal::InvalidGrant,
            Refusal::UnauthorizedClient,
            Refusal::UnsupportedGrantType,
            Refusal::InvalidScope,
            Refusal::InvalidTarget,
        ];
        let word = body.get("error").and_then(Value::as_str).unwrap_or_default();
        ALL.into_iter().find(|one| one.as_str() == word).unwrap_or(Self::Other)
    }
}

/// Posts `form` to an endpoint as this client. The answer is the JSON object of a 200, not yet looked at.
///
/// # Errors
///
/// [`OAuthError::Refused`] for 400 and 401 in JSON; everything else, a missing secret included, is [`OAuthError::Call`].
pub async fn post_form(
    transport: &Transport,
    endpoint: &Endpoint,
    client: &OAuthClient,
    form: &[(&str, &str)],
) -> Result<Map<String, Value>, OAuthError> {
    let (headers, body) = request(endpoint, client, form).ok_or(CallError::Incomplete)?;
    let question = Question { method: Method::POST, headers, body: body.as_bytes() };
    let answer = transport.ask(endpoint, &question).await?;
    match answer.status {
        StatusCode::OK => Ok(answer.body?),
        status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) => {
            // A refusal without a word we can read is still one.
            let error = answer.body.map_or(Refusal::Other, |body| Refusal::of(&body));
            Err(OAuthError::Refused { status: status.as_u16(), error })
        }
        _ => Err(CallError::Status.into()),
    }
}

/// Headers and body; `None` without the means to prove who we are.
fn request(endpoint: &Endpoint, client: &OAuthClient, form: &[(&str, &str)]) -> Option<(HeaderMap, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, FORM);
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    match client.authentication.as_ref()? {
        ClientAuthentication::SecretBasic(secret) => {
            headers.insert(header::AUTHORIZATION, basic(&client.id, secret)?);
        }
        ClientAuthentication::SecretPost(secret) => {
            body.append_pair("client_id", &client.id).append_pair("client_secret", text(secret)?);
        }
        ClientAuthentication::PrivateKeyJwt { key, audience } => {
            let assertion = assertion(key, &client.id, audience.as_deref().unwrap_or(endpoint.url.as_str()))?;
            body.append_pair("client_id", &client.id)
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", &assertion);
        }
    }
    Some((headers, body.finish()))
}

/// RFC 6749 section 2.3.1: both parts are form-encoded first, so that a colon in the identifier ends nothing.
fn basic(id: &str, secret: &Secret) -> Option<HeaderValue> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(text(secret)?));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn text(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(secret.expose()).ok()
}

/// RFC 7523 section 3. Used once: a server may remember its `jti`.
fn assertion(key: &SigningKey, id: &str, audience: &str) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut unique = [0; 16];
    rand::fill(&mut unique).ok()?;
    let claims = json!({
        "iss": id, "sub": id, "aud": audience, "jti": BASE64URL.encode(unique),
        "iat": now, "exp": now + ASSERTION_SECONDS,
    });
    key.sign(claims.as_object()?)
}
