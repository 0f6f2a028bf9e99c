//! The API `gatewright.dev/v1alpha1`: its types, its CustomResourceDefinitions, and the checks of a raw document.
//!
//! Owns what users may write. A field that this build cannot enforce is not part of the types, so that nobody believes in it; such
//! fields of the contract are named in [`not_built`]. Owns no meaning: what a document does is decided where it is compiled.
//!
//! ```text
//! document ── schema::Checker ── rules::check ── from_value::<AuthPolicy>
//!             (structure)        (CEL, restated)  (cannot fail once both are silent)
//! ```

mod answers;
mod api_key;
mod authenticator;
mod authorization;
mod authpolicy;
mod client_certificate;
mod credential;
mod datasource;
mod definition;
mod duration;
mod forward;
mod grant;
mod limits;
mod not_built;
mod refs;
mod remote;
mod replace;
mod require;
mod route;
pub mod rules;
mod service_account;
mod static_key;
mod status;
mod text;
mod totp;

use std::sync::LazyLock;

use serde_json::Value;

pub use self::{
    answers::{Cors, ErrorResponse, Mode, Respond},
    api_key::{ApiKey, CqaV1, Pepper},
    authenticator::{AudienceCheck, Authenticator, Claims, Jwt},
    authorization::{Authorization, GlobList, MissingScopes, Roles, ScopeList},
    authpolicy::{
        AuthPolicy, AuthPolicySpec, ErrorProfile, Errors, Internal, InternalInvalidCredential, InvalidCredential,
        Unmatched,
    },
    client_certificate::{ClientCertificate, ConnectionCertificate},
    credential::{CredentialSource, OnlyOn},
    datasource::{
        AuthorizationServer, DataSource, DataSourceSpec, DynamicRegistration, McpServer, OAuthClient, PerUserAuth,
        PerUserAuthKind, RegisteredClient, Tool, Transport,
    },
    definition::{crds, crds_yaml},
    duration::{AnswerAge, BadDuration, CallTimeout, ClockSkew, Duration, TokenLifetime},
    forward::{CredentialForwarding, Forward, HmacSha256, MappedHeader},
    grant::{ClientCredentials, ExtraHeader, RefreshBefore, TokenExchange},
    limits::{
        ConnectionLimit, FailureLimit, FailuresBy, LimitBy, LimitStore, LimitWindow, Limits, OnFailure, RedisStore,
        RequestLimit, RouteLimits,
    },
    not_built::not_built,
    refs::{ConfigMapKeyRef, KeySetRef, SecretKeyRef, SecretRef, SecretSelector, SecretsRef, WorkloadSelector},
    remote::{
        Accepts, ClientMethod, ConfidentialClient, Introspection, NotOwner, Owner, UserInfo, Webhook,
        WebhookAuthenticator,
    },
    replace::{ReplaceCredential, SignedJwt, SigningAlgorithm, StaticCredential},
    require::{IdentityRequire, Require},
    route::{Access, Route, Upgrade},
    service_account::{ServiceAccount, TokenReviewing},
    static_key::{DeniedListRef, DeniedTokenIds, StaticKey},
    status::{AuthPolicyStatus, DataSourceStatus},
    text::{
        AllowedOrigin, Audience, BodyText, CelText, CidrBlock, ClaimName, ClientId, CookieName, DataKey, DomainName,
        EmailAddress, GlobText, HeaderName, HeaderPrefix, HeaderText, HostName, HttpUrl, IdentityNamespace, IssuerName,
        JmesPathText, KeyId, Label, LabelValue, Location, MediaType, Message, MethodName, Name, ObjectName,
        PathPattern, ProtocolName, QueryName, RegexText, ResourceVariable, RoleName, RoleOrNone, SchemeName, ScopeName,
        SourceId, TokenPrefix, TokenType, ToolName, TrustDomain, WebOrigin, WebhookUrl,
    },
    totp::{CodePeriod, Totp},
};
use crate::schema::{Checker, Gaps, MOST, Problem};

/// The API group.
pub const GROUP: &str = "gatewright.dev";
/// `apiVersion` of our documents.
pub const API_VERSION: &str = "gatewright.dev/v1alpha1";
/// The kind of policies.
pub const AUTH_POLICY: &str = "AuthPolicy";
/// The kind of data sources.
pub const DATA_SOURCE: &str = "DataSource";

static CHECKERS: LazyLock<Vec<(String, Checker)>> = LazyLock::new(|| {
    let ready = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let kind = crd.spec.names.kind;
        let schema = crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
        Some((kind.clone(), Checker::new(schema, Gaps::of_kind(&kind))))
    };
    crds().into_iter().filter_map(ready).collect()
});

/// Everything that is wrong with a raw document of one of our kinds: its structure first, then the rules that CEL states in the cluster.
/// Where both speak about one place, the rule's words are kept. `null` members count as absent. A document of no kind of ours is a problem. At most
/// a hundred are told.
pub fn check(document: &Value) -> Vec<Problem> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let Some((_, checker)) = CHECKERS.iter().find(|(own, _)| own == kind && version == API_VERSION) else {
        return vec![Problem::invalid(
            "kind",
            format!("must be {AUTH_POLICY} or {DATA_SOURCE} of apiVersion {API_VERSION}"),
        )];
    };
    let ruled = rules::check(document);
    let mut problems = checker.check(document);
    problems.retain(|problem| !ruled.iter().any(|rule| rule.path == problem.path));
    problems.extend(ruled);
    problems.truncate(MOST);
    problems
}
