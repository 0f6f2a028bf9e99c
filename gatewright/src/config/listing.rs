//! The files of a policy set as they look at one moment, and reading them without being fooled by a writer.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crds::documents::{Memo, Objects, Place, Unreadable};

use super::ConfigError;

/// Larger files are a mistake, and would be held in memory several times over.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Folders below folders; a loop of links ends here.
const MAX_DEPTH: usize = 16;
/// `O_NONBLOCK`: a pipe that was put in a file's place must not hold us.
const NONBLOCK: i32 = 0o4000;

/// What is there, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    files: Vec<Listed>,
    folders: BTreeSet<Folder>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    path: PathBuf,
    /// Where it really is: the file system tells about writers there.
    canonical: PathBuf,
    stamp: Stamp,
}

/// A folder whose entries matter, and which one it is: a new folder may stand at an old path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    identity: (u64, u64),
}

/// How a file looked. The change time cannot be set by a copying tool, unlike the modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Seen {
        identity: (u64, u64),
        len: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// It is there and cannot be used.
    Unusable(String),
    /// It was being written when it was read: it counts as changed at the next look.
    Unsettled,
}

// === impl Listing ===

impl Listing {
    /// Lists the files behind `paths`. A path that was given must be there.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::default().look(paths, |_| false)
    }

    /// As [`of`](Self::of), later: a file that was there before and is gone is deleted. A folder that is gone is an accident.
    pub(super) fn again(&self, paths: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::default()
            .look(paths, |path| !self.files.iter().any(|file| file.path != *path && file.path.starts_with(path)))
    }

    /// Folders to be watched.
    pub(super) fn folders(&self) -> &BTreeSet<Folder> {
        &self.folders
    }

    /// Reads every file. One that cannot be read, or is being written, spoils only its own objects. What `memo` has from the
    /// reading before is not parsed again. Also returns the listing as it was read.
    pub(crate) fn read(&self, memo: &mut Memo, being_written: impl Fn(&Path) -> bool) -> (Objects, Self) {
        let (mut objects, mut read) = (Objects::default(), self.clone());
        for file in &mut read.files {
            let name = file.path.display().to_string();
            let text = match &file.stamp {
                Stamp::Unusable(reason) => Err(reason.clone()),
                _ if being_written(&file.canonical) => {
                    file.stamp = Stamp::Unsettled;
                    Err("the file is being written".to_owned())
                }
                _ => text(&file.path, &mut file.stamp),
            };
            match text {
                Ok(text) => objects.read_again(&name, &text, memo),
                Err(reason) => {
                    let place = Place { file: name.as_str().into(), line: 1 };
                    objects.unreadable.push(Unreadable { place, reason, hides_object: true, is_stray: false });
                }
            }
        }
        memo.turn();
        (objects, read)
    }

    fn look(mut self, paths: &[PathBuf], may_be_gone: impl Fn(&Path) -> bool) -> Result<Self, ConfigError> {
        for path in paths {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => self.folder(path, 0)?,
                Ok(metadata) => self.file(path.clone(), Ok(&metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_gone(path) => self.watch_parent(path),
                Err(source) => return Err(unreadable(path, source)),
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.files.dedup_by(|a, b| a.path == b.path);
        Ok(self)
    }

    /// Files that `kubectl apply` would take; names that begin with a dot are the machinery of volumes and editors.
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if depth > MAX_DEPTH {
            return Err(ConfigError::TooDeep { path: path.display().to_string(), most: MAX_DEPTH });
        }
        self.watch(path);
        for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
            let entry = entry.map_err(|source| unreadable(path, source))?.path();
            if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            match fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => self.folder(&entry, depth + 1)?,
                Ok(metadata) if is_document(&entry) => self.file(entry, Ok(&metadata)),
                // Gone between the listing and now is gone; a link that leads nowhere is there, and what it led to is unknown.
                Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&entry).is_err() => {}
                Err(error) if is_document(&entry) => self.file(entry, Err(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, metadata: io::Result<&Metadata>) {
        self.watch_parent(&path);
        let canonical = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if canonical.parent() != path.parent() {
            self.watch_parent(&canonical);
        }
        let stamp = match metadata {
            Ok(metadata) if metadata.is_file() => Stamp::of(metadata),
            Ok(_) => Stamp::Unusable("this is no regular file".to_owned()),
            Err(error) => Stamp::Unusable(error.to_string()),
        };
        self.files.push(Listed { path, canonical, stamp });
    }

    fn watch_parent(&mut self, path: &Path) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.watch(parent.unwrap_or(Path::new(".")));
    }

    fn watch(&mut self, path: &Path) {
        if let Ok(metadata) = fs::metadata(path) {
            self.folders.insert(Folder { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) });
        }
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self::Seen {
            identity: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The text of a file that nobody changed while it was read.
fn text(path: &Path, stamp: &mut Stamp) -> Result<String, String> {
    let mut file =
        OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path).map_err(|error| error.to_string())?;
    let look = |file: &File| file.metadata().map_err(|error| error.to_string());
    let before = look(&file)?;
    if !before.is_file() {
        return Err("this is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024));
    }
    let after = Stamp::of(&look(&file)?);
    if after != Stamp::of(&before) {
        *stamp = Stamp::Unsettled;
        return Err("the file is being written".to_owned());
    }
    *stamp = after;
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())
}

/// Whether a file of this name holds documents.
pub(super) fn is_document(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.display().to_string(), source }
}
