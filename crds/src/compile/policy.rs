//! One policy on its own: document to compiled policy. Knows nothing of other policies.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;

use super::{
    answers,
    api_key::Tables,
    authenticator, authorization, forward, places, problem,
    references::{References, Resolved},
    rules::Base,
    store, validate,
    verdict::Reason,
};
use crate::{
    documents::{Document, Object, Objects},
    hosts::HostPattern,
    origin::Origin,
    paths::{PathTemplate, RouteTable},
    schema::Problem,
    snapshot::{
        Access, Internal, InvalidCredential, KeySetSource, Policy, Route, Rules, SharedStore, Unmatched, Upgrade,
    },
    v1alpha1::{self, AuthPolicySpec, InternalInvalidCredential, SigningAlgorithm},
};

/// A compiled policy with everything the set needs to know about it.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) policy: Arc<Policy>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) fallback: bool,
    /// Where a caller is needed and none can prove to be one, if anywhere.
    pub(super) no_authenticators: Option<String>,
    pub(super) key_sets: Vec<KeySetSource>,
    pub(super) reference_problems: Vec<(Reason, String)>,
    pub(super) references: Vec<Resolved>,
    /// Algorithms of our own keys that sign tokens, and where the first token of each is.
    pub(super) own_keys: BTreeMap<SigningAlgorithm, String>,
    /// Whether only some workloads receive it.
    pub(super) selects_workloads: bool,
    /// What it was made from; shared with the object.
    pub(super) document: Document,
}

/// Where a policy is compiled: its names, its references, and the mistakes found so far.
pub(super) struct Site<'a> {
    pub(super) name: &'a Arc<str>,
    /// Identity of the object beyond its name, for cache keys.
    pub(super) uid: &'a str,
    pub(super) references: References<'a>,
    pub(super) problems: Vec<Problem>,
    /// Algorithms of our own keys that sign tokens, and where the first token of each is.
    pub(super) own_keys: BTreeMap<SigningAlgorithm, String>,
    /// Where the policy counts, if not in each process.
    pub(super) store: Option<Arc<SharedStore>>,
}

// === impl Built ===

impl Built {
    /// Whether it was made from this document and these values.
    pub(super) fn is_of(&self, object: &Object, objects: &Objects) -> bool {
        self.document == object.document && self.references.iter().all(|one| one.holds(objects, &object.name))
    }
}

/// Compiles one document.
pub(super) fn build(object: &Object, objects: &Objects, tables: &Tables) -> Result<Built, Vec<Problem>> {
    let spec = validate::spec(object)?;
    let mut site = Site {
        name: &object.name,
        uid: object.document.uid().unwrap_or_default(),
        references: References::new(objects, &object.name, tables),
        problems: Vec::new(),
        own_keys: BTreeMap::new(),
        store: None,
    };
    let (hosts, policy, key_sets) = policy(&spec, &mut site);
    let Site { references, problems, own_keys, .. } = site;
    if !problems.is_empty() {
        return Err(problems);
    }
    let (references, reference_problems) = references.finish();
    Ok(Built {
        no_authenticators: closed(&policy),
        policy: Arc::new(policy),
        hosts,
        fallback: spec.fallback.unwrap_or(false),
        key_sets,
        reference_problems,
        references,
        own_keys,
        selects_workloads: spec.workload_selector.is_some(),
        document: object.document.clone(),
    })
}

/// The first rules that need a caller and have nobody who could tell that he is one: such requests are refused for ever.
fn closed(policy: &Policy) -> Option<String> {
    let closed = |rules: &Rules| rules.access == Access::Authenticated && rules.authenticators.is_empty();
    if closed(&policy.rules) {
        return Some("`requireAuth` is true".to_owned());
    }
    if policy.internal.as_ref().is_some_and(|internal| closed(&internal.rules)) {
        return Some("internal requests need one".to_owned());
    }
    let route = policy
        .routes
        .iter()
        .find(|route| closed(&route.rules) || route.internal_rules.as_ref().is_some_and(|rules| closed(rules)))?;
    Some(format!("route `{}` needs one", route.name))
}

fn policy(spec: &AuthPolicySpec, site: &mut Site<'_>) -> (Vec<HostPattern>, Policy, Vec<KeySetSource>) {
    let hosts = host_patterns("spec.externalHostnames", spec.external_hostnames.iter().map(|host| &**host), site);
    // First: whoever counts something, authenticators too, counts it there.
    site.store = spec.limits.as_ref().and_then(|limits| store::compile(limits.store.as_ref()?, site));
    let (authenticators, key_sets) = authenticator::compile(&spec.authenticators, site);
    let access = if spec.require_auth.unwrap_or(true) { Access::Authenticated } else { Access::Optional };
    let invalid_credential = spec.invalid_credential.map_or(InvalidCredential::Reject, invalid_credential);
    let authorization = authorization::compile(spec, site);
    let base = Base::new(spec, authenticators, authorization.as_ref(), access, invalid_credential, site);
    let internal = spec.internal.as_ref().map(|internal| self::internal(internal, &base, site));
    let routes: Vec<_> = spec
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| self::route(index, route, &base, internal.as_ref(), site))
        .collect();
    let unmatched = match spec.unmatched {
        None | Some(v1alpha1::Unmatched::Authenticate) => Unmatched::Authenticate,
        Some(v1alpha1::Unmatched::NotFound) => Unmatched::NotFound,
        Some(v1alpha1::Unmatched::Forbid) => Unmatched::Forbid,
    };
    let every_rule = || routes.iter().map(|(_, route)| &route.rules).chain([&base.rules]);
    let owned = forward::owned_names(every_rule().map(|rules| &*rules.forward));
    let places = base.every_place();
    forward::check_names(every_rule(), &places, site);
    let public_origin = spec.public_url.as_ref().and_then(|url| origin("spec.publicURL", url, site));
    let policy = Policy {
        name: site.name.clone(),
        mode: answers::mode(spec.mode),
        external: hosts.clone(),
        public_origin,
        internal: internal.map(Box::new),
        routes: RouteTable::new(routes),
        unmatched,
        authorization: authorization.map(Box::new),
        rules: base.rules.clone(),
        owned,
        places: places::kept(places),
    };
    (hosts, policy, key_sets)
}

fn host_patterns<'a>(path: &str, texts: impl Iterator<Item = &'a str>, site: &mut Site<'_>) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (index, text) in texts.enumerate() {
        match HostPattern::parse(text) {
            Ok(host) => hosts.push(host),
            Err(error) => site.problems.push(problem(format!("{path}[{index}]"), error.to_string())),
        }
    }
    hosts
}

fn origin(path: &str, text: &str, site: &mut Site<'_>) -> Option<Origin> {
    let origin = Url::parse(text).ok().and_then(|url| Origin::of_url(&url));
    if origin.is_none() {
        site.problems.push(problem(path, format!("`{text}` is no absolute http or https URL")));
    }
    origin
}

fn internal(internal: &v1alpha1::Internal, base: &Base, site: &mut Site<'_>) -> Internal {
    let hostnames = internal
        .hostnames
        .as_ref()
        .map(|hosts| host_patterns("spec.internal.hostnames", hosts.iter().map(|host| &**host), site));
    let source_cidrs = internal.source_cidrs.as_ref().map(|blocks| {
        let mut cidrs = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            match block.parse() {
                Ok(cidr) => cidrs.push(cidr),
                Err(_) => site.problems.push(problem(
                    format!("spec.internal.sourceCIDRs[{index}]"),
                    format!("`{block}` is no CIDR block; write one such as 10.0.0.0/8 or fd00::/8"),
                )),
            }
        }
        cidrs
    });
    let invalid = internal.invalid_credential.as_ref().map_or(InvalidCredential::Reject, |word| match word {
        InternalInvalidCredential::Reject => InvalidCredential::Reject,
        InternalInvalidCredential::Ignore => InvalidCredential::Ignore,
        InternalInvalidCredential::PassUnverified => InvalidCredential::PassUnverified,
    });
    let access = internal.access.map_or(base.rules.access, self::access);
    let mut rules = Rules { access, invalid_credential: invalid, ..(*base.rules).clone() };
    if access == Access::Public {
        rules.require = Arc::default();
    }
    Internal { hostnames, source_cidrs, use_routes: internal.use_routes.unwrap_or(false), rules: Arc::new(rules) }
}

fn route(
    index: usize,
    route: &v1alpha1::Route,
    base: &Base,
    internal: Option<&Internal>,
    site: &mut Site<'_>,
) -> (Vec<PathTemplate>, Route) {
    let at = format!("spec.routes[{index}]");
    let mut paths = Vec::new();
    for (index, path) in route.paths.iter().enumerate() {
        match PathTemplate::parse(path) {
            Ok(template) => paths.push(template),
            Err(error) => site.problems.push(problem(format!("{at}.paths[{index}]"), error.to_string())),
        }
    }
    if paths.is_empty() && route.paths.is_empty() {
        // A route without paths is about its methods or its upgrade, wherever they come.
        paths.extend(PathTemplate::parse("/{**}"));
    }
    let own_require = Base::own_require(index, route, site);
    let rules = base.route(index, route, &own_require, site);
    // A route's own words beat the internal block's; where it is silent, the block speaks.
    let internal_rules = internal.filter(|internal| internal.use_routes).map(|internal| {
        let access = route.access.map_or(internal.rules.access, access);
        let silent = Rules {
            access,
            require: base.require(access, &own_require),
            invalid_credential: route.invalid_credential.map_or(internal.rules.invalid_credential, invalid_credential),
            ..rules.clone()
        };
        Arc::new(silent)
    });
    let compiled = Route {
        name: rules.route.clone().unwrap_or_default(),
        methods: route.methods.iter().map(|method| (**method).into()).collect(),
        upgrade: route.upgrade.as_ref().map(|v1alpha1::Upgrade::WebSocket| Upgrade::WebSocket),
        rules: Arc::new(rules),
        internal_rules,
    };
    (paths, compiled)
}

pub(super) const fn access(word: v1alpha1::Access) -> Access {
    match word {
        v1alpha1::Access::Authenticated => Access::Authenticated,
        v1alpha1::Access::Optional => Access::Optional,
        v1alpha1::Access::Public => Access::Public,
    }
}

pub(super) const fn invalid_credential(word: v1alpha1::InvalidCredential) -> InvalidCredential {
    match word {
        v1alpha1::InvalidCredential::Reject => InvalidCredential::Reject,
        v1alpha1::InvalidCredential::Ignore => InvalidCredential::Ignore,
    }
}
