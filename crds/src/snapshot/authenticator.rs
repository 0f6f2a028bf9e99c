//! Compiled authenticators: what each one verifies and how its claims become a principal.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    ApiKey, Authorities, ClientCertificates, DeniedTokenIds, Introspection, SecondFactor, ServiceAccounts, UserInfo,
    WebhookAuthenticator,
};
use crate::{
    algorithm::Algorithm,
    keys::{KeySet, StaticKeys},
};

/// One way to prove who is calling.
#[derive(Debug, Serialize)]
pub struct Authenticator {
    /// Unique in its policy; the value of `x-auth-authenticator`.
    pub name: Arc<str>,
    /// SHA-256 over the policy's identity and everything compiled below: part of every cache key, so that no verdict of another
    /// authenticator, or of an older edit of this one, is ever reused.
    #[serde(skip)]
    pub fingerprint: [u8; 32],
    /// What kind of credential it verifies.
    pub kind: AuthenticatorKind,
    /// The code that it wants beside a token.
    pub second_factor: Option<SecondFactor>,
    /// Which claims become which identity fields.
    pub claims: Arc<ClaimMapping>,
    /// Who of the verified is let in.
    pub require: IdentityRequirements,
    /// The first line of the stable id of callers without a verified issuer (contract, section 3).
    pub identity_issuer: Arc<str>,
}

/// The kinds of credential this build verifies. A new kind is one variant here, one file in `authz` and one field in the API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticatorKind {
    /// A JSON Web Token, signed by a key of a key set.
    Jwt(Jwt),
    /// A key that a table knows.
    ApiKey(ApiKey),
    /// A token that its authorization server is asked about.
    Introspection(Box<Introspection>),
    /// A token that a UserInfo endpoint answers with claims.
    UserInfo(UserInfo),
    /// A credential that a service judges.
    Webhook(WebhookAuthenticator),
    /// A certificate that the proxy verified.
    ClientCertificate(ClientCertificates),
    /// A token of a ServiceAccount.
    ServiceAccount(Box<ServiceAccounts>),
}

// === impl AuthenticatorKind ===

impl AuthenticatorKind {
    /// What verdicts change with and stands in the documents: keys, records, lists.
    pub fn version(&self) -> [u64; 2] {
        match self {
            Self::Jwt(jwt) => {
                let keys = match &jwt.keys {
                    JwtKeys::Inline(keys) => keys.version(),
                    JwtKeys::Static(keys) => keys.version(),
                    JwtKeys::Remote(_) | JwtKeys::Missing => 0,
                };
                [keys, jwt.denied.version()]
            }
            Self::ApiKey(keys) => [keys.version(), 0],
            Self::Introspection(_)
            | Self::UserInfo(_)
            | Self::Webhook(_)
            | Self::ClientCertificate(_)
            | Self::ServiceAccount(_) => [0, 0],
        }
    }

    /// Whether verdicts change with something else too, which every request has to look at: keys that are fetched, other headers.
    pub fn varies(&self) -> bool {
        match self {
            Self::Jwt(jwt) => matches!(jwt.keys, JwtKeys::Remote(_)),
            Self::Webhook(_) | Self::ServiceAccount(_) => true,
            Self::ApiKey(_) | Self::Introspection(_) | Self::UserInfo(_) | Self::ClientCertificate(_) => false,
        }
    }
}

/// Everything that decides whether a JWT is good (RFC 7519, RFC 8725, RFC 9068).
#[derive(Debug, Serialize)]
pub struct Jwt {
    /// The exact `iss`; code points are compared, nothing is normalised. Absent: any issuer (static keys only).
    pub issuer: Option<Arc<str>>,
    /// Where the keys are.
    pub keys: JwtKeys,
    /// Which `aud` is good.
    pub audiences: AudienceRule,
    /// Accepted algorithms of keys that come in sets; a key that stands in a Secret has its own.
    pub algorithms: BTreeSet<Algorithm>,
    /// Leeway for `exp`, `nbf` and `iat`; zero to five minutes.
    pub clock_skew: Duration,
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
    /// Accepted `typ` values, lower case, without `application/`; `""` stands for an absent one. `None`: absent, `jwt`, `at+jwt`.
    pub accepted_types: Option<Vec<Box<str>>>,
    /// Accepted `azp` (else `client_id`); `None`: not looked at.
    pub authorized_parties: Option<Vec<Box<str>>>,
    /// Claims that must be present and not null.
    pub required_claims: Vec<Box<str>>,
    /// Tokens that are refused although they are good.
    pub denied: DeniedTokenIds,
}

/// Which audiences are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AudienceRule {
    /// `aud` must hold one of these.
    AnyOf(Vec<Box<str>>),
    /// `aud` is not looked at (`audienceCheck: Disabled`).
    Disabled,
}

/// Where an authenticator's keys come from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JwtKeys {
    /// Fetched and cached by whoever serves the snapshot.
    Remote(KeySetId),
    /// Part of the documents.
    Inline(Arc<KeySet>),
    /// One by one in Secrets, each for one algorithm.
    Static(Arc<StaticKeys>),
    /// Referenced, and not there: everything that needs it is refused with `unavailable`.
    Missing,
}

/// Names one remote key set: two authenticators with the same issuer and location share one cache entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct KeySetId(pub Arc<str>);

impl KeySetId {
    /// The set of this issuer at this place (`None`: by discovery), behind certificates of these authorities: what one policy's bundle
    /// vouches for is not vouched for by another's.
    pub fn new(issuer: &str, jwks_uri: Option<&str>, authorities: &Authorities) -> Self {
        let mut id = format!("{issuer}\n{}", jwks_uri.unwrap_or_default());
        if let Authorities::Own(bundle) = authorities {
            id.push('\n');
            id.push_str(&bundle.digest());
        }
        Self(id.into())
    }

    /// The set of the cluster. No issuer is an empty text.
    pub fn cluster() -> Self {
        Self("\ncluster".into())
    }
}

/// How a remote key set is found and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySetSource {
    /// Its name.
    pub id: KeySetId,
    /// The issuer, exactly as configured: discovery must name the same.
    pub issuer: Arc<str>,
    /// Where the keys are; absent: found by discovery at `{issuer}/.well-known/openid-configuration`.
    pub jwks_uri: Option<Arc<str>>,
    /// How long a fetched set is fresh. It is fetched again before this ends.
    pub max_age: Duration,
    /// Who may have signed the certificates of the issuer and of that place.
    pub authorities: Authorities,
    /// Whether they are the keys of the cluster. Its API server is then asked in place of the issuer, where and as whom is known to whoever
    /// serves the snapshot, and says who the issuer is.
    pub cluster: bool,
}

/// How long keys of the cluster are fresh.
const CLUSTER_KEY_AGE: Duration = Duration::from_hours(1);

impl KeySetSource {
    /// The keys of the cluster.
    pub fn cluster() -> Self {
        Self {
            id: KeySetId::cluster(),
            // For people: the real one is learnt.
            issuer: "the Kubernetes API server".into(),
            jwks_uri: None,
            max_age: CLUSTER_KEY_AGE,
            authorities: Authorities::System,
            cluster: true,
        }
    }
}

/// First present claim wins. A name is looked up as a top-level member first; if there is none and it holds dots, as a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimMapping {
    /// The claim of the stable id; `None`: the subject, whatever it is mapped from.
    pub stable_id: Option<Box<str>>,
    /// Candidates for the subject.
    pub subject: Vec<Box<str>>,
    /// Candidates for the e-mail address.
    pub email: Vec<Box<str>>,
    /// Candidates for the display name.
    pub name: Vec<Box<str>>,
    /// Candidates for the roles.
    pub roles: Vec<Box<str>>,
    /// Candidates for the scopes.
    pub scopes: Vec<Box<str>>,
}

/// Rules about the person behind a verified credential; e-mail address or domain, whichever matches first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IdentityRequirements {
    /// `email_verified` must be the boolean true.
    pub verified_email: bool,
    /// Accepted addresses, lower case.
    pub emails: Vec<Box<str>>,
    /// Accepted domains, lower case.
    pub domains: Vec<Box<str>>,
}

impl IdentityRequirements {
    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        !self.verified_email && self.emails.is_empty() && self.domains.is_empty()
    }
}
