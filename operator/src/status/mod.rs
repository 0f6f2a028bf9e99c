//! Phase 5: statuses and Events, written by the leader alone, and only where they say something new.
//!
//! Owns the comparison with what an object says already, the pace, and what becomes of a failed write. Must never write while somebody
//! else may lead, and never twice for one reason.

mod document;
mod events;
mod pace;
#[cfg(test)]
mod paces;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::BTreeMap, sync::Arc};

use crds::documents::Kind;

pub use events::{EventSink, KubeEvents, Transition};
pub use writer::{Statuses, Writer};

use crate::reconcile::Desired;

/// Whether this process may write now. Asked before each write, by whoever leads.
pub trait Gate: Send + Sync {
    /// Whether the lease is ours, by our own clock, for long enough to finish a write.
    fn may_write(&self) -> bool;
}

/// What shall be said, by kind and name.
pub(crate) type Wanted = BTreeMap<(Kind, Arc<str>), Desired>;
