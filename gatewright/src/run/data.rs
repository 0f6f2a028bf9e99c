//! The data folder: what a restart needs. A folder that cannot be used costs the memory of a restart, never a decision.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crds::compile::LastGood;
use tracing::{info, warn};

/// A folder for state, or none.
#[derive(Debug)]
pub(super) struct DataDir {
    path: Option<PathBuf>,
}

const LAST_GOOD: &str = "last-good.json";

// === impl DataDir ===

impl DataDir {
    /// Opens or makes it, readable by its owner only.
    pub(super) fn open(path: Option<PathBuf>) -> Self {
        let Some(path) = path else {
            warn!("no data folder: last good versions and keys do not survive a restart; give --data-dir");
            return Self { path: None };
        };
        match make(&path) {
            Ok(()) => {
                info!(path = %path.display(), "data folder");
                Self { path: Some(path) }
            }
            Err(error) => {
                warn!(%error, path = %path.display(), "the data folder cannot be used: last good versions and keys do not survive a restart");
                Self { path: None }
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What was in force when the process ended. A file that cannot be read counts as none.
    pub(super) fn last_good(&self) -> LastGood {
        let Some(path) = self.path.as_ref().map(|path| path.join(LAST_GOOD)) else { return LastGood::default() };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(%error, path = %path.display(), "the last good versions cannot be read and are forgotten");
                LastGood::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => LastGood::default(),
            Err(error) => {
                warn!(%error, path = %path.display(), "the last good versions cannot be read and are forgotten");
                LastGood::default()
            }
        }
    }

    /// Keeps what is in force, whole or not at all.
    pub(super) fn keep(&self, last_good: &LastGood) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = serde_json::to_vec(last_good)?;
        let mut file = tempfile::Builder::new().prefix(".last-good").tempfile_in(path)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path.join(LAST_GOOD)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Tells a folder that is there and cannot be written.
    tempfile::tempfile_in(path).map(drop)
}
