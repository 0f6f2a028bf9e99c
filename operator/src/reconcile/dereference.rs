//! Phase 1: what is there, and the values it refers to.
//!
//! Owns the newest version of every object, the content of what is referenced, and the rule that a policy waits for its references, in
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
    fetch::{Content, Fetched, Wanted},
    held::{self, Held},
    listing::{Listing, Listings, Version},
    slots::{Selection, Slot, is_outside, selects, wanted},
};
use crate::watch::Change;

/// How long a policy waits for its references before they count as missing.
const WAIT: Duration = Duration::from_secs(5);
/// How often values are read where they cannot be watched.
const POLL: Duration = Duration::from_secs(30);

/// Everything that was read.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<(Kind, Arc<str>), (usize, Held)>,
    unreadable: BTreeSet<String>,
    /// Those that nobody was told of yet.
    pub(super) malformed: Vec<(Kind, Arc<str>)>,
    /// Lists that are being told.
    listings: Listings,
    values: BTreeMap<(ReferenceKind, String), Slot>,
    /// What lists that are being told showed of [`Store::values`].
    sightings: BTreeMap<(ReferenceKind, usize), BTreeSet<String>>,
    selections: BTreeMap<Wanted, Selection>,
    /// Sources that were read once.
    listed: BTreeSet<(Kind, usize)>,
    /// Sources of values that were read once, or cannot be.
    told: BTreeSet<(ReferenceKind, usize)>,
    /// Sources of values that cannot be watched.
    blind: BTreeSet<(ReferenceKind, usize)>,
    /// Namespaces whose values are watched; empty: all.
    watched: Vec<String>,
    /// How many sources there are of each kind of objects, and of values.
    places: (usize, usize),
    /// What versions read that are in force although a newer one was refused.
    kept: BTreeSet<Wanted>,
    references_moved: bool,
    /// How much that decides has changed since the last state.
    edits: u32,
    began: bool,
    /// When the first state was asked for.
    first: Option<Instant>,
    polled: Option<Instant>,
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
        Self { places: (objects, watched.len().max(1)), watched, ..Self::default() }
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
        self.edits
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
                let Some((name, version)) = self.read(kind, &object) else { return };
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
                let before = self.objects.len();
                self.objects.retain(|(of, name), (from, _)| *of != kind || *from != source || present.contains(name));
                if self.objects.len() != before {
                    self.moved();
                }
                self.edits += u32::from(self.listed.insert((kind, source)));
            }
            Change::Gone(object) => {
                let Some(name) = held::name(&object) else { return };
                self.unreadable.remove(&format!("{kind:?} {name}"));
                if self.objects.remove(&(kind, name)).is_some() {
                    self.moved();
                }
            }
            Change::Trouble(_) | Change::Well => {}
        }
    }

    /// Its name, if it has one, and its version. One that cannot be read keeps the version of before.
    fn read(&mut self, kind: Kind, object: &Value) -> Option<(Arc<str>, Option<Version>)> {
        let Some(name) = held::name(object) else {
            if self.unreadable.insert(format!("{kind:?} without a name")) {
                warn!(?kind, "an object without namespace and name is skipped");
            }
            return None;
        };
        let label = format!("{kind:?} {name}");
        let Ok(essence) = held::essence(kind, object) else {
            if self.unreadable.insert(label) {
                warn!(?kind, object = &*name, "the object cannot be read; its last version stays");
                self.malformed.push((kind, name.clone()));
            }
            return Some((name, None));
        };
        self.unreadable.remove(&label);
        Some((name, Some(Version { document: Document::new(&essence), observed: Observed::of(object) })))
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
        match change {
            Change::Begins => drop(self.sightings.insert((kind, source), BTreeSet::new())),
            Change::Put(meta) => {
                if let Some(name) = self.seen(kind, &meta)
                    && let Some(sighted) = self.sightings.get_mut(&(kind, source))
                {
                    sighted.insert(name);
                }
            }
            Change::Ends => {
                let Some(sighted) = self.sightings.remove(&(kind, source)) else { return };
                self.blind.remove(&(kind, source));
                self.edits += u32::from(self.told.insert((kind, source)));
                // Not in the list: read to be sure. It may be newer than the list.
                for ((of, name), slot) in &mut self.values {
                    if *of == kind && !sighted.contains(name) && slot.content.as_ref().is_some_and(Option::is_some) {
                        slot.read.fresh = false;
                    }
                }
            }
            Change::Gone(meta) => {
                let Some(name) = held::name(&meta) else { return };
                let Some(slot) = self.values.get_mut(&(kind, name.to_string())) else { return };
                let uid = meta.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                // Another object of that name is there already: it is not gone.
                if slot.content.as_ref().and_then(Option::as_ref).is_some_and(|content| content.uid == uid) {
                    slot.content = Some(None);
                    // A read that is under way may have begun before the end.
                    slot.read.fresh &= !slot.read.under_way;
                    self.edits += 1;
                }
            }
            Change::Trouble(_) => {
                self.blind.insert((kind, source));
                self.edits += u32::from(self.told.insert((kind, source)));
            }
            Change::Well => drop(self.blind.remove(&(kind, source))),
        }
    }

    /// A Secret or ConfigMap exists in this version: if anybody cares, its content is read. Its name, if anybody does.
    fn seen(&mut self, kind: ReferenceKind, meta: &Value) -> Option<String> {
        let name = held::name(meta)?;
        let version = meta.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let key = (kind, name.to_string());
        if let Some(slot) = self.values.get_mut(&key) {
            let same = slot.content.as_ref().and_then(Option::as_ref).is_some_and(|content| content.version == version);
            slot.read.fresh &= same;
        } else if kind == ReferenceKind::Secret && self.selections.keys().any(|one| selects(one, meta)) {
            self.values.insert(key.clone(), Slot::default());
        } else {
            return None;
        }
        Some(key.1)
    }

    /// Why something of this could not be read, if that is so: what is missing in a status may be there.
    pub(super) fn unread(&self, references: &[Reference]) -> Option<&str> {
        let read = references.iter().filter_map(|reference| match wanted(reference) {
            Wanted::Named { kind, name } => self.values.get(&(kind, name)).map(|slot| &slot.read),
            selection @ Wanted::Selected { .. } => self.selections.get(&selection).map(|one| &one.read),
        });
        read.into_iter().find_map(|read| read.why.as_deref())
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Named(kind, name, result) => {
                let Some(slot) = self.values.get_mut(&(kind, name.clone())) else { return };
                slot.read.ended(result.as_ref().err());
                match result {
                    Ok(content) => {
                        let version = |content: &Option<Content>| {
                            content.as_ref().map(|one| (one.uid.clone(), one.version.clone()))
                        };
                        if slot.content.as_ref().map(version) != Some(version(&content)) {
                            slot.content = Some(content);
                            self.edits += 1;
                        }
                    }
                    Err(error) if slot.read.failures == 1 => warn!(object = name, %error, "what is known of it stays"),
                    Err(_) => {}
                }
            }
            Fetched::Selected(wanted, result) => {
                let Some(selection) = self.selections.get_mut(&wanted) else { return };
                selection.read.ended(result.as_ref().err());
                match result {
                    Ok(found) => {
                        selection.known = true;
                        for (name, content) in found {
                            let slot = self.values.entry((ReferenceKind::Secret, name)).or_default();
                            slot.content = Some(Some(content));
                            slot.read.fresh = true;
                        }
                        self.edits += 1;
                    }
                    Err(error) if selection.read.failures == 1 => warn!(?wanted, %error, "what is known of them stays"),
                    Err(_) => {}
                }
            }
        }
    }

    /// What has to be read now, each with a pause before.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<(Wanted, Duration)> {
        if std::mem::take(&mut self.references_moved) {
            self.prune();
        }
        if self.polls(now) {
            self.polled = Some(now);
            let (watched, blind) = (&self.watched, !self.blind.is_empty());
            let due = self.values.iter_mut().filter(|((_, name), _)| blind || is_outside(watched, name));
            due.for_each(|(_, slot)| slot.read.fresh = false);
        }
        let named = self.values.iter_mut().filter_map(|((kind, name), slot)| {
            slot.read.begin().map(|pause| (Wanted::Named { kind: *kind, name: name.clone() }, pause))
        });
        let selected = self.selections.iter_mut();
        let selected = selected.filter_map(|(wanted, one)| one.read.begin().map(|pause| (wanted.clone(), pause)));
        named.chain(selected).collect()
    }

    /// Slots for what is referenced; what nobody refers to any more is forgotten at once, secrets first of all.
    fn prune(&mut self) {
        let mut named: BTreeSet<(ReferenceKind, String)> = BTreeSet::new();
        let mut selected: BTreeSet<Wanted> = BTreeSet::new();
        for (_, held) in self.objects.values() {
            for reference in held.named() {
                match wanted(reference) {
                    Wanted::Named { kind, name } => drop(named.insert((kind, name))),
                    selection @ Wanted::Selected { .. } => drop(selected.insert(selection)),
                }
            }
        }
        for one in &self.kept {
            match one.clone() {
                Wanted::Named { kind, name } => drop(named.insert((kind, name))),
                selection @ Wanted::Selected { .. } => drop(selected.insert(selection)),
            }
        }
        self.selections.retain(|wanted, _| selected.contains(wanted));
        for one in selected {
            self.selections.entry(one).or_default();
        }
        let in_selection = |name: &str| {
            let own = name.split_once('/').unwrap_or_default().0;
            self.selections.keys().any(|one| matches!(one, Wanted::Selected { namespace, .. } if namespace == own))
        };
        self.values.retain(|key, _| named.contains(key) || (key.0 == ReferenceKind::Secret && in_selection(&key.1)));
        for one in named {
            self.values.entry(one).or_default();
        }
    }

    /// Whether values have to be read that no watch tells of.
    fn polls(&self, now: Instant) -> bool {
        let due = self.polled.is_none_or(|polled| now - polled >= POLL);
        due && (!self.blind.is_empty() || self.values.keys().any(|(_, name)| is_outside(&self.watched, name)))
    }

    /// Whether something waits that may have waited long enough, or values have to be polled.
    pub(super) fn look(&self, now: Instant) -> bool {
        let waiting = self.objects.values().any(|(_, held)| held.ready.as_ref() != Some(&held.newest));
        let retry = self.values.values().any(|slot| !slot.read.fresh && !slot.read.under_way);
        waiting
            || self.polls(now)
            || retry
            || self.selections.values().any(|one| !one.read.fresh && !one.read.under_way)
    }

    /// Everything that is ready; `None`: not everything was read once, so nothing may be said.
    pub(super) fn dereference(&mut self, now: Instant) -> Option<Dereferenced> {
        if self.listed.len() < 2 * self.places.0 || self.told.len() < 2 * self.places.1 {
            return None;
        }
        let (values, selections) = (&self.values, &self.selections);
        let read = |one: &Wanted| match one {
            Wanted::Named { kind, name } => {
                values.get(&(*kind, name.clone())).is_some_and(|slot| slot.content.is_some())
            }
            Wanted::Selected { .. } => selections.get(one).is_some_and(|one| one.known),
        };
        let known = |reference: &Reference| read(&wanted(reference));
        let since = *self.first.get_or_insert(now);
        let mut waiting = !self.began && !self.kept.iter().all(read) && now - since < WAIT;
        for (_, held) in self.objects.values_mut().filter(|(_, held)| held.ready.as_ref() != Some(&held.newest)) {
            if held.references.iter().all(known) || now - held.since >= WAIT {
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
        let changed = std::mem::take(&mut self.edits) > 0;
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
        for ((kind, name), slot) in &self.values {
            if let Some(Some(content)) = &slot.content {
                objects.put(*kind, name.clone(), content.values.clone());
            }
        }
        objects
    }
}
