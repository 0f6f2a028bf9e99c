//! The compiled form of a policy set: immutable, complete, ready to be read on every request.
//!
//! Owns the shapes that enforcement, `explain` and `/config_dump` read. Holds no lock, does no IO and never fails a lookup with a
//! panic. Secrets inside are of type [`crate::secret::Secret`], which neither serialises nor prints.

mod api_key;
mod authenticator;
mod denied;
mod forward;
mod hosts;
mod rules;

pub use api_key::ApiKey;
pub use authenticator::{
    AudienceRule, Authenticator, AuthenticatorKind, ClaimMapping, IdentityRequirements, Jwt, JwtKeys, KeySetId, KeySetSource,
};
pub use denied::{DeniedList, DeniedTokenIds};
pub use forward::{CredentialForwarding, Forward, HeaderValueSource, HmacHeader, IdentityHeader, MappedHeader, OwnedNames};
pub use hosts::{Entry, Held, InForce, Snapshot, SnapshotBuilder};
pub use rules::{
    Access, AllowedOrigins, ErrorProfile, Errors, Internal, InvalidCredential, Policy, Requirement, Route, Rules, Source, SourceKind,
    Unmatched, Upgrade,
};
