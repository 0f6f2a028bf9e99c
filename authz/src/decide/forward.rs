//! Step 8: what changes on the way to the upstream. Identity is overwritten or removed on every allowed request, whoever calls.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::hmac;
use crds::{
    code::Code,
    snapshot::{
        CredentialForwarding, Forward, HeaderValueSource, HmacHeader, IdentityHeader, MappedHeader, Policy, SourceKind,
    },
};

use super::{
    Deny, Facts,
    authenticate::Proven,
    changes::HeaderChanges,
    credential, encode, query,
    select::Place,
    websocket::{self, Handshake},
};
use crate::{
    expr::{self, Inputs},
    jwt,
    principal::{CallerKind, Principal},
    request::RequestView,
};

/// All changes of an allowed request.
pub(super) fn changes(
    request: &RequestView<'_>,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &Facts,
) -> Result<HeaderChanges, Deny> {
    let owned = place.policy.owned.iter().count();
    let mut changes = HeaderChanges::with_room(owned, owned);
    let proven = facts.proven.as_deref();
    let forward = &place.rules.forward;
    identity(&mut changes, forward, place, caller, proven)?;
    let inputs = inputs(request, place, caller, proven.map(|proven| &proven.principal));
    for header in &forward.headers {
        if let Some(value) = mapped(header, &inputs)? {
            changes.set(&header.name, value);
        }
    }
    if let (Some(name), Some(proven)) = (&forward.claims_header, proven) {
        changes.set(name, encode::claims(&proven.principal.claims).map_err(|_| UNUSABLE)?);
    }
    strip_identity(&mut changes, request, &place.policy);
    if place.reads_credentials() {
        strip_credentials(&mut changes, request, place, caller, facts);
    }
    Ok(changes)
}

/// Nobody's identity, and nothing else is touched: what a policy on trial does.
pub(super) fn unidentified(request: &RequestView<'_>, policy: &Policy) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    strip_identity(&mut changes, request, policy);
    changes
}

/// What expressions can see.
pub(super) fn inputs<'a, 'h>(
    request: &'a RequestView<'h>,
    place: &'a Place<'_>,
    caller: CallerKind,
    principal: Option<&'a Principal>,
) -> Inputs<'a, 'h> {
    Inputs {
        caller,
        principal,
        request,
        path: place.path.as_str(),
        host: place.host.as_str(),
        traffic: place.traffic,
        route: place.rules.route.as_deref().unwrap_or_default(),
    }
}

const UNUSABLE: Deny = Deny::new(Code::ClaimUnusable, "a claim cannot be carried in a header");

fn identity(
    changes: &mut HeaderChanges,
    forward: &Forward,
    place: &Place<'_>,
    caller: CallerKind,
    proven: Option<&Proven>,
) -> Result<(), Deny> {
    match proven {
        Some(proven) => {
            for (header, value) in proven.headers.as_ref().ok_or(UNUSABLE)?.iter() {
                changes.set(name_of(forward, header)?, value);
            }
        }
        None => changes.set(name_of(forward, IdentityHeader::Type)?, caller.as_str()),
    }
    changes.set(name_of(forward, IdentityHeader::Traffic)?, place.traffic.as_str());
    Ok(())
}

/// Names stand in the order of [`IdentityHeader::ALL`], which is the order of the variants.
fn name_of(forward: &Forward, header: IdentityHeader) -> Result<&Arc<str>, Deny> {
    forward.names.get(header as usize).ok_or(Deny::new(Code::Unavailable, "an identity header has no name"))
}

/// A mapped header's value; `None` leaves it absent.
fn mapped(header: &MappedHeader, inputs: &Inputs<'_, '_>) -> Result<Option<String>, Deny> {
    let failed = |failure| Deny::failed(Code::ClaimUnusable, "a header expression failed", failure);
    match &header.value {
        HeaderValueSource::Claim(name) => {
            let value = inputs.principal.and_then(|principal| jwt::claim(&principal.claims, name));
            value.map_or(Ok(None), encode::claim).map_err(|_| UNUSABLE)
        }
        HeaderValueSource::Cel(expression) => match expr::header_value(expression, inputs).map_err(failed)? {
            Some(value) => encode::text(&value).map(Some).map_err(|_| UNUSABLE),
            None => Ok(None),
        },
        HeaderValueSource::HmacSha256(HmacHeader { key, cel }) => {
            let Some(value) = expr::header_value(cel, inputs).map_err(failed)? else { return Ok(None) };
            // Without the key the header would be absent, and an upstream could take that for a caller without identity.
            let key = key.as_ref().ok_or(Deny::new(Code::Unavailable, "the key of a header is missing"))?;
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), value.as_bytes());
            Ok(Some(crds::digest::hex(tag.as_ref())))
        }
    }
}

/// Every name of ours that is not set is removed, seen or not: Envoy may have been told to hide headers from the check. Aliases are
/// removed where they were seen.
fn strip_identity(changes: &mut HeaderChanges, request: &RequestView<'_>, policy: &Policy) {
    let owned = &policy.owned;
    owned.iter().for_each(|name| changes.remove(name));
    for name in request.headers.names().filter(|name| owned.covers(name)) {
        if !owned.iter().any(|own| **own == *name) {
            changes.remove(&Arc::from(name));
        }
    }
}

/// Every place of the policy that may hold a credential is emptied, except for the verified one where it is kept.
fn strip_credentials(
    changes: &mut HeaderChanges,
    request: &RequestView<'_>,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &Facts,
) {
    let kept = match (facts.proven.is_some(), caller) {
        (true, _) => place.rules.forward.credential == CredentialForwarding::Keep,
        (false, caller) => caller == CallerKind::UnverifiedJwt,
    };
    let kept =
        facts.credential.filter(|_| kept).and_then(|index| place.rules.sources.get(index)).map(|source| &source.kind);
    let mut cookies = BTreeSet::new();
    for source in &*place.policy.places {
        match source {
            SourceKind::Query { name, only_on } => {
                let stays = matches!(kept, Some(SourceKind::Query { name: kept, .. }) if kept == name);
                if !stays && credential::counts(request, *only_on) {
                    changes.remove_parameters(query::spellings(request, name).map(str::to_owned));
                }
            }
            SourceKind::WebSocketProtocol { name } => {
                let stays = matches!(kept, Some(SourceKind::WebSocketProtocol { name: kept }) if kept == name);
                strip_protocol(changes, request, name, stays);
            }
            SourceKind::ClientCertificate => {
                if kept != Some(&SourceKind::ClientCertificate) {
                    changes.remove(&Arc::from("x-forwarded-client-cert"));
                }
            }
            SourceKind::Header { name, .. } => {
                let stays = matches!(kept, Some(SourceKind::Header { name: kept, .. }) if kept == name);
                if !stays {
                    changes.remove(name);
                }
            }
            SourceKind::Cookie { name, .. } => {
                let stays = matches!(kept, Some(SourceKind::Cookie { name: kept, .. }) if kept == name);
                if !stays {
                    cookies.insert(&**name);
                }
            }
        }
    }
    strip_cookies(changes, request, &cookies);
}

/// Takes the credential out of the list and leaves the name: the upstream may select it.
fn strip_protocol(changes: &mut HeaderChanges, request: &RequestView<'_>, name: &str, stays: bool) {
    let Some(handshake) = Handshake::read(request).filter(|handshake| handshake.may_announce(name)) else { return };
    if !stays {
        changes.set(&websocket::HEADER.into(), handshake.without_credential());
    }
    if handshake.credential(name).is_some() {
        changes.select_protocol(name);
    }
}

/// Takes out every part that an upstream may read as one of these; what is left stays what it was: trimmed further, it could become a
/// cookie with a prefix that its sender was not allowed to set.
fn strip_cookies(changes: &mut HeaderChanges, request: &RequestView<'_>, names: &BTreeSet<&str>) {
    let Some(header) = request.headers.text("cookie").filter(|_| !names.is_empty()) else { return };
    let ours = |part: &str| credential::possible_names(part).any(|name| names.contains(name));
    if !header.split(';').any(ours) {
        return;
    }
    let rest: Vec<&str> = header
        .split(';')
        .map(credential::trimmed)
        .filter(|part| !part.is_empty() && !ours(part) && encode::can_be_written_back(part))
        .collect();
    let cookie: Arc<str> = "cookie".into();
    if rest.is_empty() { changes.remove(&cookie) } else { changes.set(&cookie, rest.join("; ")) }
}
