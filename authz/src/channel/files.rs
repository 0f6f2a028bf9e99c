//! The sealed copies in the data folder: the state in force, and who this process is. What cannot be opened counts as absent, with a
//! warning: a restart without them waits for the operator, and never serves an empty set as if it were the truth.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crds::{documents::Document, push::Name};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::{debug, info, warn};

use super::{
    credentials::Credentials,
    held::{Held, Kept},
};
use crate::seal::Seal;

/// Form of the copies; another one is not read.
const FORM: u32 = 1;

/// Where the copies are and how they are sealed.
#[derive(Debug)]
pub(super) struct Files {
    place: Option<(Arc<Path>, PathBuf)>,
    /// Read when it is there: the operator of a new installation makes it after this process has started.
    seal: Mutex<Option<Arc<Seal>>>,
}

/// The state in force, to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Copy {
    form: u32,
    epoch: u64,
    resources: Vec<CopyOf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CopyOf {
    name: String,
    version: Arc<str>,
    text: Arc<str>,
    /// Only where the newest document is refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Document>,
}

const STATE: &str = "state";
const IDENTITY: &str = "identity";

// === impl Files ===

impl Files {
    pub(super) fn new(folder: Option<PathBuf>, key_file: Option<PathBuf>) -> Self {
        let place = match (folder, key_file) {
            (Some(folder), Some(key_file)) => {
                sweep(&folder);
                Some((folder.into(), key_file))
            }
            (None, None) => None,
            _ => {
                warn!("nothing is kept across a restart: that needs both a data folder and a sealing key");
                None
            }
        };
        Self { place, seal: Mutex::default() }
    }

    /// Whether anything shall be kept.
    pub(super) const fn is_used(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the key is there.
    pub(super) fn has_key(&self) -> bool {
        self.seal().is_some()
    }

    fn seal(&self) -> Option<Arc<Seal>> {
        let (_, key_file) = self.place.as_ref()?;
        let mut seal = self.seal.lock();
        if seal.is_none() {
            let key = fs::read(key_file).inspect_err(|error| {
                debug!(path = %key_file.display(), %error, "there is no sealing key yet");
            });
            let read = Seal::new(&key.ok()?).inspect_err(|error| {
                warn!(path = %key_file.display(), %error, "the sealing key cannot be used: nothing is kept across a restart");
            });
            *seal = read.ok().map(Arc::new);
        }
        seal.clone()
    }

    /// What was in force when the process ended.
    pub(super) fn state(&self) -> Option<Held> {
        let copy: Copy = self.read(STATE)?;
        if copy.form != FORM {
            warn!(form = copy.form, "the sealed copy of the state is of another version and is ignored");
            return None;
        }
        let kept: Option<Vec<(Name, Kept)>> = copy
            .resources
            .into_iter()
            .map(|one| Some((one.name.parse().ok()?, Kept::restored(one.version, one.text, one.accepted))))
            .collect();
        let Some(kept) = kept else {
            warn!("the sealed copy of the state names what is unknown here and is ignored");
            return None;
        };
        info!(epoch = copy.epoch, "the state of before the restart is in force until the operator answers");
        Some(Held::restore(copy.epoch, kept))
    }

    /// Who this process was.
    pub(super) fn identity(&self) -> Option<Credentials> {
        self.read(IDENTITY)
    }

    /// Keeps who this process is.
    pub(super) fn keep_identity(&self, credentials: &Credentials) -> io::Result<()> {
        self.write(IDENTITY, credentials)
    }

    /// Keeps what is in force. If that fails, nothing is kept: a restart waits for the operator rather than bring back what was replaced.
    pub(super) fn keep_state(&self, copy: &Copy) -> io::Result<()> {
        let kept = self.write(STATE, copy);
        if let (Err(_), Some((folder, _))) = (&kept, &self.place) {
            // Where not even this can be done, the warning about the write has to do.
            let _ = fs::remove_file(file(folder, STATE));
        }
        kept
    }

    fn read<T: DeserializeOwned>(&self, what: &str) -> Option<T> {
        let ((folder, _), seal) = (self.place.as_ref()?, self.seal()?);
        let path = file(folder, what);
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "a sealed copy cannot be read and is ignored");
                return None;
            }
        };
        let plain = seal.open(what, &sealed).inspect_err(|error| {
            warn!(path = %path.display(), %error, "a sealed copy cannot be opened and is ignored");
        });
        // The error of the parser could quote a secret.
        serde_json::from_slice(&plain.ok()?)
            .inspect_err(|_| warn!(path = %path.display(), "a sealed copy holds something else and is ignored"))
            .ok()
    }

    /// Whole or not at all, readable by its owner only.
    fn write(&self, what: &str, value: &impl Serialize) -> io::Result<()> {
        let (Some((folder, _)), Some(seal)) = (&self.place, self.seal()) else { return Ok(()) };
        let sealed = seal.seal(what, serde_json::to_vec(value)?).map_err(io::Error::other)?;
        let (path, draft) = (file(folder, what), folder.join(format!("{what}.{:016x}.tmp", fastrand::u64(..))));
        fs::create_dir_all(folder)?;
        let written = write_new(&draft, &sealed).and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            // What remains takes room and nothing else.
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

// === impl Copy ===

impl Copy {
    pub(super) fn of(held: &Held) -> Self {
        let resources = held.resources().map(|(name, kept)| CopyOf {
            name: name.to_string(),
            version: kept.version.clone(),
            text: kept.text.clone(),
            accepted: kept.is_refused().then(|| kept.accepted.clone()).flatten(),
        });
        Self { form: FORM, epoch: held.epoch(), resources: resources.collect() }
    }
}

/// Takes away what processes that were killed while they wrote have left: with each of them there would be less room.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_suffix(".tmp")) else { continue };
        if [STATE, IDENTITY].iter().any(|what| rest.strip_prefix(what).is_some_and(|rest| rest.starts_with('.'))) {
            // One that stays takes room and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn file(folder: &Path, what: &str) -> PathBuf {
    folder.join(format!("{what}.sealed"))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
