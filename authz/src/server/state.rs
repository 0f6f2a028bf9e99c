//! The snapshot in force. One writer; readers load it once per request and keep what they loaded to the end.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use crds::snapshot::Snapshot;

/// Holds the snapshot that requests are decided by.
#[derive(Debug, Default)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
}

impl SnapshotCell {
    /// The snapshot in force.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a snapshot in force, as a whole.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How many snapshots were put in force since the start.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}
