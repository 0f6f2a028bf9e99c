//! Phase 1: what is there, and the values it refers to.
//!
//! Owns the newest version of every object, and the rule that a policy waits for its references, in
//! its version of before, for a bounded time. An error of the API server never deletes anything here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crds::{
    documents::{Document, Kind, Objects, ReferenceKind},
    push::Reference,
};
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::{
    Observed,
    fetch::{Fetched, Wanted},
    held::{self, Held, Unreadable},
    listing::{Listing, Listings, Version},
    slots::wanted,
    values::Values,
};
use crate::watch::Change;

/// How long a policy waits for its references before they count as unread.
const WAIT: Duration = Duration::from_secs(5);
/// How long the first state waits for references that the API server has not answered to. Data planes may be in force with them.
const FIRST: Duration = Duration::from_mins(2);

/// Everything that was read.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<(Kind, Arc<str>), (usize, Held)>,
    /// Objects that cannot be read, and their sources; those without a name are one.
    unreadable: BTreeMap<(Kind, Arc<str>), usize>,
    /// Those that nobody was told of yet.
    pub(super) malformed: Vec<(Kind, Arc<str>)>,
    /// Lists that are being told.
    listings: Listings,
    /// Sources that were read once.
    listed: BTreeSet<(Kind, usize)>,
    /// How many sources there are of each kind.
    places: usize,
    values: Values,
    /// What versions read that are in force although a newer one was refused.
    kept: BTreeSet<Wanted>,
    references_moved: bool,
    /// How much that decides has changed since the last state.
    edits: u32,
    began: bool,
    /// When the first state was asked for.
    first: Option<Instant>,
}

/// Objects with the values they refer to.
pub(super) struct Dereferenced {
    pub(super) objects: Objects,
    /// Whether anything that decides is different from the last time.
    pub(super) changed: bool,
}

// === impl Store ===

impl Store {
    /// `objects`: how many sources there are of each kind; `watched`: the namespaces whose values are watched, empty: all of them.
    pub(super) fn new(objects: usize, watched: Vec<String>) -> Self {
        Self { places: objects, values: Values::new(watched), ..Self::default() }
    }

    /// What last good versions read: a refused document names nothing, and the one in force instead of it must not lose its values.
    pub(super) fn keep<'r>(&mut self, references: impl IntoIterator<Item = &'r Reference>) {
        let kept: BTreeSet<Wanted> = references.into_iter().map(wanted).collect();
        if kept != self.kept {
            self.kept = kept;
            self.references_moved = true;
        }
    }

    /// How many objects cannot be read.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// How much that decides has changed since the last state.
    pub(super) const fn edits(&self) -> u32 {
        self.edits + self.values.edits()
    }

    /// What was seen of an object's status.
    pub(super) fn held(&self, kind: Kind, name: &Arc<str>) -> Option<&Held> {
        self.objects.get(&(kind, name.clone())).map(|(_, held)| held)
    }

    pub(super) fn objects(&mut self, kind: Kind, source: usize, change: Change) {
        let now = Instant::now();
        match change {
            Change::Begins => self.listings.begin(kind, source),
            Change::Put(object) => {
                let (name, version) = self.read(kind, source, &object);
                let held = self.objects.get(&(kind, name.clone())).map(|(_, held)| &held.newest);
                if let Some((name, version)) = self.listings.stage((kind, source), held, name, version) {
                    self.put((kind, name), source, version, now);
                }
            }
            Change::Ends => {
                let Some(Listing { present, staged }) = self.listings.end(kind, source) else { return };
                for (name, version) in staged {
                    self.put((kind, name), source, version, now);
                }
                self.unreadable.retain(|(of, name), from| *of != kind || *from != source || present.contains(name));
                let before = self.objects.len();
                self.objects.retain(|(of, name), (from, _)| *of != kind || *from != source || present.contains(name));
                if self.objects.len() != before {
                    self.moved();
                }
                self.edits += u32::from(self.listed.insert((kind, source)));
            }
            Change::Gone(object) => {
                let Some(name) = held::name(&object) else { return };
                let key = (kind, name);
                self.unreadable.remove(&key);
                if self.objects.remove(&key).is_some() {
                    self.moved();
                }
            }
            Change::Trouble(_) | Change::Well => {}
        }
    }

    /// Its name and its version. One that cannot be read keeps the version of before.
    fn read(&mut self, kind: Kind, source: usize, object: &Value) -> (Arc<str>, Option<Version>) {
        let name = held::name(object).unwrap_or_default();
        let essence = if name.is_empty() { Err(Unreadable) } else { held::essence(kind, object) };
        let key = (kind, name.clone());
        let Ok(essence) = essence else {
            if self.unreadable.insert(key, source).is_none() {
                warn!(?kind, object = &*name, "the object cannot be read; its last version stays");
                if !name.is_empty() {
                    self.malformed.push((kind, name.clone()));
                }
            }
            return (name, None);
        };
        self.unreadable.remove(&key);
        (name, Some(Version { document: Document::new(&essence), observed: Observed::of(object) }))
    }

    fn put(&mut self, key: (Kind, Arc<str>), source: usize, Version { document, observed }: Version, now: Instant) {
        let (kind, name) = key.clone();
        if let Some((_, held)) = self.objects.get_mut(&key) {
            if held.update(kind, &name, document, observed, now) {
                self.moved();
            }
        } else {
            let held = Held::new(kind, &name, document, observed, now);
            self.objects.insert(key, (source, held));
            self.moved();
        }
    }

    fn moved(&mut self) {
        self.references_moved = true;
        self.edits += 1;
    }

    pub(super) fn values(&mut self, kind: ReferenceKind, source: usize, change: Change) {
        self.values.change(kind, source, change);
    }

    /// Why something of this could not be read, if that is so: what is missing in a status may be there.
    pub(super) fn unread(&self, references: &[Reference]) -> Option<&str> {
        self.values.unread(references)
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        self.values.fetched(fetched);
    }

    /// What has to be read now, each with a pause before.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<(Wanted, Duration)> {
        if std::mem::take(&mut self.references_moved) {
            self.values.refer(self.referenced());
        }
        self.values.wanted(now)
    }

    /// What anything in force, or about to be, refers to.
    fn referenced(&self) -> BTreeSet<Wanted> {
        let mut all = self.kept.clone();
        for (_, held) in self.objects.values() {
            all.extend(held.named().map(wanted));
        }
        all
    }

    /// Whether something waits that may have waited long enough, or values have to be polled.
    pub(super) fn look(&self, now: Instant) -> bool {
        let waiting = self.objects.values().any(|(_, held)| held.ready.as_ref() != Some(&held.newest));
        waiting || self.values.look(now)
    }

    /// Everything that is ready; `None`: not everything was read once, so nothing may be said.
    pub(super) fn dereference(&mut self, now: Instant) -> Option<Dereferenced> {
        if self.listed.len() < 2 * self.places || !self.values.are_told() {
            return None;
        }
        let values = &self.values;
        let known = |reference: &Reference| values.is_known(&wanted(reference));
        let since = *self.first.get_or_insert(now);
        // The first state replaces what data planes have: an answer that is late, or a server that has none, must not look like a deletion.
        let awaited = |one: &Wanted| !self.began && now - since < FIRST && values.is_awaited(one);
        let mut waiting =
            !self.began && self.kept.iter().any(|one| awaited(one) || (!values.is_known(one) && now - since < WAIT));
        for (_, held) in self.objects.values_mut().filter(|(_, held)| held.ready.as_ref() != Some(&held.newest)) {
            let late = || now - held.since >= WAIT && !held.references.iter().any(|one| awaited(&wanted(one)));
            if held.references.iter().all(known) || late() {
                held.take();
                self.references_moved = true;
                self.edits += 1;
            } else {
                waiting = true;
            }
        }
        // The first state is a whole one.
        if waiting && !self.began {
            return None;
        }
        self.began = true;
        let changed = std::mem::take(&mut self.edits) + self.values.take_edits() > 0;
        Some(Dereferenced { objects: if changed { self.collect() } else { Objects::default() }, changed })
    }

    fn collect(&self) -> Objects {
        let mut objects = Objects::default();
        let place = held::place();
        for ((kind, name), (_, held)) in &self.objects {
            if let Some(ready) = &held.ready {
                objects.share(*kind, name.clone(), &place, ready.clone());
            }
        }
        self.values.put(&mut objects);
        objects
    }
}
