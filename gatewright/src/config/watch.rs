//! Noticing edits: woken by the file system, checked by looking, read only when nobody is writing.
//!
//! A file read in the middle of a write could be a valid, laxer policy. So a change is read after two equal looks, a file that
//! somebody still has open for writing counts as unreadable (its last good objects stay), and so does one that changed while it was
//! read. One busy file does not hold up the others.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crds::documents::{Memo, Objects};
use tokio::{sync::watch, task::spawn_blocking, time};
use tracing::error;

use super::{
    ConfigError, Listing,
    notifier::{Notifier, Writers},
};
use crate::worker::{self, Gone};

/// Two looks this far apart must agree before a change is read.
const SETTLE: Duration = Duration::from_millis(60);
/// A look without being woken: for file systems that do not tell.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for everything to agree; what still moves then is left out, file by file.
const PATIENCE: Duration = Duration::from_millis(600);

/// Watches paths.
pub(crate) struct Watch {
    paths: Arc<[PathBuf]>,
    applied: Listing,
    woken: watch::Receiver<u64>,
    notifier: Notifier,
    writers: Arc<Writers>,
    failing: bool,
    memo: Memo,
}

// === impl Watch ===

impl Watch {
    /// Reads the policy set for the first time and watches it from then on. Paths that are not there are an error now, and an
    /// outage later.
    pub(crate) async fn start(paths: &[PathBuf]) -> Result<(Self, Objects), ConfigError> {
        let (notifier, woken) = Notifier::new();
        let writers = notifier.writers();
        let (applied, memo) = (Listing::default(), Memo::default());
        let mut watch = Self { paths: paths.into(), applied, woken, notifier, writers, failing: false, memo };
        let listing = Listing::of(paths)?;
        watch.notifier.arm(listing.folders());
        let listing = watch.settle(listing).await.map_or_else(|| Listing::of(paths), Ok)?;
        let objects = watch.read(listing).await?;
        Ok((watch, objects))
    }

    /// The next policy set. A folder that cannot be read changes nothing.
    pub(crate) async fn next(&mut self) -> Result<Objects, Gone> {
        loop {
            let _ = time::timeout(LOOK, self.woken.changed()).await;
            let Some(listing) = self.look().await else { continue };
            if listing == self.applied {
                continue;
            }
            let Some(settled) = self.settle(listing).await else { continue };
            return self.read(settled).await;
        }
    }

    async fn read(&mut self, listing: Listing) -> Result<Objects, Gone> {
        let (writers, mut memo) = (self.writers.clone(), std::mem::take(&mut self.memo));
        let reading = move || (listing.read(&mut memo, |path| writers.hold(path)), memo);
        let ((objects, read), memo) = worker::run(reading).await?;
        (self.applied, self.memo) = (read, memo);
        Ok(objects)
    }

    async fn look(&mut self) -> Option<Listing> {
        let (paths, applied) = (self.paths.clone(), self.applied.clone());
        let looked = spawn_blocking(move || applied.again(&paths)).await.ok()?;
        match looked {
            Ok(listing) => {
                self.failing = false;
                self.notifier.arm(listing.folders());
                Some(listing)
            }
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }

    /// Once per outage, not twice a second.
    fn complain(&mut self, error: &ConfigError) {
        if !self.failing {
            error!(%error, "the configuration cannot be read; what is in force stays in force");
        }
        self.failing = true;
    }

    /// Two equal looks with nobody writing, or the newest look when patience ends.
    async fn settle(&mut self, mut listing: Listing) -> Option<Listing> {
        let patience = time::Instant::now() + PATIENCE;
        loop {
            time::sleep(SETTLE).await;
            let again = self.look().await?;
            let settled = again == listing && !self.writers.busy();
            if settled || time::Instant::now() > patience {
                return Some(again);
            }
            listing = again;
        }
    }
}
