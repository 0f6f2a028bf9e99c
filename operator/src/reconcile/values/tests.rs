//! Which of an event, a read and a list counts, in whatever order they come; and what is read again.

use serde_json::json;

use super::*;
use crate::reconcile::fetch;

const LABELS: [(&str, &str); 2] = [("keys", "yes"), ("keys", "no")];

fn meta(name: &str, version: &str, (label, value): (&str, &str)) -> Value {
    json!({"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": version, "labels": {label: value}}})
}

fn content(name: &str, version: &str) -> Content {
    fetch::content(ReferenceKind::Secret, &meta(name, version, LABELS[0]))
}

fn selection() -> Wanted {
    Wanted::Selected { namespace: "a".to_owned(), labels: "keys=yes".to_owned() }
}

fn named(name: &str) -> Wanted {
    Wanted::Named { kind: ReferenceKind::Secret, name: format!("a/{name}") }
}

impl Values {
    /// Of a policy that refers to the selection; it is being listed.
    fn listing(watched: &[&str], now: Instant) -> Self {
        let mut values = Self::new(watched.iter().map(|one| (*one).to_owned()).collect());
        values.refer(BTreeSet::from([selection()]));
        assert_eq!(values.asked(now), [selection()]);
        values
    }

    fn asked(&mut self, now: Instant) -> Vec<Wanted> {
        self.wanted(now).into_iter().map(|(one, _)| one).collect()
    }

    fn put_one(&mut self, meta: Value) {
        self.change(ReferenceKind::Secret, 0, Change::Put(meta));
    }

    /// The list ends with these, in these versions.
    fn list(&mut self, found: &[(&str, &str)]) {
        let found = found.iter().map(|(name, version)| (format!("a/{name}"), content(name, version)));
        self.fetched(Fetched::Selected(selection(), Ok(found.collect())));
    }

    /// A read ends.
    fn reads(&mut self, name: &str, found: Option<&str>) {
        let found = found.map(|version| content(name, version));
        self.fetched(Fetched::Named(ReferenceKind::Secret, format!("a/{name}"), Ok(found)));
    }

    /// What is there, in which version.
    fn there(&self) -> Vec<(&str, &str)> {
        let there = self.slots.iter().filter_map(|((_, name), slot)| Some((name, slot.content.as_ref()?.as_ref()?)));
        there.map(|(name, content)| (&**name, &*content.version)).collect()
    }
}

#[test]
fn a_selection_is_read_as_a_whole_and_not_one_by_one() {
    let now = Instant::now();
    let mut values = Values::listing(&[], now);
    values.list(&[("x", "1"), ("y", "1")]);
    assert_eq!(values.there(), [("a/x", "1"), ("a/y", "1")]);
    assert!(values.is_known(&selection()) && values.take_edits() > 0 && !values.look(now));
    assert_eq!(values.asked(now), []);
}

#[test]
fn a_list_brings_back_no_older_version_and_cancels_no_read() {
    let now = Instant::now();
    // Changed after the list was read; the change is told, and even read, before the list is here.
    let mut values = Values::listing(&[], now);
    values.put_one(meta("x", "2", LABELS[0]));
    assert_eq!(values.asked(now), [named("x")]);
    values.reads("x", Some("2"));
    values.list(&[("x", "1")]);
    assert_eq!(values.there(), [("a/x", "2")]);
    // Not read yet: it still is, and meanwhile what the list says is better than nothing.
    let mut values = Values::listing(&[], now);
    values.put_one(meta("x", "2", LABELS[0]));
    values.list(&[("x", "1"), ("y", "1")]);
    assert_eq!(values.there(), [("a/x", "1"), ("a/y", "1")]);
    assert_eq!(values.asked(now), [named("x")]);
    values.reads("x", Some("2"));
    assert_eq!(values.there(), [("a/x", "2"), ("a/y", "1")]);
}

#[test]
fn a_list_brings_back_no_secret_that_was_deleted_or_lost_its_label() {
    let now = Instant::now();
    for known in [false, true] {
        let mut values = Values::listing(&[], now);
        if known {
            values.list(&[("x", "1")]);
            values.selections.values_mut().for_each(|one| one.read.fresh = false);
            assert_eq!(values.asked(now), [selection()]);
        }
        values.change(ReferenceKind::Secret, 0, Change::Gone(meta("x", "1", LABELS[0])));
        values.list(&[("x", "1")]);
        assert_eq!(values.asked(now), [], "known: {known}");
        assert_eq!(values.there(), [], "known: {known}");
    }
    let mut values = Values::listing(&[], now);
    values.put_one(meta("x", "2", LABELS[1]));
    values.list(&[("x", "1")]);
    assert_eq!(values.asked(now), []);
    assert_eq!(values.there(), []);
}

#[test]
fn a_read_that_began_before_the_end_brings_nothing_back() {
    let now = Instant::now();
    let mut values = Values::new(Vec::new());
    values.refer(BTreeSet::from([named("x")]));
    assert_eq!(values.asked(now), [named("x")]);
    values.change(ReferenceKind::Secret, 0, Change::Gone(meta("x", "1", LABELS[0])));
    values.reads("x", Some("1"));
    assert_eq!(values.asked(now), [named("x")], "once more");
    values.reads("x", None);
    assert_eq!(values.asked(now), []);
    assert_eq!(values.there(), []);
}

/// Nothing tells of a change there.
#[test]
fn a_selection_that_cannot_be_watched_is_listed_again() {
    let now = Instant::now();
    for watched in [&["b"][..], &[]] {
        let mut values = Values::listing(watched, now);
        if watched.is_empty() {
            values.list(&[]);
            values.change(ReferenceKind::Secret, 0, Change::Trouble("forbidden".to_owned()));
            assert_eq!(values.asked(now), [selection()]);
        }
        values.list(&[]);
        let soon = now + POLL / 2;
        assert!(!values.look(soon) && values.asked(soon).is_empty());
        let later = now + POLL;
        assert!(values.look(later));
        assert_eq!(values.asked(later), [selection()]);
        values.list(&[("x", "1")]);
        assert_eq!((values.there(), values.look(later)), (vec![("a/x", "1")], false));
        // What it shows of one that is known is a reason to read that one.
        assert_eq!(values.asked(later + POLL), [named("x"), selection()]);
        values.reads("x", Some("2"));
        values.list(&[("x", "3")]);
        assert_eq!(values.asked(later + POLL), [named("x")]);
        values.reads("x", Some("3"));
        assert_eq!(values.there(), [("a/x", "3")]);
    }
}
