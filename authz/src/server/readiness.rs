//! Readiness by guard: whoever holds a [`Pending`] keeps the process unready, by name. Nothing can forget to flip a flag.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

/// What the process still waits for.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<String>>>,
}

/// Something that is not ready yet; dropping it makes it ready.
#[derive(Debug)]
pub struct Pending {
    name: String,
    readiness: Readiness,
}

// === impl Readiness ===

impl Readiness {
    /// Registers something to wait for.
    #[must_use]
    pub fn wait_for(&self, name: impl Into<String>) -> Pending {
        let name = name.into();
        self.pending.lock().insert(name.clone());
        Pending { name, readiness: self.clone() }
    }

    /// Names of what is missing; empty: ready.
    pub fn missing(&self) -> Vec<String> {
        self.pending.lock().iter().cloned().collect()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.readiness.pending.lock().remove(&self.name);
    }
}
