//! When API keys were used last, in the data folder: a file of Secret documents, as an operator would write them.
//!
//! A file that cannot be read or written costs what it would have told, never a request.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use authz::uses::Ledger;
use crds::{
    api_keys::{self, USES_ENTRY, Uses},
    documents::Objects,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// The file, which `gatewright apikey list` reads.
const FILE: &str = "last-used.json";
/// Keys that were not used for longer are forgotten: none lives that long.
const FORGOTTEN: i64 = 400 * 24 * 3600;

/// The file and what it holds.
pub(super) struct Keeper {
    path: PathBuf,
    ledger: Arc<Ledger>,
    kept: Uses,
    from: u32,
}

// === impl Keeper ===

impl Keeper {
    /// Begins with what the file holds.
    pub(super) fn open(data_dir: &Path, ledger: Arc<Ledger>) -> Self {
        let path = data_dir.join(FILE);
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => read(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Uses::default(),
            Err(error) => {
                warn!(%error, path = %path.display(), "the last use of API keys cannot be read and begins anew");
                Uses::default()
            }
        };
        Self { path, ledger, kept, from: 0 }
    }

    /// Writes what is new, `every` so often. For ever.
    pub(super) async fn run(keeper: Arc<tokio::sync::Mutex<Self>>, every: Duration) -> io::Result<()> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            Self::write(keeper.clone()).await;
        }
    }

    /// Writes what is new now.
    pub(super) async fn write(keeper: Arc<tokio::sync::Mutex<Self>>) {
        let mut keeper = keeper.lock_owned().await;
        // A slow disk is not for a thread that others wait for; a panic there loses one write.
        let _ = tokio::task::spawn_blocking(move || keeper.write_now(Timestamp::now().as_second())).await;
    }

    fn write_now(&mut self, now_s: i64) {
        let (new, next) = self.ledger.since(self.from);
        if new.is_empty() {
            return;
        }
        new.iter().for_each(|(namespace, times)| self.kept.merge(namespace, times.clone()));
        self.kept.forget_before(now_s - FORGOTTEN);
        match self.replace() {
            Ok(()) => {
                self.from = next;
                // It is in `kept` from now on.
                self.ledger.forget_before(u32::try_from(now_s).unwrap_or(0));
            }
            Err(error) => {
                warn!(%error, path = %self.path.display(), "the last use of API keys is not kept yet; trying again");
            }
        }
    }

    fn replace(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".last-used").tempfile_in(folder)?;
        file.write_all(documents(&self.kept).to_string().as_bytes())?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

fn documents(uses: &Uses) -> serde_json::Value {
    let secret = |namespace: &str, part: usize, text: String| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": api_keys::uses_secret(part), "namespace": namespace},
            "stringData": {USES_ENTRY: text}})
    };
    let secrets = uses.iter().flat_map(|(namespace, times)| {
        let parts = api_keys::pack_uses(times).into_iter().enumerate();
        parts.map(move |(part, text)| secret(namespace, part, text))
    });
    json!({"apiVersion": "v1", "kind": "List", "items": secrets.collect::<Vec<_>>()})
}

fn read(path: &Path, text: &str) -> Uses {
    let mut objects = Objects::default();
    objects.read(&path.display().to_string(), text);
    if let Some(unreadable) = objects.unreadable.first() {
        warn!(%unreadable, "the last use of API keys cannot be read and begins anew");
    }
    Uses::of_secrets(&objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_survive_a_restart_and_the_newest_counts() {
        let folder = tempfile::tempdir().unwrap();
        let id = api_keys::KeyId::of_entry(&"7".repeat(32)).unwrap();
        let open = || {
            let ledger = Arc::new(Ledger::default());
            (Keeper::open(folder.path(), ledger.clone()), ledger)
        };
        let (mut keeper, ledger) = open();
        keeper.write_now(2_000);
        assert!(!folder.path().join(FILE).exists(), "nothing to say");
        ledger.note("shop", id, 1_000);
        keeper.write_now(2_000);
        let (mut keeper, ledger) = open();
        assert_eq!(keeper.kept.of("shop", id), Some(1_000));
        ledger.note("shop", id, 900);
        ledger.note("blog", id, 1_900);
        keeper.write_now(2_000);
        let kept = open().0.kept;
        assert_eq!((kept.of("shop", id), kept.of("blog", id)), (Some(1_000), Some(1_900)));
        // A folder that takes no file keeps what it could not write for the next time.
        let (mut keeper, ledger) = open();
        ledger.note("shop", id, 3_000);
        keeper.path = folder.path().join("missing").join(FILE);
        keeper.write_now(3_001);
        keeper.path = folder.path().join(FILE);
        keeper.write_now(3_001);
        assert_eq!(open().0.kept.of("shop", id), Some(3_000));
    }

    #[test]
    fn a_spoilt_file_costs_what_it_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Keeper::open(folder.path(), Arc::new(Ledger::default())).kept.is_empty());
    }
}
