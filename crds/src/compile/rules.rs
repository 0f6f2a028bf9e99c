//! Policy and route merged into effective rules (contract, section 2, step 3).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use super::{
    answers,
    authenticator::identity_requirements,
    forward, limits,
    places::{WithPlaces, places_of, same_place, sources},
    policy::{Site, access, invalid_credential},
    problem, remote,
};
use crate::{
    expr::{self, Expr},
    paths::PathTemplate,
    snapshot::{
        Access, Authenticator, Authorization, ErrorProfile, Errors, InvalidCredential, Owned, Requirement, Rules,
        SourceKind,
    },
    v1alpha1::{self, AuthPolicySpec, CredentialSource},
};

/// How refusals look unless somebody says so.
static STANDARD: LazyLock<Arc<Errors>> =
    LazyLock::new(|| Arc::new(Errors { profile: ErrorProfile::Standard, message: None, responses: BTreeMap::new() }));

/// The policy's own rules, and what routes need to build theirs.
pub(super) struct Base {
    pub(super) rules: Arc<Rules>,
    /// Each authenticator with its own places.
    authenticators: Vec<WithPlaces>,
    /// The policy's places; `None`: the default one.
    places: Option<Vec<SourceKind>>,
    forward: v1alpha1::Forward,
    /// Each route's own places, in document order.
    route_places: Vec<Option<Vec<SourceKind>>>,
    /// Everything beside the authenticators that a cached caller depends on.
    salt: Vec<u8>,
}

// === impl Base ===

impl Base {
    pub(super) fn new(
        spec: &AuthPolicySpec,
        authenticators: Vec<Arc<Authenticator>>,
        authorization: Option<&Authorization>,
        access: Access,
        invalid_credential: InvalidCredential,
        site: &mut Site<'_>,
    ) -> Self {
        let mut read =
            |at: String, sources: Option<&Vec<CredentialSource>>| sources.map(|sources| places_of(&at, sources, site));
        let places = read("spec.credentials".to_owned(), spec.credentials.as_ref());
        let own: Vec<_> = (spec.authenticators.iter().enumerate())
            .map(|(index, one)| {
                let own = read(format!("spec.authenticators[{index}].credentials"), one.credentials.as_ref());
                // A certificate is in one place only.
                own.or_else(|| one.client_certificate.as_ref().map(|_| vec![SourceKind::ClientCertificate]))
            })
            .collect();
        let route_places = (spec.routes.iter().enumerate())
            .map(|(index, route)| read(format!("spec.routes[{index}].credentials"), route.credentials.as_ref()))
            .collect();
        let authenticators: Vec<WithPlaces> = authenticators.into_iter().zip(own).collect();
        let forward = spec.forward.clone().unwrap_or_default();
        let errors = merge_errors(&STANDARD, "spec", spec.errors.as_ref(), site);
        // A cached caller has the roles and scopes of the block it was verified under.
        let salt = serde_json::to_vec(&authorization).unwrap_or_default();
        let rules = Rules {
            route: None,
            access,
            invalid_credential,
            sources: sources("spec", &authenticators, places.as_deref(), &salt, site),
            authenticators: authenticators.iter().map(|(one, _)| one.clone()).collect(),
            require: spec.require.as_ref().map_or_else(Arc::default, |require| {
                requirements("spec.require", require, spec.routes.iter().flat_map(|route| &route.paths), site).into()
            }),
            limits: limits::of_policy(spec.limits.as_ref(), site),
            errors,
            forward: forward::compile("spec.forward", &forward, site),
            respond: None,
            cors: spec.cors.as_ref().map(|cors| Arc::new(answers::cors(cors, site))),
        };
        Self { rules: Arc::new(rules), authenticators, places, forward, route_places, salt }
    }

    /// What a route requires of its own.
    pub(super) fn own_require(index: usize, route: &v1alpha1::Route, site: &mut Site<'_>) -> Vec<Requirement> {
        let at = format!("spec.routes[{index}].require");
        route.require.as_ref().map_or_else(Vec::new, |own| requirements(&at, own, route.paths.iter(), site))
    }

    /// What is required in all: whoever says that a route is public takes it out of what the policy asks of callers.
    pub(super) fn require(&self, access: Access, own: &[Requirement]) -> Arc<[Requirement]> {
        let base = if access == Access::Public { &[] } else { &*self.rules.require };
        if own.is_empty() && base.len() == self.rules.require.len() {
            return self.rules.require.clone();
        }
        let mut all = [base, own].concat();
        // Somebody has to be asked: after all that can be refused without.
        all.sort_by_key(|one| matches!(one, Requirement::Owner(_)));
        all.into()
    }

    /// The rules of a route: its own words replace, requirements add up, errors and forwarding merge by field.
    pub(super) fn route(
        &self,
        index: usize,
        route: &v1alpha1::Route,
        own_require: &[Requirement],
        site: &mut Site<'_>,
    ) -> Rules {
        let at = format!("spec.routes[{index}]");
        let base = &self.rules;
        let own_places = self.route_places.get(index).and_then(Option::as_deref);
        let places = own_places.or(self.places.as_deref());
        let own = route.authenticators.as_ref().map(|names| self.named(&at, names, site));
        let (authenticators, sources) = match (&own, own_places) {
            (None, None) => (base.authenticators.clone(), base.sources.clone()),
            (None, Some(_)) => {
                (base.authenticators.clone(), self::sources(&at, &self.authenticators, places, &self.salt, site))
            }
            (Some(own), _) => {
                (own.iter().map(|(one, _)| one.clone()).collect(), self::sources(&at, own, places, &self.salt, site))
            }
        };
        let access = route.access.map_or(base.access, access);
        let forward = match &route.forward {
            None => base.forward.clone(),
            Some(own) => forward::compile(&format!("{at}.forward"), &forward::merge(&self.forward, own), site),
        };
        Rules {
            route: Some((*route.name).into()),
            access,
            invalid_credential: route.invalid_credential.map_or(base.invalid_credential, invalid_credential),
            sources,
            authenticators,
            require: self.require(access, own_require),
            limits: if route.limits.is_none() {
                base.limits.clone()
            } else {
                Arc::new(limits::of_route(&at, route, &base.limits, site))
            },
            errors: merge_errors(&base.errors, &at, route.errors.as_ref(), site),
            forward,
            respond: route.respond.as_ref().map(|respond| Arc::new(answers::respond(&at, respond, site))),
            cors: base.cors.clone(),
        }
    }

    /// Every place that any part of the policy names: none of them reaches the upstream unverified.
    pub(super) fn every_place(&self) -> Vec<SourceKind> {
        let own = self.authenticators.iter().filter_map(|(_, places)| places.as_deref());
        let routes = self.route_places.iter().filter_map(Option::as_deref);
        let mut every: Vec<SourceKind> = Vec::new();
        let implied = self.rules.sources.iter().map(|source| &source.kind);
        for place in self.places.as_deref().into_iter().chain(own).chain(routes).flatten().chain(implied) {
            if !every.iter().any(|one| same_place(one, place)) {
                every.push(place.clone());
            }
        }
        every
    }

    fn named(&self, at: &str, names: &[v1alpha1::Name], site: &mut Site<'_>) -> Vec<WithPlaces> {
        let mut chosen = Vec::new();
        for (index, name) in names.iter().enumerate() {
            if let Some(one) = self.authenticators.iter().find(|(one, _)| *one.name == **name) {
                chosen.push(one.clone());
            } else {
                let known: Vec<&str> = self.authenticators.iter().map(|(one, _)| &*one.name).collect();
                let message = format!("no authenticator is called `{name}`; known here: {}", known.join(", "));
                site.problems.push(problem(format!("{at}.authenticators[{index}]"), message));
            }
        }
        chosen
    }
}

/// `paths`: those that the requirements hold for.
fn requirements<'p>(
    at: &str,
    spec: &v1alpha1::Require,
    paths: impl Iterator<Item = &'p v1alpha1::PathPattern>,
    site: &mut Site<'_>,
) -> Vec<Requirement> {
    fn texts<T: std::ops::Deref<Target = str>>(all: &[T]) -> Vec<Box<str>> {
        all.iter().map(|one| (**one).into()).collect()
    }
    let mut all = Vec::new();
    let identity = identity_requirements(
        spec.verified_email,
        spec.emails.iter().map(|one| &**one),
        spec.domains.iter().map(|one| &**one),
    );
    if !identity.is_empty() {
        all.push(Requirement::Identity(identity));
    }
    if !spec.roles.is_empty() {
        all.push(Requirement::Roles(texts(&spec.roles)));
    }
    if !spec.scopes.is_empty() {
        all.push(Requirement::Scopes(texts(&spec.scopes)));
    }
    if !spec.any_scope.is_empty() {
        all.push(Requirement::AnyScope(texts(&spec.any_scope)));
    }
    if let Some(source) = &spec.cel {
        match Expr::parse(source, expr::Place::Condition) {
            Ok(expression) => all.push(Requirement::Cel(expression)),
            Err(error) => site.problems.push(problem(format!("{at}.cel"), error.to_string())),
        }
    }
    if let Some(owner) = &spec.owner {
        all.extend(owned(&format!("{at}.owner"), owner, paths, site));
    }
    all
}

/// A variable that no path has would name no resource, and the requirement would never be looked at.
fn owned<'p>(
    at: &str,
    spec: &v1alpha1::Owner,
    paths: impl Iterator<Item = &'p v1alpha1::PathPattern>,
    site: &mut Site<'_>,
) -> Option<Requirement> {
    let owner = remote::owner(at, spec, site)?;
    // What is no template is told where the path stands.
    let templates = paths.filter_map(|path| PathTemplate::parse(path).ok());
    let places: Vec<_> =
        templates.filter_map(|one| one.position(&owner.variable).map(|position| (one, position))).collect();
    if places.is_empty() {
        let message = format!("no path has the variable `{}`; name one of the paths' own variables", &*spec.resource);
        site.problems.push(problem(format!("{at}.resource"), message));
    }
    Some(Requirement::Owner(Arc::new(Owned { owner, places })))
}

fn merge_errors(base: &Arc<Errors>, at: &str, own: Option<&v1alpha1::Errors>, site: &mut Site<'_>) -> Arc<Errors> {
    let Some(own) = own else { return base.clone() };
    let mut errors = (**base).clone();
    if let Some(profile) = own.profile {
        errors.profile = self::profile(profile);
    }
    if let Some(message) = &own.message {
        errors.message = Some((**message).into());
    }
    errors.responses.extend(answers::responses(&format!("{at}.errors"), &own.responses, site));
    Arc::new(errors)
}

const fn profile(word: v1alpha1::ErrorProfile) -> ErrorProfile {
    match word {
        v1alpha1::ErrorProfile::Standard => ErrorProfile::Standard,
        v1alpha1::ErrorProfile::AIQ => ErrorProfile::AIQ,
        v1alpha1::ErrorProfile::AgentFlow => ErrorProfile::AgentFlow,
        v1alpha1::ErrorProfile::AgentFlow403 => ErrorProfile::AgentFlow403,
        v1alpha1::ErrorProfile::FastAPIDetail => ErrorProfile::FastAPIDetail,
        v1alpha1::ErrorProfile::Qaynaq => ErrorProfile::Qaynaq,
        v1alpha1::ErrorProfile::CQ => ErrorProfile::CQ,
    }
}
