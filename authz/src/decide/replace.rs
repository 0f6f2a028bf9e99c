//! The credential of ours that a proven caller's request carries in place of the caller's own.
//!
//! Must never be given to anybody but a caller that was proven, nor through a peer that might be anybody.

use std::sync::Arc;

use crds::{
    code::Code,
    secret::Secret,
    snapshot::{JwtKey, Replacement, ReplacementValue, SignedJwt, SourceKind, is_alias},
    v1alpha1::SigningAlgorithm,
};
use serde_json::{Map, Value};

use super::{Awaited, Deny, Deps, Facts, Need, Stop, changes::HeaderChanges, forward::inputs, granted, select::Place};
use crate::{
    expr::{self, Inputs},
    principal::CallerKind,
    request::RequestView,
    signers::Signer,
};

/// Most bytes of a token of ours: servers commonly refuse longer header lines.
const MAX_TOKEN_BYTES: usize = 8192;

/// Sets the credential, or makes sure that the client cannot set it itself.
pub(super) fn apply(
    changes: &mut HeaderChanges,
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<(), Stop> {
    // On public routes whatever a client sends is the client's own.
    let Some(replacement) = place.rules.forward.replacement.as_ref().filter(|_| place.reads_credentials()) else {
        return Ok(());
    };
    strip(changes, replacement, request, passed_on(place, caller, facts));
    let Some(proven) = facts.proven.clone() else { return Ok(()) };
    // Before anything is signed: an unproven peer gets no secret, and no work of ours either.
    if !request.proven_peer {
        facts.withheld = true;
        let why = "secrets are answered over loopback, a Unix socket or mTLS only";
        return Err(Deny::new(Code::Unavailable, why).into());
    }
    let value = match &replacement.value {
        ReplacementValue::SignedJwt(jwt) => {
            token(jwt, &inputs(request, place, caller, Some(&proven.principal)), deps, awaited)?
        }
        ReplacementValue::Granted(granted) => {
            if let Some(extra) = &granted.extra {
                changes.set_secret(&extra.name, text(extra.value.as_ref())?);
            }
            granted::token(&granted.grant, deps, request, awaited, place, facts)?
        }
        ReplacementValue::Static(secret) => text(secret.as_ref())?,
    };
    changes.set_secret(&replacement.header, value);
    Ok(())
}

/// Checked where the policy was compiled: printable ASCII.
fn text(secret: Option<&Secret>) -> Result<String, Deny> {
    let secret = secret.ok_or(MISSING)?;
    str::from_utf8(secret.expose()).map(str::to_owned).map_err(|_| MISSING)
}

const MISSING: Deny = Deny::new(Code::Unavailable, "the secret of the replaced credential is missing or unfit");

/// The header, in whatever spelling, is ours wherever a credential is read: nobody without identity brings along what only we may
/// set. The one exception is an unverified credential that is passed on: that is what the policy asks for, of this header and no other.
fn strip(changes: &mut HeaderChanges, replacement: &Replacement, request: &RequestView<'_>, passed_on: Option<&str>) {
    for header in replacement.headers() {
        if passed_on != Some(&**header) {
            changes.remove(header);
        }
        let alias = |name: &&str| **name != **header && passed_on != Some(*name) && is_alias(name, header);
        for name in request.headers.names().filter(alias) {
            changes.remove(&Arc::from(name));
        }
    }
}

/// The header that an unverified credential came in and is passed on in.
fn passed_on<'p>(place: &'p Place<'_>, caller: CallerKind, facts: &Facts) -> Option<&'p str> {
    let source = facts.credential.filter(|_| caller == CallerKind::UnverifiedJwt)?;
    match &place.rules.sources.get(source)?.kind {
        SourceKind::Header { name, .. } => Some(&**name),
        _ => None,
    }
}

/// A key of our own; the first one is made when it is needed.
fn own(algorithm: SigningAlgorithm, deps: &Deps<'_>, awaited: &Awaited) -> Result<Signer, Stop> {
    match deps.signers.current(algorithm, deps.now_ms) {
        Some(signer) => Ok(signer),
        None if awaited.signers.contains(&algorithm) => {
            Err(Deny::new(Code::Unavailable, "there is no signing key of our own in this process").into())
        }
        None => Err(Stop::Wait(Need::Signer(algorithm))),
    }
}

/// `Bearer` and a token made now.
fn token(jwt: &SignedJwt, inputs: &Inputs<'_, '_>, deps: &Deps<'_>, awaited: &Awaited) -> Result<String, Stop> {
    let now_ms = deps.now_ms;
    let own = match &jwt.key {
        JwtKey::Given(_) => None,
        JwtKey::Own(algorithm) => Some(own(*algorithm, deps, awaited)?),
    };
    let key = match (&jwt.key, &own) {
        (_, Some(own)) => &*own.key,
        (JwtKey::Given(Some(key)), None) => key,
        (JwtKey::Given(None) | JwtKey::Own(_), None) => return Err(MISSING.into()),
    };
    let mut claims = Map::new();
    if let Some(own) = &own {
        claims.insert("iss".to_owned(), Value::from(&*own.issuer));
    }
    for (name, expression) in &jwt.claims {
        let failed =
            |failure| Deny::failed(Code::ClaimUnusable, "an expression of the token for the upstream failed", failure);
        let value = expr::claim_value(expression, inputs).map_err(failed)?;
        if let Some(value) = value {
            claims.insert(name.to_string(), value);
        }
    }
    if let Some(audience) = &jwt.audience {
        claims.insert("aud".to_owned(), Value::from(&**audience));
    }
    let issued = now_ms.div_euclid(1000);
    let lifetime = i64::try_from(jwt.lifetime.as_secs()).unwrap_or(0);
    claims.insert("iat".to_owned(), issued.into());
    claims.insert("exp".to_owned(), issued.saturating_add(lifetime).into());
    let token =
        key.sign(&claims).ok_or(Deny::new(Code::Unavailable, "the token for the upstream could not be signed"))?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Deny::new(Code::ClaimUnusable, "the token for the upstream is too long for a header").into());
    }
    Ok(format!("Bearer {token}"))
}
