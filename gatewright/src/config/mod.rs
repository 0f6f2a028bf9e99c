//! Documents in files and folders: reading them, and noticing that they changed.
//!
//! Owns paths and the file system's oddities. Must never look into a document.

mod watch;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crds::documents::{Objects, Place, Unreadable};

use crate::{USAGE, fail};

pub(crate) use watch::Watch;

/// Larger files are a mistake, and would be held in memory several times over.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Folders below folders; a loop of links ends here.
const MAX_DEPTH: usize = 16;

/// Why there is no policy set at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}; check the path and who may read it")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} holds folders deeper than {MAX_DEPTH}; is a link pointing back?")]
    TooDeep { path: String },
}

/// The files of a policy set as they looked at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    /// Tells a file moved over another of the same size and second.
    inode: u64,
}

// === impl Listing ===

impl Listing {
    /// Lists the files behind `paths`, sorted. A path that was given must be there.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::look(paths, |_| false)
    }

    /// As [`of`](Self::of), later: a file that was there before and is gone is deleted. A folder that is gone is an accident.
    pub(crate) fn again(&self, paths: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::look(paths, |path| !self.files.iter().any(|file| file.path != *path && file.path.starts_with(path)))
    }

    fn look(paths: &[PathBuf], may_be_gone: impl Fn(&Path) -> bool) -> Result<Self, ConfigError> {
        let mut files = Vec::new();
        for path in paths {
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_gone(path) => continue,
                Err(source) => return Err(unreadable(path, source)),
            };
            if metadata.is_dir() {
                folder(path, 0, &mut files)?;
            } else {
                files.push(file(path.clone(), &metadata));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Self { files })
    }

    /// Reads every file. One that cannot be read spoils only its own objects.
    pub(crate) fn read(&self) -> Objects {
        let mut objects = Objects::default();
        for file in &self.files {
            let name = file.path.display().to_string();
            let text = if file.len > MAX_FILE_BYTES {
                Err(format!("the file is larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024))
            } else {
                fs::read(&file.path)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned()))
            };
            match text {
                Ok(text) => objects.read(&name, &text),
                Err(reason) => {
                    objects.unreadable.push(Unreadable {
                        place: Place { file: name.as_str().into(), line: 1 },
                        reason,
                        hides_object: true,
                    });
                }
            }
        }
        objects
    }
}

/// Reads a policy set once, for a command that ends. Errors and unreadable documents are told on standard error; both mean the exit
/// code for usage.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Objects, u8> {
    let objects = Listing::of(paths).map(|listing| listing.read()).map_err(|error| fail(USAGE, &error.to_string()))?;
    for unreadable in &objects.unreadable {
        fail(USAGE, &unreadable.to_string());
    }
    Ok(objects)
}

/// As [`load`], for commands that have nothing to say about a set they cannot read as a whole.
pub(crate) fn load_whole(paths: &[PathBuf]) -> Result<Objects, u8> {
    load(paths).and_then(|objects| if objects.unreadable.is_empty() { Ok(objects) } else { Err(USAGE) })
}

/// Files that `kubectl apply` would take; names that begin with a dot are the machinery of volumes and editors.
fn folder(path: &Path, depth: usize, files: &mut Vec<File>) -> Result<(), ConfigError> {
    if depth > MAX_DEPTH {
        return Err(ConfigError::TooDeep { path: path.display().to_string() });
    }
    for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
        let entry = entry.map_err(|source| unreadable(path, source))?.path();
        if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        // Gone between the listing and now is gone.
        let Ok(metadata) = fs::metadata(&entry) else { continue };
        if metadata.is_dir() {
            folder(&entry, depth + 1, files)?;
        } else if is_document(&entry) {
            files.push(file(entry, &metadata));
        }
    }
    Ok(())
}

fn is_document(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn file(path: PathBuf, metadata: &fs::Metadata) -> File {
    use std::os::unix::fs::MetadataExt;
    File { path, len: metadata.len(), modified: metadata.modified().ok(), inode: metadata.ino() }
}

fn unreadable(path: &Path, source: std::io::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.display().to_string(), source }
}
