//! Documents in files and folders: reading them, and noticing that they changed.
//!
//! Owns paths and the file system's oddities. Must never look into a document, and never read half of one.

mod listing;
mod notifier;
mod watch;

use std::{io, path::PathBuf};

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
