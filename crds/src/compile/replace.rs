//! Credentials of ours: keys and secrets that are fit, and claims that can be computed.

use std::time::Duration;

use super::{forward::forbidden, grant, policy::Site, problem, verdict::Reason};
use crate::{
    documents::ReferenceKind,
    expr::{Expr, Place},
    secret::Secret,
    signing::{BadSigningKey, SigningKey},
    snapshot::{JwtKey, Replacement, ReplacementValue, SignedJwt},
    v1alpha1,
};

/// How long a token of ours is good unless the policy says otherwise: long enough for clocks that differ, short enough to be of no use
/// to whoever finds one in a log.
const LIFETIME: Duration = Duration::from_mins(1);
/// Longest value of a header, as for every other one.
const MAX_VALUE_BYTES: usize = 4096;

/// The replacement of one effective forward.
pub(super) fn compile(at: &str, spec: &v1alpha1::ReplaceCredential, site: &mut Site<'_>) -> Option<Replacement> {
    let at = format!("{at}.replaceCredential");
    match (&spec.signed_jwt, &spec.client_credentials, &spec.token_exchange, &spec.fixed) {
        (Some(jwt), None, None, None) => signed(&format!("{at}.signedJWT"), jwt, site),
        (None, Some(own), None, None) => grant::client_credentials(&format!("{at}.clientCredentials"), own, site),
        (None, None, Some(own), None) => grant::token_exchange(&format!("{at}.tokenExchange"), own, site),
        (None, None, None, Some(fixed)) => self::fixed(&format!("{at}.static"), fixed, site),
        _ => {
            let message = "must have exactly one of `signedJWT`, `clientCredentials`, `tokenExchange` and `static`";
            site.problems.push(problem(at, message));
            None
        }
    }
}

fn signed(at: &str, spec: &v1alpha1::SignedJwt, site: &mut Site<'_>) -> Option<Replacement> {
    let lifetime = match spec.lifetime.as_ref().map(v1alpha1::TokenLifetime::parse) {
        None => LIFETIME,
        Some(Ok(lifetime)) => lifetime,
        Some(Err(error)) => {
            site.problems.push(problem(format!("{at}.lifetime"), error.to_string()));
            LIFETIME
        }
    };
    let mut claims = Vec::new();
    for (name, source) in &spec.claims {
        match Expr::parse(source, Place::Claim) {
            Ok(value) => claims.push((name.as_str().into(), value)),
            Err(error) => site.problems.push(problem(format!("{at}.claims.{name}"), error.to_string())),
        }
    }
    let key = match &spec.secret_key_ref {
        Some(reference) => {
            JwtKey::Given(signing_key(&format!("{at}.secretKeyRef"), spec.algorithm, reference, site).map(Box::new))
        }
        None if is_shared(spec.algorithm) => {
            site.problems
                .push(problem(at, "needs `secretKeyRef`: a shared secret of our own could be known to no upstream"));
            return None;
        }
        None => {
            site.own_keys.entry(spec.algorithm).or_insert_with(|| at.to_owned());
            JwtKey::Own(spec.algorithm)
        }
    };
    let audience = spec.audience.as_ref().map(|audience| (**audience).into());
    let value = ReplacementValue::SignedJwt(Box::new(SignedJwt { key, audience, lifetime, claims }));
    Some(Replacement { header: "authorization".into(), value })
}

const fn is_shared(algorithm: v1alpha1::SigningAlgorithm) -> bool {
    use v1alpha1::SigningAlgorithm::{HS256, HS384, HS512};
    matches!(algorithm, HS256 | HS384 | HS512)
}

fn signing_key(
    at: &str,
    algorithm: v1alpha1::SigningAlgorithm,
    reference: &v1alpha1::SecretKeyRef,
    site: &Site<'_>,
) -> Option<SigningKey> {
    let bytes = site.references.get(at, ReferenceKind::Secret, &reference.name, &reference.key, false)?;
    let refuse = |error: BadSigningKey| {
        let reason = match error {
            BadSigningKey::Weak { .. } => Reason::WeakSecret,
            BadSigningKey::Unfit(_) => Reason::BadContent,
        };
        site.references
            .problem(reason, format!("{at}: key `{}` of Secret {} {error}", &*reference.key, &*reference.name));
    };
    SigningKey::parse(algorithm, bytes.expose()).map_err(refuse).ok()
}

fn fixed(at: &str, spec: &v1alpha1::StaticCredential, site: &mut Site<'_>) -> Option<Replacement> {
    let header = spec.header.to_ascii_lowercase();
    if let Some(why) = forbidden(&header).filter(|_| header != "authorization") {
        site.problems.push(problem(
            format!("{at}.header"),
            format!("`{header}` {why}; choose authorization, or a name such as `x-api-key`"),
        ));
        return None;
    }
    let value = secret(&format!("{at}.secretKeyRef"), &spec.secret_key_ref, site);
    Some(Replacement { header: header.into(), value: ReplacementValue::Static(value) })
}

/// The bytes as they are: nothing is trimmed, for a secret that is not what its owner thinks must be seen here and not at the upstream.
pub(super) fn secret(at: &str, reference: &v1alpha1::SecretKeyRef, site: &Site<'_>) -> Option<Secret> {
    let value = site.references.get(at, ReferenceKind::Secret, &reference.name, &reference.key, false)?;
    let bytes = value.expose();
    let edges = [bytes.first(), bytes.last()].iter().all(|edge| edge.is_some_and(|byte| *byte != b' '));
    let fit = edges && bytes.len() <= MAX_VALUE_BYTES && bytes.iter().all(|byte| matches!(byte, 0x20..=0x7E));
    if !fit {
        let message = format!(
            "{at}: key `{}` of Secret {} is no header value; give 1 to {MAX_VALUE_BYTES} bytes of printable ASCII without line break or blanks around",
            &*reference.key, &*reference.name
        );
        site.references.problem(Reason::BadContent, message);
        return None;
    }
    Some(value.clone())
}
