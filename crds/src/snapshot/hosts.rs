//! The policy set of one moment, and which policy answers for a host.

use std::{collections::HashMap, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{KeySetSource, Policy};
use crate::hosts::HostPattern;

/// Every policy that exists, in force or not. Immutable; a lookup costs the same for one policy and for ten thousand.
#[derive(Debug, Default)]
pub struct Snapshot {
    entries: Vec<Entry>,
    by_name: HashMap<Arc<str>, usize>,
    exact: HashMap<Box<str>, usize>,
    suffix: HashMap<Box<str>, usize>,
    fallback: Option<usize>,
    alone: Option<usize>,
    key_sets: Vec<KeySetSource>,
}

/// A policy object as enforcement sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// This policy decides.
    InForce(InForce),
    /// The object exists and nothing of it was ever accepted: its hosts are answered with `unavailable`, never by another policy.
    Held(Held),
}

/// A policy that decides, and the hosts that lead to it.
#[derive(Debug, Clone, Serialize)]
pub struct InForce {
    /// The policy; shared by every snapshot it is part of unchanged.
    pub policy: Arc<Policy>,
    /// Its hosts after conflicts.
    pub hosts: Vec<HostPattern>,
}

/// A policy object with nothing in force.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// The hosts it could be read to declare.
    pub hosts: Vec<HostPattern>,
}

/// Collects entries and their hosts.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
}

// === impl Snapshot ===

impl Snapshot {
    /// The policy of this `namespace/name`.
    pub fn by_name(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).and_then(|index| self.entries.get(*index))
    }

    /// The policy that answers for a canonical host: exact, then the longest suffix, then the fallback, then one that is alone.
    pub fn for_host(&self, host: &str) -> Option<&Entry> {
        let exact = self.exact.get(host);
        let suffix = || {
            host.match_indices('.').find_map(|(dot, _)| host.get(dot + 1..).and_then(|suffix| self.suffix.get(suffix)))
        };
        let index = exact.or_else(suffix).or(self.fallback.as_ref()).or(self.alone.as_ref())?;
        self.entries.get(*index)
    }

    /// All entries, in the order in which they were added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every remote key set that a policy in force needs, by id.
    pub fn key_sets(&self) -> &[KeySetSource] {
        &self.key_sets
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name =
            |index: Option<usize>| index.and_then(|index| self.entries.get(index)).map(|entry| entry.name().clone());
        let mut out = serializer.serialize_struct("Snapshot", 4)?;
        out.serialize_field("policies", &self.entries)?;
        out.serialize_field("fallback", &name(self.fallback))?;
        out.serialize_field("alone", &name(self.alone))?;
        out.serialize_field("keySets", &self.key_sets)?;
        out.end()
    }
}

// === impl Entry ===

impl Entry {
    /// `namespace/name`.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::InForce(one) => &one.policy.name,
            Self::Held(held) => &held.name,
        }
    }

    fn hosts(&self) -> &[HostPattern] {
        match self {
            Self::InForce(one) => &one.hosts,
            Self::Held(held) => &held.hosts,
        }
    }
}

// === impl SnapshotBuilder ===

impl SnapshotBuilder {
    /// Adds an entry with the hosts it keeps; a host that is taken already stays where it is.
    pub fn add(&mut self, entry: Entry, fallback: bool) {
        let index = self.snapshot.entries.len();
        let snapshot = &mut self.snapshot;
        snapshot.by_name.entry(entry.name().clone()).or_insert(index);
        for host in entry.hosts() {
            match host {
                HostPattern::Exact(name) => snapshot.exact.entry(name.clone()).or_insert(index),
                HostPattern::Suffix(name) => snapshot.suffix.entry(name.clone()).or_insert(index),
            };
        }
        if fallback && snapshot.fallback.is_none() {
            snapshot.fallback = Some(index);
        }
        snapshot.entries.push(entry);
    }

    /// Closes the set. `lone_answers_all`: a policy that is the only one answers for every host (`gatewright run`).
    pub fn finish(mut self, lone_answers_all: bool, mut key_sets: Vec<KeySetSource>) -> Snapshot {
        if lone_answers_all && self.snapshot.entries.len() == 1 {
            self.snapshot.alone = Some(0);
        }
        key_sets.sort_by(|a, b| a.id.cmp(&b.id).then(a.max_age.cmp(&b.max_age)));
        // Two authenticators of one set: the shorter age serves both.
        key_sets.dedup_by(|later, first| later.id == first.id);
        self.snapshot.key_sets = key_sets;
        self.snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(name: &str, hosts: &[&str]) -> Entry {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        Entry::Held(Held { name: name.into(), hosts })
    }

    fn set(entries: &[(&str, &[&str], bool)], lone_answers_all: bool) -> Snapshot {
        let mut builder = SnapshotBuilder::default();
        entries.iter().for_each(|(name, hosts, fallback)| builder.add(held(name, hosts), *fallback));
        builder.finish(lone_answers_all, Vec::new())
    }

    fn answers<'s>(set: &'s Snapshot, host: &str) -> Option<&'s str> {
        set.for_host(host).map(|entry| &**entry.name())
    }

    #[test]
    fn the_nearest_pattern_answers() {
        let set = set(
            &[
                ("wide", &["*.test"], false),
                ("near", &["*.a.test", "other.test"], false),
                ("exact", &["x.a.test"], false),
                ("rest", &[], true),
                ("second-rest", &[], true),
                ("late", &["x.a.test", "*.test"], false),
            ],
            false,
        );
        for (host, expected) in [
            ("x.a.test", "exact"),
            ("y.a.test", "near"),
            ("y.x.a.test", "near"),
            ("a.test", "wide"),
            ("other.test", "near"),
            ("z.other.test", "wide"),
            ("test", "rest"),
            ("a.example", "rest"),
            ("localhost", "rest"),
        ] {
            assert_eq!(answers(&set, host), Some(expected), "{host}");
        }
    }

    #[test]
    fn without_a_fallback_only_a_lone_policy_answers_for_the_rest() {
        let one: &[(&str, &[&str], bool)] = &[("a", &["a.test"], false)];
        let two: &[(&str, &[&str], bool)] = &[("a", &["a.test"], false), ("b", &[], false)];
        for (entries, lone, expected) in
            [(one, true, Some("a")), (one, false, None), (two, true, None), (two, false, None)]
        {
            assert_eq!(answers(&set(entries, lone), "elsewhere.test"), expected);
        }
        let shown = serde_json::to_value(set(two, true)).unwrap();
        assert_eq!((&shown["alone"], shown["policies"].as_array().map(Vec::len)), (&serde_json::Value::Null, Some(2)));
    }

    #[test]
    fn a_name_finds_its_entry() {
        let set = set(&[("n/a", &[], false), ("n/b", &[], false)], false);
        assert_eq!(set.by_name("n/b").map(|entry| &**entry.name()), Some("n/b"));
        assert!(set.by_name("n/c").is_none());
        assert_eq!(set.entries().len(), 2);
    }

    #[test]
    fn a_key_set_is_there_once_with_the_shorter_age() {
        use std::time::Duration;

        use crate::snapshot::{Authorities, KeySetId};
        let source = |id: &str, seconds: u64| KeySetSource {
            id: KeySetId(id.into()),
            issuer: "https://issuer.example".into(),
            jwks_uri: None,
            max_age: Duration::from_secs(seconds),
            authorities: Authorities::System,
            cluster: false,
        };
        let sources = vec![source("b", 9), source("a", 2), source("a", 1), source("b", 3)];
        let set = SnapshotBuilder::default().finish(false, sources);
        assert_eq!(set.key_sets(), [source("a", 1), source("b", 3)]);
    }
}
