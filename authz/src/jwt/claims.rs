//! The registered claims (RFC 7519 section 4.1, RFC 9068 section 4) of a token whose signature is good.

use crds::snapshot::{AudienceRule, Jwt};
use serde_json::{Map, Value};

use super::{
    lookup::claim,
    token::Token,
    verify::{Failure, Verified},
};

/// `iat` ends nothing and starts nothing (RFC 7519 section 4.1.6), so a clock that is ahead a little is forgiven here even where no
/// leeway is configured. Past this it is a clock to be mended, or a token made up in advance.
const ISSUED_AHEAD_MS: i64 = 60_000;

/// The end of the year 9999: dates past it are milliseconds in place of seconds, and would make a token live for ever.
const MAX_SECONDS: f64 = 253_402_300_799.0;

/// Everything but the end of life first: only a token that is good in every other respect is called expired.
pub(super) fn verify(token: &Token<'_>, settings: &Jwt, now_ms: i64) -> Result<Verified, Failure> {
    let claims = token.claims();
    let times = Times::read(claims)?;
    issuer(claims, settings)?;
    audience(claims, &settings.audiences)?;
    subject(claims)?;
    token_type(token, settings)?;
    if claims.contains_key("cnf") {
        return Err(Failure::Invalid("it is bound to a key whose proof this build does not check"));
    }
    authorized_party(claims, settings)?;
    if settings.require_expiry && times.expires.is_none() {
        return Err(Failure::Invalid("`exp` is missing"));
    }
    let skew = i64::try_from(settings.clock_skew.as_millis()).unwrap_or(0);
    let latest = now_ms.saturating_add(skew);
    if times.not_before.is_some_and(|start| start > latest) {
        return Err(Failure::Invalid("it is not valid yet"));
    }
    if times.issued.is_some_and(|issued| issued > latest.saturating_add(ISSUED_AHEAD_MS)) {
        return Err(Failure::Invalid("it was issued in the future"));
    }
    // The first moment that is not before `exp` is after its life.
    if times.expires.is_some_and(|end| end.saturating_add(skew) <= now_ms) {
        return Err(Failure::Expired);
    }
    // After expiry: a new token is what an expired one needs first, whatever it lacks.
    if let Some(index) = settings.required_claims.iter().position(|name| claim(claims, name).is_none()) {
        return Err(Failure::ClaimMissing(index));
    }
    Ok(Verified { expires_at_ms: times.expires })
}

/// Code points are compared and nothing is normalised (RFC 7519 section 4.1.1, RFC 3986 section 6.2.1).
fn issuer(claims: &Map<String, Value>, settings: &Jwt) -> Result<(), Failure> {
    let issuer = match claims.get("iss") {
        None => None,
        Some(Value::String(issuer)) if !issuer.is_empty() => Some(issuer.as_str()),
        Some(_) => return Err(Failure::Invalid("`iss` is not text")),
    };
    match (settings.issuer.as_deref(), issuer) {
        (None, _) => Ok(()),
        (Some(own), Some(issuer)) if own == issuer => Ok(()),
        (Some(_), Some(_)) => Err(Failure::Invalid("`iss` is another issuer")),
        (Some(_), None) => Err(Failure::Invalid("`iss` is missing")),
    }
}

fn audience(claims: &Map<String, Value>, rule: &AudienceRule) -> Result<(), Failure> {
    let AudienceRule::AnyOf(accepted) = rule else { return Ok(()) };
    match (claims.contains_key("aud"), audience_is_of(claims, accepted)) {
        (false, _) => Err(Failure::Invalid("`aud` is missing")),
        (true, None) => Err(Failure::Invalid("`aud` is not text or a list of texts")),
        (true, Some(false)) => Err(Failure::Invalid("`aud` is another audience")),
        (true, Some(true)) => Ok(()),
    }
}

/// Whether `aud` holds one of these: text, or an array of texts, none of them empty. Absent it holds none; `None`: it is something else.
pub(crate) fn audience_is_of(claims: &Map<String, Value>, accepted: &[Box<str>]) -> Option<bool> {
    let audiences = match claims.get("aud") {
        None => return Some(false),
        Some(Value::Array(audiences)) => audiences.as_slice(),
        Some(audience) => std::slice::from_ref(audience),
    };
    let mut ours = false;
    for audience in audiences {
        let audience = audience.as_str().filter(|audience| !audience.is_empty())?;
        ours |= accepted.iter().any(|own| **own == *audience);
    }
    Some(ours)
}

/// Whatever the subject is mapped from, a `sub` that is there must be one.
fn subject(claims: &Map<String, Value>) -> Result<(), Failure> {
    match claim(claims, "sub") {
        None => Ok(()),
        Some(Value::String(subject)) if !subject.is_empty() => Ok(()),
        Some(_) => Err(Failure::Invalid("`sub` is not text")),
    }
}

/// RFC 8725 section 3.11. `application/` may be left out (RFC 7515 section 4.1.9), and media types have no case.
fn token_type(token: &Token<'_>, settings: &Jwt) -> Result<(), Failure> {
    let typ = token.header().typ.as_deref().unwrap_or_default().to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    // A `typ` that is only the prefix is not an absent one.
    let absent = token.header().typ.is_none();
    let good = match &settings.accepted_types {
        None => absent || matches!(typ, "jwt" | "at+jwt"),
        Some(accepted) => (absent || !typ.is_empty()) && accepted.iter().any(|own| **own == *typ),
    };
    if good { Ok(()) } else { Err(Failure::Invalid("its type is not accepted here")) }
}

fn authorized_party(claims: &Map<String, Value>, settings: &Jwt) -> Result<(), Failure> {
    let Some(accepted) = &settings.authorized_parties else { return Ok(()) };
    let party = claims.get("azp").or_else(|| claims.get("client_id"));
    match party.and_then(Value::as_str) {
        Some(party) if accepted.iter().any(|own| **own == *party) => Ok(()),
        _ => Err(Failure::Invalid("the client it was issued to is not accepted here")),
    }
}

/// The three dates, in milliseconds since the Unix epoch. Fractions are rounded against the holder.
struct Times {
    expires: Option<i64>,
    not_before: Option<i64>,
    issued: Option<i64>,
}

// === impl Times ===

impl Times {
    fn read(claims: &Map<String, Value>) -> Result<Self, Failure> {
        Ok(Self {
            expires: date(claims, "exp", f64::floor, "`exp` is not a date in seconds")?,
            not_before: date(claims, "nbf", f64::ceil, "`nbf` is not a date in seconds")?,
            issued: date(claims, "iat", f64::ceil, "`iat` is not a date in seconds")?,
        })
    }
}

/// `exp` or `nbf` in milliseconds since the Unix epoch, rounded against the holder; an error where it is there and is no date.
pub(crate) fn date_of(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Failure> {
    date(claims, name, if name == "exp" { f64::floor } else { f64::ceil }, "not a date in seconds")
}

/// A NumericDate (RFC 7519 section 2). One that is there and is none, null included, is never taken for absent.
fn date(
    claims: &Map<String, Value>,
    name: &str,
    round: fn(f64) -> f64,
    otherwise: &'static str,
) -> Result<Option<i64>, Failure> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
    let seconds = seconds.ok_or(Failure::Invalid(otherwise))?;
    // Within the bounds above, milliseconds are whole numbers that a double holds exactly.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2.6e14, and rounded")]
    let milliseconds = round(seconds * 1000.0) as i64;
    Ok(Some(milliseconds))
}
