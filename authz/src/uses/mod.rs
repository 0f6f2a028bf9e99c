//! When API keys were used last: which key a good credential is, and the ledger that its uses are noted in.
//!
//! ```text
//!  decide ─► Proven.used ─► Ledger ─► what is new ─► whoever keeps it: a file, or an operator
//! ```
//!
//! Only keys that were found good are noted, so nobody can fill the ledger with guesses. Must never hold a key, nor have a request wait
//! for whoever reads the ledger.

#[cfg(feature = "server")]
mod ledger;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crds::api_keys::KeyId;

#[cfg(feature = "server")]
pub use ledger::Ledger;

/// How exact a last use is, in seconds: within this time a key that is remembered as good is noted once.
const EVERY_S: u32 = 60;
/// How long what was told, or heard, of uses is remembered, in seconds. A leader writes every hour: by then it has, or another was told.
pub const REMEMBERED_S: u32 = 3 * 3600;

/// The API key that a credential is, and when its use was noted.
#[derive(Debug)]
pub struct KeyUse {
    id: KeyId,
    noted_s: AtomicU32,
}

/// Seconds since 1970.
pub fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

// === impl KeyUse ===

impl KeyUse {
    /// Not noted yet.
    pub const fn new(id: KeyId) -> Self {
        Self { id, noted_s: AtomicU32::new(0) }
    }

    /// The key, if its use is to be noted now, in seconds since 1970: a request in between costs one load.
    pub fn due(&self, now_s: u32) -> Option<KeyId> {
        let noted = self.noted_s.load(Ordering::Relaxed);
        // A clock that was set back is a new time too.
        if noted != 0 && now_s.abs_diff(noted) < EVERY_S {
            return None;
        }
        self.noted_s.store(now_s, Ordering::Relaxed);
        Some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let used = KeyUse::new(KeyId::of_entry(&"0".repeat(32)).unwrap());
        let noted: Vec<u32> = [1000, 1001, 1059, 1060, 1061, 900, 901, 4_000_000_000]
            .into_iter()
            .filter(|now| used.due(*now).is_some())
            .collect();
        assert_eq!(noted, [1000, 1060, 900, 4_000_000_000]);
    }
}
