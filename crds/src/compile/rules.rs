//! Policy and route merged into effective rules (contract, section 2, step 3).

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;

use super::{
    answers,
    authenticator::identity_requirements,
    forward, limits,
    policy::{Site, access, invalid_credential},
    problem, remote,
};
use crate::{
    expr::{self, Expr},
    origin::Origin,
    paths::PathTemplate,
    snapshot::{
        Access, Authenticator, Authorization, ErrorProfile, Errors, InvalidCredential, Owned, Requirement, Rules,
        Source, SourceKind, Upgrade,
    },
    v1alpha1::{self, AuthPolicySpec, CredentialSource},
};

/// An authenticator with its own places, if it has some: then it reads only those.
type WithPlaces = (Arc<Authenticator>, Option<Vec<SourceKind>>);

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
        let errors = Errors { profile: ErrorProfile::Standard, message: None, responses: BTreeMap::new() };
        let errors = merge_errors(&Arc::new(errors), "spec", spec.errors.as_ref(), site);
        // A cached caller has the roles and scopes of the block it was verified under.
        let salt = serde_json::to_vec(&authorization).unwrap_or_default();
        let rules = Rules {
            route: None,
            access,
            invalid_credential,
            sources: sources(&authenticators, places.as_deref(), &salt),
            authenticators: authenticators.iter().map(|(one, _)| one.clone()).collect(),
            require: spec.require.as_ref().map_or_else(Vec::new, |require| {
                requirements("spec.require", require, spec.routes.iter().flat_map(|route| &route.paths), site)
            }),
            limits: Arc::new(limits::of_policy(spec.limits.as_ref(), site)),
            errors,
            forward: Arc::new(forward::compile("spec.forward", &forward, site)),
            respond: None,
            cors: spec.cors.as_ref().map(|cors| Arc::new(answers::cors(cors, site))),
        };
        Self { rules: Arc::new(rules), authenticators, places, forward, route_places, salt }
    }

    /// The rules of a route: its own words replace, requirements add up, errors and forwarding merge by field.
    pub(super) fn route(&self, index: usize, route: &v1alpha1::Route, site: &mut Site<'_>) -> Rules {
        let at = format!("spec.routes[{index}]");
        let base = &self.rules;
        let own_places = self.route_places.get(index).and_then(Option::as_deref);
        let places = own_places.or(self.places.as_deref());
        let own = route.authenticators.as_ref().map(|names| self.named(&at, names, site));
        let (authenticators, sources) = match (&own, own_places) {
            (None, None) => (base.authenticators.clone(), base.sources.clone()),
            (None, Some(_)) => (base.authenticators.clone(), self::sources(&self.authenticators, places, &self.salt)),
            (Some(own), _) => {
                (own.iter().map(|(one, _)| one.clone()).collect(), self::sources(own, places, &self.salt))
            }
        };
        let access = route.access.map_or(base.access, access);
        // Whoever says that a route is public takes it out of what the policy asks of callers.
        let mut require = if access == Access::Public { Vec::new() } else { base.require.clone() };
        if let Some(own) = &route.require {
            require.extend(requirements(&format!("{at}.require"), own, route.paths.iter(), site));
            // Somebody has to be asked: after all that can be refused without.
            require.sort_by_key(|one| matches!(one, Requirement::Owner(_)));
        }
        let forward = match &route.forward {
            None => base.forward.clone(),
            Some(own) => {
                Arc::new(forward::compile(&format!("{at}.forward"), &forward::merge(&self.forward, own), site))
            }
        };
        Rules {
            route: Some((*route.name).into()),
            access,
            invalid_credential: route.invalid_credential.map_or(base.invalid_credential, invalid_credential),
            sources,
            authenticators,
            require,
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

/// Where one list says that credentials are.
fn places_of(at: &str, sources: &[CredentialSource], site: &mut Site<'_>) -> Vec<SourceKind> {
    let mut places = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let at = format!("{at}[{index}]");
        match (&source.header, &source.cookie) {
            _ if source.client_certificate.is_some() => places.push(SourceKind::ClientCertificate),
            _ if source.query.is_some() || source.web_socket_protocol.is_some() => {
                places.extend(other_place(&at, source, site));
            }
            (Some(name), None) => {
                let name = name.to_ascii_lowercase();
                if matches!(
                    name.as_str(),
                    "host" | "cookie" | "connection" | "content-length" | "transfer-encoding" | "upgrade"
                ) {
                    site.problems.push(problem(format!("{at}.header"), format!("`{name}` cannot carry a credential")));
                }
                let scheme = source.scheme.as_ref().map(|scheme| (**scheme).into());
                places.push(SourceKind::Header { name: name.into(), scheme });
            }
            (None, Some(name)) => {
                let allowed_origins =
                    source.allowed_origins.iter().flatten().enumerate().filter_map(|(index, text)| {
                        let origin = Origin::parse(text);
                        let at = || format!("{at}.allowedOrigins[{index}]");
                        origin.map_err(|error| site.problems.push(problem(at(), error.to_string()))).ok()
                    });
                places.push(SourceKind::Cookie { name: (**name).into(), allowed_origins: allowed_origins.collect() });
            }
            _ => site.problems.push(problem(
                at,
                "must name exactly one of `header`, `cookie`, `query`, `webSocketProtocol` and `clientCertificate`",
            )),
        }
    }
    places
}

/// Places that are neither a header of their own nor a cookie.
fn other_place(at: &str, source: &CredentialSource, site: &mut Site<'_>) -> Option<SourceKind> {
    match (&source.header, &source.cookie, &source.query, &source.web_socket_protocol) {
        (None, None, Some(name), None) => {
            let only_on = source.only_on.map(|v1alpha1::OnlyOn::WebSocket| Upgrade::WebSocket);
            Some(SourceKind::Query { name: (**name).into(), only_on })
        }
        (None, None, None, Some(name)) => Some(SourceKind::WebSocketProtocol { name: (**name).into() }),
        _ => {
            site.problems.push(problem(
                at,
                "must name exactly one of `header`, `cookie`, `query`, `webSocketProtocol` and `clientCertificate`",
            ));
            None
        }
    }
}

/// The search order of one set of rules: the policy's or route's places, then the authenticators' own. Who has places of its own
/// reads only those. A credential in a place that nobody reads is a credential that nobody takes.
fn sources(authenticators: &[WithPlaces], places: Option<&[SourceKind]>, salt: &[u8]) -> Arc<[Source]> {
    if authenticators.is_empty() {
        return Arc::default();
    }
    let default = [SourceKind::Header { name: "authorization".into(), scheme: Some("Bearer".into()) }];
    let shared: Vec<usize> = (0..authenticators.len())
        .filter(|index| authenticators.get(*index).is_some_and(|(_, own)| own.is_none()))
        .collect();
    let mut all: Vec<Source> = Vec::new();
    let mut add = |kind: &SourceKind, readers: &[usize]| match all.iter_mut().find(|one| same_place(&one.kind, kind)) {
        Some(known) => known.readers.extend(readers),
        None => all.push(Source { kind: kind.clone(), readers: readers.to_vec(), fingerprint: [0; 32] }),
    };
    places.unwrap_or(&default).iter().for_each(|kind| add(kind, &shared));
    for (index, (_, own)) in authenticators.iter().enumerate() {
        own.iter().flatten().for_each(|kind| add(kind, &[index]));
    }
    for source in &mut all {
        // Order of trial is order of the document, wherever the place was named.
        source.readers.sort_unstable();
        source.readers.dedup();
        source.fingerprint = fingerprint(authenticators, &source.readers, salt);
    }
    all.into()
}

fn fingerprint(authenticators: &[WithPlaces], readers: &[usize], salt: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for (one, _) in readers.iter().filter_map(|index| authenticators.get(*index)) {
        context.update(&one.fingerprint);
    }
    context.update(salt);
    // Positions are part of what is cached.
    readers.iter().for_each(|index| context.update(&(*index as u64).to_be_bytes()));
    crate::digest::finish(context)
}

/// The same spot of a request, whatever else the source says.
fn same_place(one: &SourceKind, other: &SourceKind) -> bool {
    match (one, other) {
        (SourceKind::Header { name, scheme }, SourceKind::Header { name: other, scheme: other_scheme }) => {
            let fold = |scheme: &Option<Box<str>>| scheme.as_ref().map(|scheme| scheme.to_ascii_lowercase());
            name == other && fold(scheme) == fold(other_scheme)
        }
        (SourceKind::Cookie { name, .. }, SourceKind::Cookie { name: other, .. }) => name == other,
        (SourceKind::Query { .. } | SourceKind::WebSocketProtocol { .. } | SourceKind::ClientCertificate, _) => {
            one == other
        }
        _ => false,
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
