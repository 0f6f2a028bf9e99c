//! The last good key sets on disk, so that a restart while an issuer is down still verifies.
//!
//! Owns `data_dir/keys`: one file per set, named by the SHA-256 of its id, replaced as a whole. Holds public keys only, and trusts
//! what it reads no further than a fetched document: every file is parsed and checked again. Never fails a fetch.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use crds::{
    keys::KeySet,
    snapshot::{KeySetId, KeySetSource},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: Arc<Path>,
    max_body: usize,
}

/// One file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    id: String,
    issuer: String,
    jwks_uri: String,
    /// In seconds since 1970, by the wall clock.
    fetched_at: u64,
    /// The document as it was fetched.
    jwks: String,
    /// Which of several writes is the newest; of this process only.
    #[serde(skip)]
    ticket: u64,
}

/// What a file gave.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) set: KeySet,
    pub(super) location: Url,
    pub(super) issuer: Arc<str>,
    pub(super) age: Duration,
}

/// Orders the writes of one slot and ends them: without it, a write that overlaps with the removal of its set, or with a newer
/// write, could win. Its lock is held over one rename, and only writers of the same file want it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    next: AtomicU64,
    /// The last ticket that was written; `None`: shut.
    written: Mutex<Written>,
}

#[derive(Debug)]
enum Written {
    Last(u64),
    Shut,
}

// === impl Gate ===

impl Gate {
    /// A ticket higher than all before.
    pub(super) fn ticket(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets nothing through any more. When this returns, no write is under way that could still reach the file.
    pub(super) fn shut(&self) {
        *self.written.lock() = Written::Shut;
    }

    fn pass(&self, ticket: u64, publish: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        let mut written = self.written.lock();
        match *written {
            Written::Last(last) if last < ticket => {
                publish()?;
                *written = Written::Last(ticket);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl Default for Written {
    fn default() -> Self {
        Self::Last(0)
    }
}

// === impl Record ===

impl Record {
    pub(super) fn new(
        source: &KeySetSource,
        issuer: &str,
        location: &Url,
        now: SystemTime,
        body: Vec<u8>,
        ticket: u64,
    ) -> Self {
        Self {
            id: source.id.0.to_string(),
            issuer: issuer.to_owned(),
            jwks_uri: location.to_string(),
            fetched_at: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            // It was parsed as JSON, which is UTF-8.
            jwks: String::from_utf8(body).unwrap_or_default(),
            ticket,
        }
    }

    fn is_of(&self, source: &KeySetSource) -> bool {
        let location = source.jwks_uri.as_deref().map(Url::parse);
        let same = location.is_none_or(|url| url.is_ok_and(|url| url.as_str() == self.jwks_uri));
        // The cluster's own is learnt.
        let ours = source.cluster || self.issuer == *source.issuer;
        same && ours && self.id == *source.id.0
    }
}

// === impl Store ===

impl Store {
    pub(super) fn new(data_dir: &Path, max_body: usize) -> Self {
        Self { dir: data_dir.join("keys").into(), max_body }
    }

    /// The last good keys of a source, if there are any that can still be used. A file that makes no sense is only worth a warning.
    pub(super) fn load(&self, source: &KeySetSource, now: SystemTime) -> Option<Restored> {
        let path = self.path(&source.id);
        let restored = self.read(&path).and_then(|record| {
            if !record.is_of(source) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it belongs to another source"));
            }
            let set = KeySet::parse(record.jwks.as_bytes())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let location = Url::parse(&record.jwks_uri)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its jwks_uri is not a URL"))?;
            Ok(Restored {
                set,
                location,
                issuer: record.issuer.into(),
                age: age(record.fetched_at, now, source.max_age),
            })
        });
        match restored {
            Ok(restored) => Some(restored),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let issuer = &*source.issuer;
                tracing::warn!(issuer, path = %path.display(), %error, "saved keys are not used; they will be fetched");
                None
            }
        }
    }

    fn read(&self, path: &Path) -> io::Result<Record> {
        // A JSON string may take up to six bytes for one.
        let limit = self.max_body.saturating_mul(6).saturating_add(1 << 16);
        let mut text = Vec::new();
        let mut file = fs::File::open(path)?.take(limit as u64);
        file.read_to_end(&mut text)?;
        // The text of the parser could quote the file.
        serde_json::from_slice(&text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
    }

    /// Writes a set beside its place and moves it there in one step; nothing if the gate is shut or a newer one is written.
    pub(super) fn save(&self, record: &Record, gate: &Gate) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let place = self.path(&KeySetId(record.id.as_str().into()));
        let draft = place.with_extension(format!("{}.tmp", fastrand::u64(..)));
        let saved = write_new(&draft, record).and_then(|()| gate.pass(record.ticket, || fs::rename(&draft, &place)));
        if !matches!(saved, Ok(true)) {
            // Best effort: what remains is removed at the next start.
            let _ = fs::remove_file(&draft);
        }
        saved.map(drop)
    }

    /// Removes the files of all other sets, and with `drafts` what a crash left half-written.
    pub(super) fn tidy<'a>(&self, wanted: impl Iterator<Item = &'a KeySetId>, drafts: bool) {
        let wanted: HashSet<PathBuf> = wanted.map(|id| self.path(id)).collect();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ours = name.split_once('.').is_some_and(|(stem, rest)| {
                let hash = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
                hash && (rest == "json" || (drafts && rest.rsplit('.').next() == Some("tmp")))
            });
            if ours
                && !wanted.contains(&path)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "saved keys of a removed source could not be deleted");
            }
        }
    }

    fn path(&self, id: &KeySetId) -> PathBuf {
        let number = crds::digest::hex(digest(&SHA256, id.0.as_bytes()).as_ref());
        self.dir.join(number + ".json")
    }
}

fn write_new(path: &Path, record: &Record) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()
}

/// How old saved keys are. A time in the future tells nothing but that a clock was wrong, and must not make keys last longer.
pub(super) fn age(fetched_at: u64, now: SystemTime, max_age: Duration) -> Duration {
    let fetched = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(fetched_at));
    fetched.and_then(|fetched| now.duration_since(fetched).ok()).unwrap_or(max_age)
}
