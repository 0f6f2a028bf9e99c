//! The Gatewright API, and the pure step that compiles it.
//!
//! ```text
//!   text ──► documents ──► schema + rules ──► compile ──► snapshot + verdicts
//!            (identity)    (what kubectl       (one policy  (what authz reads,
//!                           apply refuses)      at a time)   what status says)
//! ```
//!
//! Invariants
//! - No IO, no clock, no runtime, no client: everything here is a function of its arguments.
//! - A bad object rejects only itself; its last good version stays in force.
//! - A field that is accepted is enforced; one that is not built makes its object `Unsupported`.
//! - A value of type [`secret::Secret`] neither prints nor serialises.

pub mod algorithm;
pub mod api_keys;
pub mod code;
pub mod compile;
pub mod digest;
pub mod documents;
pub mod expr;
pub mod hosts;
pub mod keys;
pub mod origin;
pub mod paths;
pub mod push;
pub mod roles;
pub mod schema;
pub mod secret;
pub mod signing;
pub mod snapshot;
pub mod totp;
pub mod v1alpha1;
