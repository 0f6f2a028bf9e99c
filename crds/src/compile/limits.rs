//! Limits of policy and route.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::digest;

use super::{policy::Site, problem};
use crate::{
    snapshot::{ConnectionLimit, Limit, LimitBy, LimitId, Limits},
    v1alpha1,
};

/// What policies without limits share.
static NONE: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);

/// The policy's limits.
pub(super) fn of_policy(spec: Option<&v1alpha1::Limits>, site: &mut Site<'_>) -> Arc<Limits> {
    let Some(spec) = spec else { return NONE.clone() };
    let requests = spec.requests.as_ref().and_then(|one| requests("spec.limits.requests", "", one, site));
    let failures = spec.failed_authentications.as_ref().and_then(|one| {
        let window = window("spec.limits.failedAuthentications.window", &one.window, site)?;
        // Whoever sent a bad credential is nobody yet: there is nothing but the address to count by.
        Some(limit("failures", "", one.rate, window, LimitBy::Address, site))
    });
    let connections = spec.connections.as_ref().map(|one| {
        // Its counters live as long as its connections: the length of a window is none of theirs.
        let Limit { id, by, .. } = limit("connections", "", one.max, Duration::ZERO, counted_by(one.by), site);
        ConnectionLimit { id, max: one.max, by }
    });
    Arc::new(Limits {
        requests: requests.into_iter().collect(),
        failures,
        connections,
        trusted_hops: spec.trusted_proxy_hops.unwrap_or(0).into(),
        store: site.store.clone(),
    })
}

/// A route's limits: its own beside the policy's.
pub(super) fn of_route(at: &str, route: &v1alpha1::Route, policy: &Limits, site: &mut Site<'_>) -> Limits {
    let own = route.limits.as_ref().and_then(|limits| limits.requests.as_ref());
    let own = own.and_then(|one| requests(&format!("{at}.limits.requests"), &route.name, one, site));
    Limits { requests: own.into_iter().chain(policy.requests.iter().cloned()).collect(), ..policy.clone() }
}

fn requests(at: &str, route: &str, spec: &v1alpha1::RequestLimit, site: &mut Site<'_>) -> Option<Limit> {
    let window = window(&format!("{at}.window"), &spec.window, site)?;
    Some(limit("requests", route, spec.rate, window, counted_by(spec.by), site))
}

const fn counted_by(by: Option<v1alpha1::LimitBy>) -> LimitBy {
    match by {
        Some(v1alpha1::LimitBy::IP) => LimitBy::Address,
        None | Some(v1alpha1::LimitBy::Principal) => LimitBy::Principal,
        Some(v1alpha1::LimitBy::Global) => LimitBy::Global,
    }
}

fn window(at: &str, spec: &v1alpha1::LimitWindow, site: &mut Site<'_>) -> Option<Duration> {
    let parsed = spec.parse();
    parsed.map_err(|error| site.problems.push(problem(at, error.to_string()))).ok()
}

fn limit(what: &str, route: &str, rate: u32, window: Duration, by: LimitBy, site: &Site<'_>) -> Limit {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [site.name, site.uid, what, route, by.as_str(), &window.as_millis().to_string()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let id = crate::digest::short(context.finish().as_ref());
    Limit { id: LimitId(id), rate, window, by }
}
