//! Documents in files and folders: reading them, and noticing that they changed.
//!
//! Owns paths and the file system's oddities. Must never look into a document, and never read half of one.

mod listing;
mod notifier;
mod watch;

use std::{
    fs, io,
    path::{self, Component, Path, PathBuf},
};

use crds::documents::{Memo, Objects};

pub(crate) use listing::Listing;
pub(crate) use watch::Watch;

use crate::{USAGE, fail, worker::Gone};

/// Why there is no policy set at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}; check the path and who may read it")]
    Unreadable { path: String, source: io::Error },
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("{path} holds folders deeper than {most}; is a link pointing back?")]
    TooDeep { path: String, most: usize },
    #[error(
        "the data folder {data} is in {config}, where what is kept would be read as documents; give --data-dir another one"
    )]
    DataAmongDocuments { data: String, config: String },
}

/// Reads a policy set once, for a command that ends. Errors and unreadable documents are told on standard error; both mean the exit
/// code for usage.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Objects, u8> {
    let objects = Listing::of(paths)
        .map(|listing| listing.read(&mut Memo::default(), |_| false).0)
        .map_err(|error| fail(USAGE, &error.to_string()))?;
    for unreadable in &objects.unreadable {
        fail(USAGE, &unreadable.to_string());
    }
    Ok(objects)
}

/// As [`load`], for commands that have nothing to say about a set they cannot read as a whole.
pub(crate) fn load_whole(paths: &[PathBuf]) -> Result<Objects, u8> {
    load(paths).and_then(|objects| if objects.unreadable.is_empty() { Ok(objects) } else { Err(USAGE) })
}

/// Refuses a data folder whose files would be read as documents: last good versions would come back as what somebody wrote.
pub(crate) fn apart(paths: &[PathBuf], data: &Path) -> Result<(), ConfigError> {
    let real = real(data);
    for config in paths {
        let below = fs::canonicalize(config).ok().and_then(|folder| real.strip_prefix(folder).ok().map(is_read));
        if below == Some(true) {
            let (data, config) = (data.display().to_string(), config.display().to_string());
            return Err(ConfigError::DataAmongDocuments { data, config });
        }
    }
    Ok(())
}

/// Whether a listing looks into this folder below another: not where a name begins with a dot.
fn is_read(below: &Path) -> bool {
    !below.components().any(|part| matches!(part, Component::Normal(name) if name.to_string_lossy().starts_with('.')))
}

/// Where a folder really is, or will be once it is made.
fn real(folder: &Path) -> PathBuf {
    let whole = path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let known =
        whole.ancestors().find_map(|above| Some((fs::canonicalize(above).ok()?, whole.strip_prefix(above).ok()?)));
    known.map_or_else(|| whole.clone(), |(above, below)| above.join(below))
}
