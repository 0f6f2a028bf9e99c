//! The ext_authz gRPC server: everything between a socket and the decision.
//!
//! Owns Envoy's types, deadlines, load shedding, drain and the admin listener. Must never decide: it asks [`crate::decide`].

mod accept;
mod admin;
mod audit;
mod calls;
mod check;
mod connections;
mod deadline;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http1;
mod http2;
mod latency;
mod listen;
mod log;
mod metrics;
mod observe;
mod peers;
mod publish;
#[cfg(test)]
mod races;
mod readiness;
mod reports;
mod request;
mod response;
mod state;
mod strangers;
mod unfinished;
mod untaken;
mod waits;
mod wire;
mod writer;

pub use accept::Accepted;
pub(crate) use accept::tcp as accept_tcp;
pub use admin::{Admin, AdminListener, Dump, LogLevel};
pub use audit::{Audit, Sink, Who};
pub use check::{CheckOptions, CheckService};
pub use listen::{Address, Bound, ListenError, Serving, bind, serve};
pub use metrics::{Metrics, PublishMetrics};
pub use peers::Peers;
pub use prometheus_client::registry::Registry;
pub use publish::serve_keys;
pub use readiness::{Pending, Readiness};
pub use state::SnapshotCell;
