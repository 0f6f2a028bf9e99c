//! Lists and watches of the API server, as changes.
//!
//! ```text
//!  list (pages) ─► Change::All ─► watch ─► Change::Put, Change::Gone … ─► (410, silence, errors) ─► list …
//! ```
//!
//! Owns the resource version and everything that can go wrong on the wire. An error is never a change: whoever listens keeps what it
//! has until a whole new list says otherwise. Objects are JSON: one that cannot be read spoils nobody else's list. Must never decide,
//! and never compare resource versions: after a restore of etcd they run backwards.

mod backoff;
mod call;
mod driver;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use backoff::Backoff;
pub use call::{Call, CallError};
pub(crate) use driver::encoded;
pub use driver::follow;

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its name in metrics and messages, such as `authpolicies`.
    pub kind: &'static str,
    /// The collection's path, such as `/apis/gatewright.dev/v1alpha1/authpolicies`.
    pub path: String,
    /// Whether metadata is enough: content stays in the API server.
    pub metadata_only: bool,
    /// A label selector, or empty.
    pub labels: String,
}

/// What happened to the objects of a source.
#[derive(Debug, Clone)]
pub enum Change {
    /// These are all there are.
    All(Vec<Value>),
    /// This one is new or changed.
    Put(Value),
    /// This one is gone.
    Gone(Value),
    /// Nothing is known at the moment; what was told before stays. Told once per kind of trouble.
    Trouble(String),
    /// Everything is well again.
    Well,
}
