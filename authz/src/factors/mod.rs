//! Codes that were used, and how often somebody was wrong: what a decision cannot know from the request.
//!
//! Owns the shape of an attempt and the store in this process. Decisions are made anew when they waited, and a code is good once: so an
//! attempt is a [`Need`](crate::decide::Need) of the decision, made once by whoever asked for it, and what came of it is read from there.
//! Never sees a code or a secret.

mod local;

use aws_lc_rs::digest::{Context, SHA256};

pub use local::LocalFactors;

/// Wrong codes that one person may send in [`FAILURE_WINDOW_MS`].
pub const MAX_FAILURES: u32 = 5;
/// Five minutes, from the first wrong code.
pub const FAILURE_WINDOW_MS: i64 = 300_000;

/// A code was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Whose it would be.
    pub holder: Holder,
    /// The step it belongs to, if it is right.
    pub step: Option<u64>,
}

/// One shared secret, whoever reads it: SHA-256 over the place where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder([u8; 32]);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// It was right, and is used up now.
    Accepted,
    /// It was wrong, or used before; that counts as a failure.
    Refused,
    /// Too many were wrong: it was not looked at.
    Locked {
        /// When codes are looked at again, in milliseconds since the Unix epoch.
        until_ms: i64,
    },
    /// Whether it was used before could not be found out.
    Unknown,
}

// === impl Redeemed ===

impl Redeemed {
    /// The two of them together: what this process has seen, and what a store has that all share. A store that has lost its memory, or is
    /// asked by others in another way, makes nothing good that was used here.
    #[must_use]
    pub fn and(self, shared: Self) -> Self {
        match (self, shared) {
            (Self::Locked { until_ms }, _) | (_, Self::Locked { until_ms }) => Self::Locked { until_ms },
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Accepted, Self::Accepted) => Self::Accepted,
        }
    }
}

// === impl Holder ===

impl Holder {
    /// In hex, as the name of an entry.
    pub fn hex(&self) -> String {
        crds::digest::hex(&self.0)
    }

    /// The holder of the entry `entry` of the Secret `namespace/name`.
    pub fn of(secret: &str, entry: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [secret, entry] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Self(crds::digest::array(&context.finish()))
    }
}
