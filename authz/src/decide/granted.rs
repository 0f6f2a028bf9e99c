//! Tokens for the upstream that an authorization server gives. Nobody is asked here: what is not there yet is a need.

use std::sync::Arc;

use crds::{
    code::Code,
    secret::Secret,
    snapshot::{Grant, GrantKind},
};

use super::{Awaited, Deny, Deps, Facts, Need, Stop, credential, second_factor, select::Place};
use crate::{
    principal::PrincipalKind,
    remote::{Ask, AskId, Reply, What},
    request::RequestView,
};

/// The value of the header.
pub(super) fn token(
    grant: &Arc<Grant>,
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    facts: &mut Facts,
) -> Result<String, Stop> {
    let subject = match grant.kind {
        GrantKind::ClientCredentials { .. } => None,
        GrantKind::TokenExchange => Some(subject(request, place, facts)?),
    };
    let id = AskId::of(&[&grant.fingerprint, subject.as_ref().map_or(&[], |token| token.expose())]);
    let ask = Ask { id, what: What::Grant(grant.clone(), subject), fresh: false };
    let kept = match (awaited.reply(&id), deps.remote.kept(&id)) {
        (Some(answer), _) => answer.clone(),
        (None, Some(kept)) if kept.until_ms > deps.now_ms => kept,
        (None, _) => return Err(Stop::Wait(Need::Remote(Arc::new(ask)))),
    };
    match &kept.reply {
        Reply::Issued(issued) => {
            let before = i64::try_from(issued.renew_before.as_millis()).unwrap_or(0);
            if before > 0 && kept.until_ms.saturating_sub(before) <= deps.now_ms {
                facts.renew = Some(Arc::new(ask));
            }
            let value = str::from_utf8(issued.authorization.expose()).map(str::to_owned);
            value.map_err(|_| Deny::new(Code::Unavailable, "the token for the upstream is no text").into())
        }
        Reply::Refused(why) => Err(Deny::new(Code::Forbidden, why).into()),
        Reply::Failed(why) => Err(Deny::new(Code::Unavailable, why).into()),
        _ => Err(Deny::new(Code::Unavailable, "the answer is to no question").into()),
    }
}

/// The caller's token, without the code that may follow it.
fn subject(request: &RequestView<'_>, place: &Place<'_>, facts: &Facts) -> Result<Secret, Deny> {
    const NO_TOKEN: Deny = Deny::new(Code::Forbidden, "the caller's credential is no token that could be exchanged");
    let principal = facts.proven.as_ref().map(|proven| &proven.principal).ok_or(NO_TOKEN)?;
    let is_token =
        matches!(principal.kind, PrincipalKind::Jwt | PrincipalKind::Introspection | PrincipalKind::UserInfo);
    let credential = credential::find(request, place)?.filter(|_| is_token).ok_or(NO_TOKEN)?;
    let token = match second_factor::split(&credential.value) {
        Some((token, _)) if principal.mfa => token,
        _ => &credential.value,
    };
    Ok(Secret::new(token.as_bytes()))
}
