//! The operator: AuthPolicies and DataSources of a cluster into configuration that every data plane enforces.
//!
//! ```text
//!  watch ─► reconcile ─► push ══► authz
//!              │  └────► status (the leader)
//!              └───────► last good versions (the leader)          push ─► usage: last uses of API keys (the leader)
//! ```
//!
//! `docs/operator.md` is the design. Must never decide a request, and never hold more of the cluster than policies name.

mod api;
pub mod bundle;
pub mod definitions;
pub mod denied;
pub mod identity;
pub mod last_good;
pub mod leader;
pub mod owner;
pub mod push;
pub mod reconcile;
pub mod run;
pub mod seal;
pub mod signing;
pub mod status;
pub mod trouble;
pub mod usage;
pub mod watch;
