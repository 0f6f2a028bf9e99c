//! What the file system tells: that something happened, and which files somebody has open for writing.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::watch;
use tracing::warn;

use super::listing::{Folder, is_document};

/// Watches folders, one by one: one that cannot be watched costs only its own notice.
pub(super) struct Notifier {
    watcher: Option<RecommendedWatcher>,
    armed: BTreeSet<Folder>,
    wake: watch::Sender<u64>,
    writers: Arc<Writers>,
    complained: bool,
}

/// Files that were written to and not closed since, as far as the file system told.
#[derive(Default)]
pub(super) struct Writers(Mutex<HashSet<PathBuf>>);

// === impl Notifier ===

impl Notifier {
    /// A notifier that watches nothing yet, and the receiver that it wakes.
    pub(super) fn new() -> (Self, watch::Receiver<u64>) {
        let (wake, woken) = watch::channel(0_u64);
        let writers = Arc::new(Writers::default());
        (Self { watcher: None, armed: BTreeSet::new(), wake, writers, complained: false }, woken)
    }

    /// Files being written.
    pub(super) fn writers(&self) -> Arc<Writers> {
        self.writers.clone()
    }

    /// Watches exactly these folders. A folder that was replaced is another folder, though its path is the same.
    pub(super) fn arm(&mut self, folders: &BTreeSet<Folder>) {
        if self.armed == *folders && self.watcher.is_some() {
            return;
        }
        self.armed.clone_from(folders);
        let armed = self.watcher().and_then(|mut watcher| {
            let failed = folders
                .iter()
                .filter_map(|folder| watcher.watch(&folder.path, RecursiveMode::NonRecursive).err())
                .last();
            self.watcher = Some(watcher);
            failed.map_or(Ok(()), Err)
        });
        if let Err(error) = armed
            && !self.complained
        {
            self.complained = true;
            warn!(%error, "the file system does not tell about every edit; looking twice a second as well");
        }
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let (wake, writers) = (self.wake.clone(), self.writers.clone());
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may stand for events that were lost: look.
            if event.map_or(true, |event| writers.note(&event)) {
                wake.send_modify(|count| *count = count.wrapping_add(1));
            }
        })
    }
}

// === impl Writers ===

impl Writers {
    /// Whether somebody has this file open for writing.
    pub(super) fn hold(&self, path: &Path) -> bool {
        self.with(|files| files.contains(path))
    }

    /// Whether anybody is writing. Files that are gone are nobody's.
    pub(super) fn busy(&self) -> bool {
        self.with(|files| {
            files.retain(|path| path.exists());
            !files.is_empty()
        })
    }

    /// Takes an event in; false if it is no reason to look. Our own reading is one of those.
    fn note(&self, event: &Event) -> bool {
        let documents = || event.paths.iter().filter(|path| is_document(path));
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.with(|files| files.extend(documents().cloned())),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                self.with(|files| files.retain(|file| !event.paths.contains(file)));
            }
            EventKind::Access(_) => return false,
            _ => {}
        }
        true
    }

    /// A poisoned set is as good as any: it holds paths only.
    fn with<T>(&self, act: impl FnOnce(&mut HashSet<PathBuf>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
