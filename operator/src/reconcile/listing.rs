//! A list of objects that is told page by page: nothing of it counts before its end, so that no state is half of it and half of what was.
//!
//! Owns what is new in it, and which names it holds. Must never keep what is known already: most of a list is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::documents::{Document, Kind};

use super::Observed;

/// A version of an object, as it was read.
pub(super) struct Version {
    pub(super) document: Document,
    pub(super) observed: Observed,
}

/// A list.
#[derive(Default)]
pub(super) struct Listing {
    /// Every name in it.
    pub(super) present: BTreeSet<Arc<str>>,
    /// What differs from what is held.
    pub(super) staged: Vec<(Arc<str>, Version)>,
}

/// Those that are being told, by source.
#[derive(Default)]
pub(super) struct Listings {
    begun: BTreeMap<(Kind, usize), Listing>,
}

// === impl Listings ===

impl Listings {
    /// Whatever was told of one that failed midway is forgotten.
    pub(super) fn begin(&mut self, kind: Kind, source: usize) {
        self.begun.insert((kind, source), Listing::default());
    }

    /// Takes an object for the list of its source. What counts at once comes back: of a watch, or what decides nothing.
    pub(super) fn stage(
        &mut self,
        source: (Kind, usize),
        held: Option<&Document>,
        name: Arc<str>,
        version: Option<Version>,
    ) -> Option<(Arc<str>, Version)> {
        let Some(listing) = self.begun.get_mut(&source) else { return Some((name, version?)) };
        listing.present.insert(name.clone());
        let version = version?;
        if held == Some(&version.document) {
            return Some((name, version));
        }
        listing.staged.push((name, version));
        None
    }

    /// The whole list. `None`: none has begun.
    pub(super) fn end(&mut self, kind: Kind, source: usize) -> Option<Listing> {
        self.begun.remove(&(kind, source))
    }
}
