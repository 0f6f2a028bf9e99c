//! The compiled form of a policy set: immutable, complete, ready to be read on every request.
//!
//! Owns the shapes that enforcement, `explain` and `/config_dump` read. Holds no lock, does no IO and never fails a lookup with a
//! panic. Secrets inside are of type [`crate::secret::Secret`], which neither serialises nor prints.

mod answers;
mod api_key;
mod authenticator;
mod authorization;
mod client_certificate;
mod denied;
mod forward;
mod hosts;
mod limits;
mod remote;
mod replace;
mod rules;
mod second_factor;
mod service_account;

pub use answers::{Cors, ErrorResponse, Mode, Respond, ResponseHeaders};
pub use api_key::ApiKey;
pub use authenticator::{
    AudienceRule, Authenticator, AuthenticatorKind, ClaimMapping, IdentityRequirements, Jwt, JwtKeys, KeySetId,
    KeySetSource,
};
pub use authorization::{Authorization, EVERY_SCOPE};
pub use client_certificate::ClientCertificates;
pub use denied::{DeniedList, DeniedTokenIds};
pub(crate) use forward::canonical_name;
pub use forward::{
    CredentialForwarding, Forward, HeaderValueSource, HmacHeader, IdentityHeader, MappedHeader, OwnedNames, is_alias,
};
pub use hosts::{Entry, Held, InForce, Snapshot, SnapshotBuilder};
pub use limits::{ConnectionLimit, Limit, LimitBy, LimitId, Limits, SharedStore, StorePassword};
pub use remote::{
    Accepts, Authorities, Bundle, ClientAuthentication, ClientCertificate, Endpoint, Introspection, OAuthClient, Owner,
    Protocol, Tls, UserInfo, Webhook, WebhookAuthenticator,
};
pub use replace::{ExtraHeader, Grant, GrantKind, Granted, JwtKey, Replacement, ReplacementValue, SignedJwt};
pub use rules::{
    Access, AllowedOrigins, ErrorProfile, Errors, Internal, InvalidCredential, Owned, Policy, Requirement, Route,
    Rules, Source, SourceKind, Unmatched, Upgrade,
};
pub use second_factor::SecondFactor;
pub use service_account::ServiceAccounts;
