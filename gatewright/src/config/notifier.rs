//! What the file system tells: that something happened, and which files somebody has open for writing.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
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

/// Files that were written to and not closed since, as far as the file system told: where they really are.
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
    /// Whether somebody has the file of this canonical path open for writing.
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
        if event.need_rescan() {
            // Events were lost, and the end of a writer may be among them: its file would count as being written for ever.
            self.with(HashSet::clear);
            return true;
        }
        let documents =
            || -> Vec<PathBuf> { event.paths.iter().filter(|path| is_document(path)).map(|path| real(path)).collect() };
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                let written = documents();
                self.with(|files| files.extend(written));
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                let closed = documents();
                // A file whose folder is gone too has no real path any more.
                self.with(|files| files.retain(|file| !closed.contains(file) && file.exists()));
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

/// Where a file is that the file system tells of. A folder that is watched by several paths is told of by one of them only.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use notify::event::{DataChange, Flag, RemoveKind};
    use tempfile::TempDir;

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    /// A document, and the same by a link to its folder and by a way round.
    fn paths(home: &TempDir) -> [PathBuf; 3] {
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir(home.join("real")).unwrap();
        symlink(home.join("real"), home.join("link")).unwrap();
        fs::write(home.join("real/one.yaml"), "").unwrap();
        [home.join("real/one.yaml"), home.join("link/one.yaml"), home.join("link/../real/one.yaml")]
    }

    fn event(kind: EventKind, path: &Path) -> Event {
        Event::new(kind).add_path(path.to_owned())
    }

    #[test]
    fn a_writer_is_known_by_whatever_path_its_folder_is_watched() {
        let home = tempfile::tempdir().unwrap();
        let all = paths(&home);
        let (canonical, writers) = (&all[0], Writers::default());
        for begins in &all {
            for ends in &all {
                for end in [CLOSED, EventKind::Remove(RemoveKind::File)] {
                    assert!(writers.note(&event(WRITTEN, begins)));
                    assert!(writers.hold(canonical) && writers.busy(), "{}", begins.display());
                    assert!(writers.note(&event(end, ends)));
                    assert!(!writers.hold(canonical) && !writers.busy(), "{}", ends.display());
                }
            }
        }
    }

    #[test]
    fn a_writer_whose_folder_goes_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let [canonical, link, _] = paths(&home);
        let writers = Writers::default();
        writers.note(&event(WRITTEN, &link));
        fs::remove_dir_all(canonical.parent().unwrap()).unwrap();
        writers.note(&event(EventKind::Remove(RemoveKind::File), &link));
        assert!(!writers.hold(&canonical));
    }

    #[test]
    fn after_lost_events_nobody_counts_as_writing() {
        let home = tempfile::tempdir().unwrap();
        let [canonical, ..] = paths(&home);
        let writers = Writers::default();
        writers.note(&event(WRITTEN, &canonical));
        assert!(writers.hold(&canonical));
        assert!(writers.note(&Event::new(EventKind::Other).set_flag(Flag::Rescan)), "a reason to look");
        assert!(!writers.hold(&canonical) && !writers.busy());
    }
}
