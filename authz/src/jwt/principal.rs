//! Verified claims to a principal (contract, sections 3 and 6).

use aws_lc_rs::digest::{Context, SHA256};
use crds::snapshot::{Authenticator, AuthenticatorKind, ClaimMapping};
use serde_json::{Map, Value};

use super::lookup::claim;
use crate::principal::{Principal, PrincipalKind};

/// Bytes of a stable id, two hex digits each.
const USER_BYTES: usize = 16;

/// Why good claims name nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalFailure {
    /// No subject, or no stable id.
    ClaimMissing,
    /// A subject or stable id that cannot be one; fixed words.
    Invalid(&'static str),
}

/// The caller that verified claims name. `issuer` is the verified one, if the credential has one.
pub fn principal(
    claims: Map<String, Value>,
    authenticator: &Authenticator,
    issuer: Option<&str>,
) -> Result<Principal, PrincipalFailure> {
    let mapping = &authenticator.claims;
    let subject = mapping.subject.iter().find_map(|name| claim(&claims, name));
    let subject = identifier(subject, "the subject is not text")?;
    let id = match &mapping.stable_id {
        Some(name) => identifier(claim(&claims, name), "the stable id is not text")?,
        None => subject,
    };
    Ok(Principal {
        kind: match &authenticator.kind {
            AuthenticatorKind::Jwt(_) => PrincipalKind::Jwt,
            AuthenticatorKind::ApiKey(_) => PrincipalKind::ApiKey,
            AuthenticatorKind::Introspection(_) => PrincipalKind::Introspection,
            AuthenticatorKind::UserInfo(_) => PrincipalKind::UserInfo,
            AuthenticatorKind::Webhook(_) => PrincipalKind::Webhook,
            AuthenticatorKind::ClientCertificate(_) => PrincipalKind::ClientCertificate,
            AuthenticatorKind::ServiceAccount(_) => PrincipalKind::ServiceAccount,
        },
        authenticator: authenticator.name.clone(),
        issuer: issuer.map(Into::into),
        user: user(issuer.unwrap_or(&authenticator.identity_issuer), id),
        email: first(&claims, &mapping.email, text),
        name: first(&claims, &mapping.name, text),
        roles: first(&claims, &mapping.roles, |value| list(value, |one| vec![one.into()])).unwrap_or_default(),
        scopes: first(&claims, &mapping.scopes, |value| list(value, |all| all.split(' ').map(Into::into).collect()))
            .unwrap_or_default(),
        mfa: false,
        subject: subject.into(),
        claims,
    })
}

/// The claim that [`PrincipalFailure::ClaimMissing`] is about: the first candidate for the subject, unless that is there.
pub fn missing(claims: &Map<String, Value>, mapping: &ClaimMapping) -> Box<str> {
    let no_subject = mapping.subject.iter().all(|name| claim(claims, name).is_none());
    let subject = mapping.subject.first();
    // Without a claim of its own the stable id is the subject.
    subject.filter(|_| no_subject).or(mapping.stable_id.as_ref()).or(subject).cloned().unwrap_or_default()
}

fn identifier<'a>(value: Option<&'a Value>, otherwise: &'static str) -> Result<&'a str, PrincipalFailure> {
    match value {
        None => Err(PrincipalFailure::ClaimMissing),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(PrincipalFailure::Invalid(otherwise)),
    }
}

/// The first candidate that is there and of the right type: a claim of a wrong type is as good as absent, so it can match no rule.
fn first<T>(claims: &Map<String, Value>, candidates: &[Box<str>], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    candidates.iter().filter_map(|name| claim(claims, name)).find_map(read)
}

fn text(value: &Value) -> Option<Box<str>> {
    value.as_str().filter(|text| !text.is_empty()).map(Into::into)
}

/// An array of texts, or one text that `split` takes apart. Empty names are nobody's.
fn list(value: &Value, split: impl Fn(&str) -> Vec<Box<str>>) -> Option<Vec<Box<str>>> {
    let mut all: Vec<Box<str>> = match value {
        Value::String(text) => split(text),
        Value::Array(elements) => {
            elements.iter().map(|element| element.as_str().map(Into::into)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    all.retain(|one| !one.is_empty());
    Some(all)
}

/// The first digits of SHA-256(issuer + "\n" + id).
fn user(issuer: &str, id: &str) -> Box<str> {
    let mut context = Context::new(&SHA256);
    context.update(issuer.as_bytes());
    context.update(b"\n");
    context.update(id.as_bytes());
    let digest = context.finish();
    crds::digest::hex(digest.as_ref().get(..USER_BYTES).unwrap_or_default()).into()
}
