//! What the decision needs to know of remote keys. The trait lives with its user; the cache that fetches implements it.

use std::sync::Arc;

use crds::{keys::KeySet, snapshot::KeySetId};

/// Reads the state of key sets: lock-free, at once, never a fetch.
pub trait KeyStore: Send + Sync {
    /// The state of one set. An unknown id is a set that was never loaded.
    fn state(&self, id: &KeySetId) -> KeyState;
}

/// One remote key set as it is now.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    /// The keys in force: fresh, or stale within the stated bound.
    pub keys: Option<Arc<KeySet>>,
    /// Whether waiting can help: a fetch runs, or one for an unknown `kid` may start now.
    pub refreshable: bool,
    /// Whether the newest attempt to fetch failed: an unknown key is then our failure, not the client's.
    pub failing: bool,
    /// Who signs with these keys, where that is learnt with them and not configured.
    pub issuer: Option<Arc<str>>,
}
