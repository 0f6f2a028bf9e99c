//! What was read before, so that an edit of one document in a file of ten thousand parses one.
//!
//! Owns digests of texts, never the texts. What could not be read, or is somebody else's, is read anew each time.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};

use super::{Document, Kind, ReferenceKind, values::Values};
use crate::digest::{Sha256, finish};

/// The documents of the reading before, and of the one under way.
#[derive(Debug, Default)]
pub struct Memo {
    before: HashMap<Sha256, Known>,
    now: HashMap<Sha256, Known>,
}

/// What one text means.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// One of our objects, by `namespace/name`.
    Object(Kind, Arc<str>, Document),
    /// A Secret or ConfigMap, by `namespace/name`.
    Values(ReferenceKind, Arc<str>, Arc<Values>),
}

// === impl Memo ===

impl Memo {
    /// A reading is complete: what it did not come across is forgotten.
    pub fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    pub(super) fn find(&mut self, digest: &Sha256) -> Option<Known> {
        if let Some(known) = self.now.get(digest) {
            return Some(known.clone());
        }
        let known = self.before.remove(digest)?;
        self.now.insert(*digest, known.clone());
        Some(known)
    }

    pub(super) fn keep(&mut self, digest: Sha256, known: Known) {
        self.now.insert(digest, known);
    }
}

/// Of a text in its file: what a file says is not what another does, for one may become unreadable.
pub(super) fn digest(file: &str, text: &str) -> Sha256 {
    let mut context = Context::new(&SHA256);
    // The length first: no two pairs of file and text write the same bytes.
    context.update(&(file.len() as u64).to_be_bytes());
    context.update(file.as_bytes());
    context.update(text.as_bytes());
    finish(context)
}
