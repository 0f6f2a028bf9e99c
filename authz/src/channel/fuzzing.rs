//! What the fuzz targets call of the channel. Exists under `--cfg fuzzing` only, and adds nothing.

use std::sync::Arc;

use crds::snapshot::Snapshot;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prost::Message;

use super::{
    held::{Held, Refusal},
    wire,
};

/// A data plane without socket, clock and file.
#[derive(Debug, Default)]
pub struct Plane(Held);

// === impl Plane ===

impl Plane {
    /// A new stream.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// One message; `None`: the bytes are none. `Some(Ok(Some(_)))`: it ended a change, which is in force now.
    pub fn take(&mut self, message: &[u8]) -> Option<Result<Option<Snapshot>, Refusal>> {
        let message = wire::read(DeltaDiscoveryResponse::decode(message).ok()?);
        let applied = self.0.take(message.incoming, message.removed);
        Some(applied.map(|applied| applied.map(|applied| applied.snapshot)))
    }

    /// The highest leadership that was believed.
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// Names and texts of what is in force.
    pub fn resources(&self) -> Vec<(String, Arc<str>)> {
        self.0.resources().map(|(name, kept)| (name.to_string(), kept.text.clone())).collect()
    }
}
