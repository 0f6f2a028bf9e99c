//! Noticing edits: woken by the file system, checked by looking, read only when nobody is writing.
//!
//! A file read in the middle of a write could be a valid, laxer policy. So a change is read only after two equal looks, and, where
//! the file system tells, after every writer has closed.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crds::documents::Objects;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{sync::watch, task::spawn_blocking, time};
use tracing::{error, warn};

use super::{ConfigError, Listing};

/// Two looks this far apart must agree before a change is read.
const SETTLE: Duration = Duration::from_millis(60);
/// A look without being woken: for file systems that do not tell, and links that point elsewhere.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for a writer that never closes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches paths.
pub(crate) struct Watch {
    paths: Arc<[PathBuf]>,
    applied: Listing,
    woken: watch::Receiver<u64>,
    writers: Arc<writers::Writers>,
    /// Dropping it ends the notifications.
    _notifier: Option<RecommendedWatcher>,
    failing: bool,
}

mod writers {
    //! Files that somebody has open for writing, as far as the file system told.

    use std::{collections::HashSet, path::PathBuf, sync::Mutex};

    #[derive(Default)]
    pub(super) struct Writers(Mutex<HashSet<PathBuf>>);

    impl Writers {
        /// A poisoned set is as good as any: it holds paths only.
        pub(super) fn with<T>(&self, act: impl FnOnce(&mut HashSet<PathBuf>) -> T) -> T {
            act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Watches from `applied` on, which was read already.
    pub(crate) fn start(paths: &[PathBuf], applied: Listing) -> Self {
        let (wake, woken) = watch::channel(0_u64);
        let writers = Arc::new(writers::Writers::default());
        let told = writers.clone();
        let notified = move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                told.with(|writers| note(writers, &event));
            }
            wake.send_modify(|count| *count = count.wrapping_add(1));
        };
        let notifier = notify::recommended_watcher(notified).and_then(|mut notifier| {
            for path in paths {
                // A file is watched by its folder: editors and ConfigMap volumes put a new file in its place.
                if path.is_dir() {
                    notifier.watch(path, RecursiveMode::Recursive)?;
                } else {
                    let folder = path.parent().filter(|one| !one.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    notifier.watch(folder, RecursiveMode::NonRecursive)?;
                }
            }
            Ok(notifier)
        });
        let notifier = notifier
            .map_err(|error| warn!(%error, "the file system does not tell about edits; looking twice a second instead"))
            .ok();
        Self { paths: paths.into(), applied, woken, writers, _notifier: notifier, failing: false }
    }

    /// The next policy set. Never ends, never returns half an edit; a folder that cannot be read changes nothing.
    pub(crate) async fn next(&mut self) -> Objects {
        loop {
            let _ = time::timeout(LOOK, self.woken.changed()).await;
            let Some(listing) = self.look().await else { continue };
            if listing == self.applied {
                continue;
            }
            let Some(settled) = self.settle(listing).await else { continue };
            let reading = settled.clone();
            let Ok(objects) = spawn_blocking(move || reading.read()).await else { continue };
            // Changed while it was read: what was read may be a mixture.
            if self.look().await.as_ref() == Some(&settled) {
                self.applied = settled;
                return objects;
            }
        }
    }

    async fn look(&mut self) -> Option<Listing> {
        let paths = self.paths.clone();
        let applied = self.applied.clone();
        let looked = spawn_blocking(move || applied.again(&paths)).await.ok()?;
        match looked {
            Ok(listing) => {
                self.failing = false;
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

    async fn settle(&mut self, mut listing: Listing) -> Option<Listing> {
        let patience = time::Instant::now() + PATIENCE;
        loop {
            time::sleep(SETTLE).await;
            let again = self.look().await?;
            let writing = self.writers.with(|writers| {
                writers.retain(|path| path.exists());
                !writers.is_empty()
            });
            if again == listing && (!writing || time::Instant::now() > patience) {
                self.writers.with(HashSet::clear);
                return Some(listing);
            }
            listing = again;
        }
    }
}

fn note(writers: &mut HashSet<PathBuf>, event: &Event) {
    let documents = event.paths.iter().filter(|path| super::is_document(path));
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => writers.extend(documents.cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => documents.for_each(|path| {
            writers.remove(path);
        }),
        _ => {}
    }
}
