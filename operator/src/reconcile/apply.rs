//! Phase 4: the state to every data plane.

use std::{sync::Arc, time::Duration};

use crds::{documents::Objects, push::Pushed};
use tokio::time::Instant;

use super::Validated;
use crate::push::{Push, Standings};

/// Hands a state to the data planes, and knows how far it has come.
pub trait Sink: Send {
    /// Never waits. The number that this state has.
    fn publish(&self, pushed: Vec<Pushed>, objects: Arc<Objects>) -> u64;
    /// The number of the state that [`Sink::standings`] speaks of.
    fn published(&self) -> u64;
    /// When to begin with a state that takes so long to work out.
    fn begin(&self, takes: Duration) -> Instant;
    /// How far each policy has come.
    fn standings(&self) -> Standings;
}

impl Sink for Push {
    fn publish(&self, pushed: Vec<Pushed>, objects: Arc<Objects>) -> u64 {
        Self::publish(self, pushed, objects)
    }

    fn published(&self) -> u64 {
        Self::published(self)
    }

    fn begin(&self, takes: Duration) -> Instant {
        Self::begin(self, takes)
    }

    fn standings(&self) -> Standings {
        Self::standings(self)
    }
}

/// Applies it.
pub(super) fn apply(sink: &impl Sink, validated: &Validated) -> u64 {
    sink.publish(validated.pushed().to_vec(), validated.objects())
}
