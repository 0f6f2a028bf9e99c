//! Keys of our own that sign tokens for upstreams: one set for the whole installation, in a sealed Secret.
//!
//! ```text
//!  policies need ─► leader: makes, turns ─► seal ─► Secret gatewright-signing-keys ─► every replica ─► push ══► our own authz
//! ```
//!
//! Owns that Secret. A key is handed out only once it is written: none signs that the next leader would not know. Must never write
//! while not leading, nor give a key to anybody but the operator's own data planes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use authz::signers::Rings;
use crds::{
    push::{OwnKey, SigningKeys},
    v1alpha1::SigningAlgorithm,
};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    identity::{Store, StoreError},
    push::Push,
    seal::{Seal, SealError},
};

/// Name of the Secret.
pub const SECRET: &str = "gatewright-signing-keys";
/// Its entry.
const ENTRY: &str = "sealed";
/// What it is sealed as.
const PURPOSE: &str = "signing keys";
/// How often the Secret is looked at: far less than the time between the publication of a key and its first use.
pub const LOOK: Duration = Duration::from_secs(30);
/// The same while a key is missing, or another replica wrote.
const RETRY: Duration = Duration::from_millis(500);
/// The same after the API server refused or did not answer.
const FAILED: Duration = Duration::from_secs(5);

/// The keys and where they are kept.
pub struct Signing {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    issuer: Arc<str>,
    push: Push,
    look: Duration,
    /// What was handed out last.
    rings: Rings,
    told: String,
    /// Whether it was told that the Secret cannot be opened.
    unreadable: bool,
}

/// Why a look changed nothing.
#[derive(Debug, thiserror::Error)]
enum SigningError {
    #[error("Secret {SECRET}: {0}")]
    Store(#[from] StoreError),
    #[error("Secret {SECRET}: {0}")]
    Seal(#[from] SealError),
    #[error("a key could not be made: {0}")]
    Key(#[from] io::Error),
    #[error("a key could not be made: the task ended")]
    Task,
}

/// What the Secret holds.
struct Found {
    keys: Vec<OwnKey>,
    rings: Rings,
}

// === impl Signing ===

impl Signing {
    /// Nothing is read yet. `issuer`: where upstreams find the public halves. `look`: how often the Secret is read.
    pub fn new(store: Arc<dyn Store>, seal: Arc<Seal>, issuer: String, push: Push, look: Duration) -> Self {
        Self {
            store,
            seal,
            issuer: issuer.into(),
            push,
            look,
            rings: Rings::default(),
            told: String::new(),
            unreadable: false,
        }
    }

    /// Looks after the keys, for ever. `may_write` says whether this process leads, right before each write.
    pub async fn run(mut self, may_write: impl Fn() -> bool) {
        let mut needed = self.push.needed_keys();
        loop {
            let wanted = needed.borrow_and_update().clone();
            let looked = self.once(&wanted, &may_write).await;
            let pause = match looked {
                Ok(()) if wanted.iter().all(|one| self.rings.has(*one)) => {
                    self.told.clear();
                    self.look
                }
                // The leader makes them in a moment, or has just written.
                Ok(()) | Err(SigningError::Store(StoreError::Conflict)) => RETRY.min(self.look),
                Err(error) => {
                    self.tell(&error);
                    FAILED.min(self.look)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // The sender is ours.
                Ok(()) = needed.changed() => {}
            }
        }
    }

    /// The same every few seconds would fill the log.
    fn tell(&mut self, error: &SigningError) {
        let text = error.to_string();
        if self.told != text {
            warn!(%error, "the signing keys could not be looked after; those in use stay");
            self.told = text;
        }
    }

    /// One look: reads, and as leader makes, turns and writes; then hands out what is in the Secret.
    async fn once(
        &mut self,
        wanted: &BTreeSet<SigningAlgorithm>,
        may_write: &impl Fn() -> bool,
    ) -> Result<(), SigningError> {
        let (found, version) = self.read().await?;
        let stored = found.as_ref().map(|found| found.keys.clone()).unwrap_or_default();
        let read = found.map(|found| found.rings);
        let rings = if may_write() {
            // What was handed out is known to upstreams: a Secret that was deleted, or restored from before, takes none of it back.
            let mut all = self.rings.clone();
            all.merge(read.unwrap_or_default());
            let all = turned(all, wanted.clone()).await?;
            let keys = all.kept();
            if keys != stored {
                // Making them may have outlasted the leadership.
                if !may_write() {
                    return Ok(());
                }
                self.write(&keys, version).await?;
            }
            all
        } else {
            read.unwrap_or_else(|| self.rings.clone())
        };
        if rings.kept() != self.rings.kept() {
            let keys = SigningKeys { issuer: self.issuer.clone(), keys: rings.kept() };
            info!(keys = keys.keys.len(), "signing keys changed");
            self.push.sign(&keys);
            self.rings = rings;
        }
        Ok(())
    }

    /// What the Secret holds, and its version. One that cannot be opened or read holds nothing that could be used: it is written anew, for
    /// tokens live an hour at most, and waiting for somebody to repair it would refuse requests for longer.
    async fn read(&mut self) -> Result<(Option<Found>, Option<String>), SigningError> {
        let Some(kept) = self.store.read(SECRET).await? else { return Ok((None, None)) };
        let sealed = kept.data.get(ENTRY).map(Vec::as_slice).unwrap_or_default();
        // The error of the parser could quote a key.
        let keys =
            self.seal.open(PURPOSE, sealed).ok().and_then(|plain| serde_json::from_slice::<Vec<OwnKey>>(&plain).ok());
        let read = keys.and_then(|keys| Some((Rings::read(&keys).ok()?, keys)));
        let is_news = read.is_none() && !self.unreadable;
        self.unreadable = read.is_none();
        if is_news {
            warn!(
                secret = SECRET,
                "the signing keys cannot be opened; the leader replaces them by those in use, or by new ones"
            );
        }
        let found = read.map(|(rings, keys)| Found { keys, rings });
        Ok((found, Some(kept.version)))
    }

    async fn write(&self, keys: &[OwnKey], version: Option<String>) -> Result<(), SigningError> {
        let plain = serde_json::to_vec(keys).map_err(io::Error::from)?;
        let data = BTreeMap::from([(ENTRY.to_owned(), self.seal.seal(PURPOSE, plain)?)]);
        self.store.write(SECRET, data, version).await?;
        Ok(())
    }
}

/// RSA takes a moment: not on a thread that others wait for.
async fn turned(mut rings: Rings, wanted: BTreeSet<SigningAlgorithm>) -> Result<Rings, SigningError> {
    let made = tokio::task::spawn_blocking(move || rings.turn(wanted, now()).map(|_| rings));
    Ok(made.await.map_err(|_| SigningError::Task)??)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}
