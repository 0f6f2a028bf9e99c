//! The data folder: what a restart needs. A folder that cannot be used costs the memory of a restart, never a decision.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crds::compile::LastGood;
use tracing::{info, warn};

/// A folder for state, or none.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: Option<PathBuf>,
    /// Held as long as the process lives: two processes would undo each other's files.
    _lock: Option<File>,
}

const LAST_GOOD: &str = "last-good.json";
const LOCK: &str = "lock";

// === impl DataDir ===

impl DataDir {
    /// Opens or makes it, readable by its owner only. One that can be read and not written still gives what it holds.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let none = Self { path: None, _lock: None };
        let Some(path) = path else {
            warn!("no data folder: last good versions and keys do not survive a restart; give --data-dir");
            return none;
        };
        let shown = path.display().to_string();
        match lock(&path) {
            Ok(lock) => {
                info!(path = shown, "data folder");
                Self { path: Some(path), _lock: Some(lock) }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                warn!(
                    path = shown,
                    "another process uses this data folder, so this one does without; give it its own with --data-dir"
                );
                none
            }
            Err(error) if path.is_dir() => {
                warn!(%error, path = shown, "the data folder cannot be written: what happens from now on does not survive a restart");
                Self { path: Some(path), _lock: None }
            }
            Err(error) => {
                warn!(%error, path = shown, "the data folder cannot be used: last good versions and keys do not survive a restart");
                none
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What was in force when the process ended. A file that cannot be read counts as none.
    pub(crate) fn last_good(&self) -> LastGood {
        let Some(path) = self.path.as_ref().map(|path| path.join(LAST_GOOD)) else { return LastGood::default() };
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            warn!(path = %path.display(), "the last good versions are no file and are forgotten");
            return LastGood::default();
        }
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
    pub(crate) fn keep(&self, last_good: &LastGood) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = serde_json::to_vec(last_good)?;
        let mut file = tempfile::Builder::new().prefix(".last-good").tempfile_in(path)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path.join(LAST_GOOD)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn lock(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK))?;
    lock.try_lock().map_err(io::Error::from)?;
    Ok(lock)
}
