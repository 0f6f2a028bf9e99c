//! What referenced Secrets and ConfigMaps hold: what is known of each, and what has to be read, or read again.
//!
//! Watches tell that something changed, reads tell what it holds now, and lists of a selection tell what there is. Owns which of them
//! counts: an event outlives a list that began before it. An error of the API server never deletes anything here.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use crds::{
    documents::{Objects, ReferenceKind},
    push::Reference,
};
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::{
    fetch::{Content, Fetched, Wanted},
    held,
    slots::{Selection, Slot, is_outside, namespace, selects, wanted},
};
use crate::watch::{CallError, Change};

/// How often values are read where they cannot be watched.
const POLL: Duration = Duration::from_secs(30);

/// Everything that is known of values.
#[derive(Default)]
pub(super) struct Values {
    slots: BTreeMap<(ReferenceKind, String), Slot>,
    selections: BTreeMap<Wanted, Selection>,
    /// What lists that are being told showed of [`Values::slots`].
    sightings: BTreeMap<(ReferenceKind, usize), BTreeSet<String>>,
    /// Sources that were read once, or cannot be.
    told: BTreeSet<(ReferenceKind, usize)>,
    /// Sources that cannot be watched.
    blind: BTreeSet<(ReferenceKind, usize)>,
    /// Namespaces that are watched; empty: all.
    watched: Vec<String>,
    polled: Option<Instant>,
    /// How many changes there were since they were taken.
    edits: u32,
}

// === impl Values ===

impl Values {
    pub(super) fn new(watched: Vec<String>) -> Self {
        Self { watched, ..Self::default() }
    }

    /// Whether every source was read once, or cannot be.
    pub(super) fn are_told(&self) -> bool {
        self.told.len() >= 2 * self.watched.len().max(1)
    }

    /// How many changes there were since they were taken.
    pub(super) const fn edits(&self) -> u32 {
        self.edits
    }

    /// Counts anew.
    pub(super) fn take_edits(&mut self) -> u32 {
        std::mem::take(&mut self.edits)
    }

    pub(super) fn change(&mut self, kind: ReferenceKind, source: usize, change: Change) {
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
                for ((of, name), slot) in &mut self.slots {
                    if *of == kind && !sighted.contains(name) && slot.content.as_ref().is_some_and(Option::is_some) {
                        slot.read.fresh = false;
                    }
                }
            }
            Change::Gone(meta) => self.gone(kind, &meta),
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
        if let Some(slot) = self.slots.get_mut(&key) {
            let same = slot.content.as_ref().and_then(Option::as_ref).is_some_and(|content| content.version == version);
            slot.read.fresh &= same;
        } else if kind == ReferenceKind::Secret && self.selections.keys().any(|one| selects(one, meta)) {
            self.slots.insert(key.clone(), Slot::default());
        } else {
            self.outdate(kind, &name);
            return None;
        }
        Some(key.1)
    }

    fn gone(&mut self, kind: ReferenceKind, meta: &Value) {
        let Some(name) = held::name(meta) else { return };
        self.outdate(kind, &name);
        let Some(slot) = self.slots.get_mut(&(kind, name.to_string())) else { return };
        // A read that is under way may have begun before the end.
        slot.read.fresh &= !slot.read.under_way;
        let uid = meta.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        // Another object of that name is there already: it is not gone.
        if slot.content.as_ref().and_then(Option::as_ref).is_some_and(|content| content.uid == uid) {
            slot.content = Some(None);
            self.edits += 1;
        }
    }

    /// It is not there, or not in any selection: lists that are under way may say what was before.
    fn outdate(&mut self, kind: ReferenceKind, name: &str) {
        if kind != ReferenceKind::Secret {
            return;
        }
        for (one, selection) in &mut self.selections {
            if selection.read.under_way && one.namespace() == namespace(name) {
                selection.outdated.insert(name.to_owned());
            }
        }
    }

    /// Why something of this could not be read, if that is so: what is missing in a status may be there.
    pub(super) fn unread(&self, references: &[Reference]) -> Option<&str> {
        let read = references.iter().filter_map(|reference| match wanted(reference) {
            Wanted::Named { kind, name } => self.slots.get(&(kind, name)).map(|slot| &slot.read),
            selection @ Wanted::Selected { .. } => self.selections.get(&selection).map(|one| &one.read),
        });
        read.into_iter().find_map(|read| read.why.as_deref())
    }

    /// What came of a read.
    pub(super) fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Named(kind, name, result) => self.fetched_named(&(kind, name), result),
            Fetched::Selected(wanted, result) => self.fetched_selected(&wanted, result),
        }
    }

    fn fetched_named(&mut self, key: &(ReferenceKind, String), result: Result<Option<Content>, CallError>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.read.ended(result.as_ref().err());
        match result {
            Ok(content) => {
                if !slot.holds(content.as_ref()) {
                    slot.content = Some(content);
                    self.edits += 1;
                }
            }
            Err(error) if slot.read.failures == 1 => warn!(object = key.1, %error, "what is known of it stays"),
            Err(_) => {}
        }
    }

    fn fetched_selected(&mut self, wanted: &Wanted, result: Result<BTreeMap<String, Content>, CallError>) {
        let Some(selection) = self.selections.get_mut(wanted) else { return };
        selection.read.ended(result.as_ref().err());
        let outdated = std::mem::take(&mut selection.outdated);
        match result {
            Ok(mut found) => {
                selection.known = true;
                found.retain(|name, _| !outdated.contains(name));
                for (name, content) in found {
                    self.listed(name, content);
                }
                self.edits += 1;
            }
            Err(error) if selection.read.failures == 1 => warn!(?wanted, %error, "what is known of them stays"),
            Err(_) => {}
        }
    }

    /// A Secret that is in a selection. What is known of it already may be newer, and is read again if it is another version; of one that
    /// waits to be read this is good until then, so that no policy comes into force without it.
    fn listed(&mut self, name: String, content: Content) {
        match self.slots.entry((ReferenceKind::Secret, name)) {
            Entry::Vacant(vacant) => {
                let slot = vacant.insert(Slot { content: Some(Some(content)), ..Slot::default() });
                slot.read.fresh = true;
            }
            Entry::Occupied(mut occupied) => {
                let slot = occupied.get_mut();
                if slot.content.is_none() {
                    slot.content = Some(Some(content));
                } else if !slot.holds(Some(&content)) {
                    slot.read.fresh = false;
                }
            }
        }
    }

    /// What has to be read now, each with a pause before.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<(Wanted, Duration)> {
        if self.polls(now) {
            self.polled = Some(now);
            let (watched, blind) = (&self.watched, !self.blind.is_empty());
            let due = self.slots.iter_mut().filter(|((_, name), _)| blind || is_outside(watched, namespace(name)));
            due.for_each(|(_, slot)| slot.read.fresh = false);
            let due = self.selections.iter_mut().filter(|(one, _)| blind || is_outside(watched, one.namespace()));
            due.for_each(|(_, selection)| selection.read.fresh = false);
        }
        let named = self.slots.iter_mut().filter_map(|((kind, name), slot)| {
            slot.read.begin().map(|pause| (Wanted::Named { kind: *kind, name: name.clone() }, pause))
        });
        let selected = self.selections.iter_mut();
        let selected = selected.filter_map(|(wanted, one)| one.read.begin().map(|pause| (wanted.clone(), pause)));
        named.chain(selected).collect()
    }

    /// Slots for what is referenced; what nobody refers to any more is forgotten at once, secrets first of all.
    pub(super) fn refer(&mut self, all: BTreeSet<Wanted>) {
        self.selections.retain(|wanted, _| all.contains(wanted));
        let (mut named, mut selected) = (BTreeSet::new(), BTreeSet::new());
        for one in all {
            match one {
                Wanted::Named { kind, name } => drop(named.insert((kind, name))),
                Wanted::Selected { ref namespace, .. } => {
                    selected.insert(namespace.clone());
                    self.selections.entry(one).or_default();
                }
            }
        }
        let in_selection = |name: &str| selected.contains(namespace(name));
        self.slots.retain(|key, slot| {
            let is_gone = matches!(slot.content, Some(None));
            named.contains(key) || (key.0 == ReferenceKind::Secret && in_selection(&key.1) && !is_gone)
        });
        for one in named {
            self.slots.entry(one).or_default();
        }
    }

    /// Whether values have to be read that no watch tells of.
    fn polls(&self, now: Instant) -> bool {
        let outside = || {
            self.slots.keys().any(|(_, name)| is_outside(&self.watched, namespace(name)))
                || self.selections.keys().any(|one| is_outside(&self.watched, one.namespace()))
        };
        self.polled.is_none_or(|polled| now - polled >= POLL) && (!self.blind.is_empty() || outside())
    }

    /// Whether anything has to be read.
    pub(super) fn look(&self, now: Instant) -> bool {
        self.polls(now)
            || self.slots.values().any(|slot| slot.read.is_due())
            || self.selections.values().any(|one| one.read.is_due())
    }

    /// Whether this was read once.
    pub(super) fn is_known(&self, one: &Wanted) -> bool {
        match one {
            Wanted::Named { kind, name } => {
                self.slots.get(&(*kind, name.clone())).is_some_and(|slot| slot.content.is_some())
            }
            Wanted::Selected { .. } => self.selections.get(one).is_some_and(|one| one.known),
        }
    }

    /// Whether nothing was said of this yet: no read has ended, or the server was busy, broken or away.
    pub(super) fn is_awaited(&self, one: &Wanted) -> bool {
        let read = match one {
            Wanted::Named { kind, name } => self.slots.get(&(*kind, name.clone())).map(|slot| &slot.read),
            Wanted::Selected { .. } => self.selections.get(one).map(|one| &one.read),
        };
        !self.is_known(one) && read.is_none_or(|read| !read.refused)
    }

    /// Everything that is there, and what was never read: nobody may take that for absent.
    pub(super) fn put(&self, objects: &mut Objects) {
        for ((kind, name), slot) in &self.slots {
            match &slot.content {
                Some(Some(content)) => objects.put(*kind, name.clone(), content.values.clone()),
                Some(None) => {}
                None => objects.put_unread(*kind, name.clone()),
            }
        }
        for (one, _) in self.selections.iter().filter(|(_, selection)| !selection.known) {
            if let Wanted::Selected { namespace, labels } = one {
                objects.put_unread(ReferenceKind::Secret, format!("{namespace}/{labels}"));
            }
        }
    }
}
