//! A compiled policy and the effective rules of its routes.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use serde::Serialize;
use smallvec::SmallVec;

use super::{
    Authenticator, Authorization, Cors, ErrorResponse, Forward, IdentityRequirements, Limits, Mode, OwnedNames, Owner,
    Respond,
};
use crate::{
    code::Code,
    expr::Expr,
    hosts::HostPattern,
    origin::Origin,
    paths::{PathTemplate, RouteTable},
};

/// One AuthPolicy in force.
#[derive(Debug, Serialize)]
pub struct Policy {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// In force or on trial.
    pub mode: Mode,
    /// Hosts it declares, conflicts or not: none of them is ever internal.
    pub external: Vec<HostPattern>,
    /// The origin browsers use, where the request's own cannot be known.
    pub public_origin: Option<Origin>,
    /// Present: some hosts may be cluster-internal.
    pub internal: Option<Box<Internal>>,
    /// Routes in document order.
    pub routes: RouteTable<Route>,
    /// What an unmatched path gets.
    pub unmatched: Unmatched,
    /// Scopes and roles of callers beyond what their credential says.
    pub authorization: Option<Box<Authorization>>,
    /// Rules without a route: unmatched paths that are authenticated, and refusals before a route is known.
    pub rules: Arc<Rules>,
    /// Every name that is ours on the way to the upstream, whatever the route.
    pub owned: Arc<OwnedNames>,
    /// Every place where any part of this policy looks for a credential: none of them reaches the upstream unverified.
    pub places: Arc<[SourceKind]>,
}

impl Policy {
    /// Whether answers of it carry secrets: a policy on trial gives nothing away.
    pub fn hands_out(&self) -> bool {
        let routes = self.routes.iter().map(|route| &route.rules);
        let internal = self.internal.iter().map(|internal| &internal.rules);
        let mut all = routes.chain(internal).chain([&self.rules]);
        self.mode != Mode::Audit && all.any(|rules| rules.forward.replacement.is_some())
    }
}

/// Which requests count as cluster-internal, and what they need.
#[derive(Debug, Serialize)]
pub struct Internal {
    /// Host names; `None`: names without a dot, `*.svc`, `*.svc.cluster.local`, `localhost`, loopback addresses.
    pub hostnames: Option<Vec<HostPattern>>,
    /// Source addresses; `None`: any.
    pub source_cidrs: Option<Vec<IpNet>>,
    /// Whether the route table holds for internal requests.
    pub use_routes: bool,
    /// Their rules.
    pub rules: Arc<Rules>,
}

/// One entry of the route table.
#[derive(Debug, Serialize)]
pub struct Route {
    /// Unique in its policy.
    pub name: Arc<str>,
    /// Exact method names; empty: any.
    pub methods: Vec<Box<str>>,
    /// Only requests that ask for this upgrade; `None`: with or without.
    pub upgrade: Option<Upgrade>,
    /// What external requests need here.
    pub rules: Arc<Rules>,
    /// What internal requests need here; differs from `rules` where the route leaves `access` open.
    pub internal_rules: Option<Arc<Rules>>,
}

/// Effective rules: policy and route merged at compile time, so that a request follows one pointer.
#[derive(Debug, Clone, Serialize)]
pub struct Rules {
    /// The route's name, if any.
    pub route: Option<Arc<str>>,
    /// Who may come in.
    pub access: Access,
    /// What a bad credential means where one is optional.
    pub invalid_credential: InvalidCredential,
    /// In order of trial.
    pub authenticators: Arc<[Arc<Authenticator>]>,
    /// In order of search; the first one present is the credential.
    pub sources: Arc<[Source]>,
    /// All must hold.
    pub require: Arc<[Requirement]>,
    /// How many requests and bad credentials are taken.
    pub limits: Arc<Limits>,
    /// How refusals look.
    pub errors: Arc<Errors>,
    /// What the upstream gets.
    pub forward: Arc<Forward>,
    /// The answer in place of the upstream's.
    pub respond: Option<Arc<Respond>>,
    /// What browsers of other origins may do; the same for all rules of a policy.
    pub cors: Option<Arc<Cors>>,
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Access {
    /// A good credential is needed.
    Authenticated,
    /// None is needed, but one that is sent must be good.
    Optional,
    /// None is read.
    Public,
}

/// What a bad credential means where one is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum InvalidCredential {
    /// Refused.
    Reject,
    /// Removed; the caller is anonymous.
    Ignore,
    /// Kept for the upstream; the caller is `unverified-jwt`. Internal requests only.
    PassUnverified,
}

/// A path that no route matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unmatched {
    /// The policy's own rules.
    Authenticate,
    /// 404.
    NotFound,
    /// 403.
    Forbid,
}

/// Protocol upgrades a route can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// A place where a credential may be.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    /// The place.
    pub kind: SourceKind,
    /// Indices into [`Rules::authenticators`]: who reads this place.
    pub readers: SmallVec<[usize; 2]>,
    /// SHA-256 over the readers' fingerprints and versions, in order: a verdict about a credential found here is cached under it.
    #[serde(skip)]
    pub fingerprint: [u8; 32],
    /// Whether a verdict of any of the readers changes with more than that.
    #[serde(skip)]
    pub varies: bool,
}

/// The places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// A request header; with a scheme, only values of that scheme count.
    Header {
        /// Lower case.
        name: Arc<str>,
        /// Compared without regard to case (RFC 9110 section 11.1).
        scheme: Option<Arc<str>>,
    },
    /// A cookie (RFC 6265 section 5.4).
    Cookie {
        /// Exact name.
        name: Arc<str>,
        /// Who else than the request's own origin may send it with a state-changing request.
        allowed_origins: AllowedOrigins,
    },
    /// A query parameter.
    Query {
        /// Exact name, after decoding.
        name: Arc<str>,
        /// Only on requests for this upgrade; elsewhere it is no source.
        only_on: Option<Upgrade>,
    },
    /// The entry after this one in `Sec-WebSocket-Protocol`, on requests for a WebSocket.
    WebSocketProtocol {
        /// The first entry.
        name: Arc<str>,
    },
    /// The certificate of the connection, as the proxy verified it.
    ClientCertificate,
}

/// Origins a cookie credential may come from beside the request's own.
pub type AllowedOrigins = Vec<Origin>;

/// Something that must hold after authentication.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Requirement {
    /// Every one of these scopes.
    Scopes(Vec<Box<str>>),
    /// One of these scopes.
    AnyScope(Vec<Box<str>>),
    /// One of these roles.
    Roles(Vec<Box<str>>),
    /// Rules about the person.
    Identity(IdentityRequirements),
    /// A CEL expression that yields true.
    Cel(Expr),
    /// The resource that the path names is the caller's own. After all others: somebody has to be asked.
    Owner(Arc<Owned>),
}

/// A requirement about the owner of what a path names.
#[derive(Debug, Serialize)]
pub struct Owned {
    /// Whom to ask, and what a stranger gets.
    pub owner: Owner,
    /// Where the resource is in a path: the first template that matches says so. A path that none matches names no resource.
    pub places: Vec<(PathTemplate, usize)>,
}

/// How refusals look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// The shape of bodies.
    pub profile: ErrorProfile,
    /// Replaces the text of every refusal.
    pub message: Option<Box<str>>,
    /// What single refusals become.
    pub responses: BTreeMap<Code, ErrorResponse>,
}

/// Shapes of refusal bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ErrorProfile {
    /// RFC 9457 problem details.
    Standard,
    /// NVIDIA AI-Q's `{"detail", "error"}`.
    AIQ,
    /// AgentFlow's envelope `{"error", "metadata"}`.
    AgentFlow,
    /// The same bodies, with 403 where authentication failed.
    AgentFlow403,
    /// AgentFlow's first generation: `{"detail"}` in FastAPI's words.
    FastAPIDetail,
    /// Qaynaq's `{"error"}`.
    Qaynaq,
    /// mozilla-ai cq's `{"detail"}`.
    CQ,
}
