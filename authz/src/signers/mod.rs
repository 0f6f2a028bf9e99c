//! Keys of our own that sign tokens for upstreams. Owns the trait that the decision reads; behind the feature `server` also the keys: how
//! they are made, turned and published.

#[cfg(feature = "server")]
mod disk;
#[cfg(feature = "server")]
mod generate;
#[cfg(feature = "server")]
mod own;
#[cfg(feature = "server")]
mod ring;

use std::sync::Arc;

use crds::{signing::SigningKey, v1alpha1::SigningAlgorithm};

#[cfg(feature = "server")]
pub use own::OwnKeys;
#[cfg(feature = "server")]
pub use ring::Rings;

/// A key that signs now.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The key, under its `kid`.
    pub key: Arc<SigningKey>,
    /// The `iss` of what it signs: where its public half is found.
    pub issuer: Arc<str>,
}

/// Reads the keys: lock-free, at once.
pub trait SignerStore: Send + Sync {
    /// The key that signs at this moment; `None`: there is none yet, or this process has none of its own.
    fn current(&self, algorithm: SigningAlgorithm, now_ms: i64) -> Option<Signer>;
}

/// Whoever has no keys of his own.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKeys;

impl SignerStore for NoKeys {
    fn current(&self, _: SigningAlgorithm, _: i64) -> Option<Signer> {
        None
    }
}
