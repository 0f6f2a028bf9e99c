//! What the policy's own services say: whether a caller is still active and what he may do, and whose a resource is.

use std::sync::Arc;

use crds::{
    code::Code,
    snapshot::{Authorization, Owned},
};

use super::{Awaited, Deny, Deps, Stop, by_service::answer, select::Place};
use crate::{
    principal::Principal,
    remote::{Ask, AskId, Kept, Ownership, Reply, What, webhook},
    request::RequestView,
};

/// The answer about a caller; `None` where nobody is asked.
pub(super) fn of_caller(
    deps: &Deps<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    principal: &Principal,
) -> Result<Option<Arc<Kept>>, Stop> {
    let authorization: Option<&Authorization> = place.policy.authorization.as_deref();
    let Some(service) = authorization.and_then(|own| own.webhook.as_ref()) else { return Ok(None) };
    let body = webhook::caller_question(&place.policy.name, principal);
    let id = AskId::of(&[&service.endpoint.id, body.expose()]);
    let ask = Ask { id, what: What::Caller(service.clone(), body), fresh: false };
    let kept = answer(deps, awaited, ask).map_err(Stop::Wait)?;
    match &kept.reply {
        Reply::Standing(_) => Ok(Some(kept)),
        Reply::Failed(why) => Err(Deny::new(Code::Unavailable, why).into()),
        _ => Err(Deny::new(Code::Unavailable, "the answer is to no question").into()),
    }
}

/// Whether the caller may touch what the path names. A path that names nothing is nobody's, and so is what the service does not know:
/// whoever creates it becomes its owner.
pub(super) fn owns(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    owned: &Arc<Owned>,
    principal: Option<&Principal>,
) -> Result<bool, Stop> {
    let Some(resource) = resource(place, owned) else { return Ok(true) };
    // Some servers read `t1;x` as `t1`: the service would be asked about another resource than the one that is served.
    if resource.contains(';') {
        let detail = "what the path names ends at `;` for some servers";
        return Err(Deny::new(Code::MalformedRequest, detail).into());
    }
    let Some(principal) = principal else { return Ok(false) };
    let route = place.rules.route.as_deref().unwrap_or_default();
    let body = webhook::owner_question(&place.policy.name, route, resource, principal);
    let id = AskId::of(&[&owned.owner.webhook.endpoint.id, body.expose()]);
    // Who deletes is asked about now, and what is kept about the resource ends: its name may be somebody else's afterwards.
    let fresh = request.method == "DELETE";
    let kept = answer(deps, awaited, Ask { id, what: What::Owner(owned.clone(), body), fresh }).map_err(Stop::Wait)?;
    match &kept.reply {
        Reply::Owner(Ownership::Caller | Ownership::Unknown) => Ok(true),
        Reply::Owner(Ownership::Other) => Ok(false),
        Reply::Failed(why) => Err(Deny::new(Code::Unavailable, why).into()),
        _ => Err(Deny::new(Code::Unavailable, "the answer is to no question").into()),
    }
}

/// The segment of the path that holds it.
fn resource<'p>(place: &'p Place<'_>, owned: &Owned) -> Option<&'p str> {
    let (_, position) = owned.places.iter().find(|(template, _)| template.matches(&place.path))?;
    place.path.segments().nth(*position)
}

/// The refusal of a caller who does not own the resource.
pub(super) fn stranger(owned: &Owned) -> Deny {
    let code = if owned.owner.hide { Code::NotFound } else { Code::Forbidden };
    Deny::new(code, "the caller does not own what the path names")
}
