//! Steps 0 to 3: is the request well-formed, which policy answers, inside or outside, which route.

use std::sync::Arc;

use crds::{
    code::Code,
    hosts::Host,
    paths::CanonicalPath,
    snapshot::{Access, Entry, Internal, Mode, Policy, Route, Rules, Snapshot, Unmatched, Upgrade},
};

use super::{Deny, Facts, Stop};
use crate::{errors::cors, principal::Traffic, request::RequestView};

/// Where a request arrived.
pub(super) struct Place<'a> {
    pub(super) policy: Arc<Policy>,
    pub(super) rules: Arc<Rules>,
    pub(super) traffic: Traffic,
    pub(super) host: Host<'a>,
    pub(super) path: CanonicalPath<'a>,
}

/// Why a policy was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The proxy named it.
    Named,
    /// By host: its own, or because it answers for the rest.
    Host,
}

/// Steps 0 to 3.
pub(super) fn select<'a>(snapshot: &Snapshot, request: &RequestView<'a>, facts: &mut Facts) -> Result<Place<'a>, Stop> {
    let host = well_formed(request)?;
    let policy = policy(snapshot, request, &host, facts)?;
    facts.trial = (policy.mode == Mode::Audit).then(|| policy.clone());
    let internal = internal_block(&policy, request, &host);
    let traffic = if internal.is_some() { Traffic::Internal } else { Traffic::External };
    facts.traffic = Some(traffic);
    // As long as no route is known, the policy's own rules say how a refusal looks.
    let found = found(&policy, internal, request).inspect_err(|_| facts.rules = Some(policy.rules.clone()));
    let (path, rules) = found?;
    facts.rules = Some(rules.clone());
    Ok(Place { policy, rules, traffic, host, path })
}

/// The path and the rules that hold there, or the answer to a browser's question before routes: one that asks whether it may send a POST
/// does not send one.
fn found<'a>(
    policy: &Policy,
    internal: Option<&Internal>,
    request: &RequestView<'a>,
) -> Result<(CanonicalPath<'a>, Arc<Rules>), Stop> {
    let path = CanonicalPath::parse(request.path)
        .map_err(|_| Deny::new(Code::MalformedRequest, "the path can be read in more than one way"))?;
    if cors::asks(request)
        && let Some(answer) = policy.rules.cors.as_ref().and_then(|cors| cors::preflight(cors, request))
    {
        return Err(Stop::Answer(answer));
    }
    let rules = route(policy, internal, request, &path)?;
    // A server that decodes once more reads another path, which may be one that needs a credential: nobody asked for one here.
    if rules.access == Access::Public && path.holds_escape() {
        return Err(Deny::new(Code::MalformedRequest, "a public path can be decoded twice").into());
    }
    Ok((path, rules))
}

/// Step 0. Tunnels and loop-backs of the request are no traffic that a policy can speak about.
fn well_formed<'a>(request: &RequestView<'a>) -> Result<Host<'a>, Deny> {
    if request.method.is_empty() {
        return Err(Deny::new(Code::Forbidden, "the check holds no HTTP request"));
    }
    if ["CONNECT", "TRACE"].iter().any(|method| request.method.eq_ignore_ascii_case(method)) {
        return Err(Deny::new(Code::Forbidden, "CONNECT and TRACE are refused"));
    }
    Host::parse(request.host)
        .map_err(|_| Deny::new(Code::MalformedRequest, "the host is missing or can be read in more than one way"))
}

/// Step 1.
fn policy(
    snapshot: &Snapshot,
    request: &RequestView<'_>,
    host: &Host<'_>,
    facts: &mut Facts,
) -> Result<Arc<Policy>, Deny> {
    let (entry, choice) = match request.policy {
        // An unknown name is a refusal, never a reason to fall back to the host rule: the proxy was told something else.
        Some(name) => (snapshot.by_name(name), Choice::Named),
        None => (snapshot.for_host(host.as_str()), Choice::Host),
    };
    let entry = entry.ok_or(Deny::new(Code::NoPolicy, "no policy answers for this host"))?;
    facts.policy = Some((entry.name().clone(), choice));
    match entry {
        Entry::InForce(one) => Ok(one.policy.clone()),
        Entry::Held(_) => Err(Deny::new(Code::Unavailable, "the policy of this host was never accepted")),
    }
}

/// Step 2. Everything that is not proven to be internal is external.
fn internal_block<'p>(policy: &'p Policy, request: &RequestView<'_>, host: &Host<'_>) -> Option<&'p Internal> {
    let internal = policy.internal.as_ref()?;
    if request.forced_external || policy.external.iter().any(|pattern| pattern.matches(host.as_str())) {
        return None;
    }
    let by_name = match &internal.hostnames {
        Some(patterns) => patterns.iter().any(|pattern| pattern.matches(host.as_str())),
        None => host.is_internal_by_default(),
    };
    let by_source = match &internal.source_cidrs {
        Some(cidrs) => {
            request.source.is_some_and(|source| cidrs.iter().any(|cidr| cidr.contains(&source.to_canonical())))
        }
        None => true,
    };
    (by_name && by_source).then_some(internal)
}

/// Step 3.
fn route(
    policy: &Policy,
    internal: Option<&Internal>,
    request: &RequestView<'_>,
    path: &CanonicalPath<'_>,
) -> Result<Arc<Rules>, Deny> {
    if let Some(internal) = internal
        && !internal.use_routes
    {
        return Ok(internal.rules.clone());
    }
    let websocket = request.headers.is_websocket_upgrade();
    let accepts = |route: &Route| {
        let method = route.methods.is_empty() || route.methods.iter().any(|method| **method == *request.method);
        let upgrade = match route.upgrade {
            None => true,
            Some(Upgrade::WebSocket) => websocket,
        };
        method && upgrade
    };
    if let Some(found) = policy.routes.find(path, accepts) {
        let inside = internal.and(found.internal_rules.as_ref());
        return Ok(inside.unwrap_or(&found.rules).clone());
    }
    match policy.unmatched {
        Unmatched::Authenticate => Ok(internal.map_or(&policy.rules, |internal| &internal.rules).clone()),
        Unmatched::NotFound => Err(Deny::new(Code::NotFound, "no route matches")),
        Unmatched::Forbid => Err(Deny::new(Code::Forbidden, "no route matches")),
    }
}

impl Place<'_> {
    /// Whether credentials are looked at here at all.
    pub(super) fn reads_credentials(&self) -> bool {
        self.rules.access != Access::Public
    }
}
