//! Sharing out what only one policy can have: hosts, and the role of the fallback. Candidates come oldest first.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Candidate, LastGood, Options, Outcome, Problem,
    api_key::Tables,
    conflicts::{Claims, Share},
    policy::{self, Built},
    references,
    verdict::{self, Fallback, Verdict},
};
use crate::{
    documents::{Object, Objects, Place},
    hosts::HostPattern,
    push::{Pushed, PushedPolicy},
    snapshot::{Entry, Held, InForce, KeySetSource, Snapshot, SnapshotBuilder},
};

/// A policy set in the making.
pub(super) struct Sharing<'a> {
    options: &'a Options,
    last_good: &'a LastGood,
    tables: &'a Tables,
    objects: &'a Objects,
    claims: Claims,
    builder: SnapshotBuilder,
    verdicts: Vec<Verdict>,
    key_sets: Vec<KeySetSource>,
    fallback: Option<Arc<str>>,
    entries: Vec<Arc<str>>,
    in_force: HashSet<Arc<str>>,
    pushed: Vec<Pushed>,
}

/// A policy set that is made.
pub(super) struct Shared {
    pub(super) snapshot: Snapshot,
    pub(super) verdicts: Vec<Verdict>,
    /// Policies whose newest version is in force.
    pub(super) in_force: HashSet<Arc<str>>,
    /// The policy that answers for every host.
    pub(super) alone: Option<Arc<str>>,
    /// Every policy as a data plane gets it.
    pub(super) pushed: Vec<Pushed>,
}

/// What one policy got.
struct Got {
    share: Share,
    is_fallback: bool,
}

// === impl Sharing ===

impl<'a> Sharing<'a> {
    pub(super) fn new(options: &'a Options, last_good: &'a LastGood, tables: &'a Tables, objects: &'a Objects) -> Self {
        Self {
            options,
            last_good,
            tables,
            objects,
            claims: Claims::default(),
            builder: SnapshotBuilder::default(),
            verdicts: Vec::new(),
            key_sets: Vec::new(),
            fallback: None,
            entries: Vec::new(),
            in_force: HashSet::new(),
            pushed: Vec::new(),
        }
    }

    /// The next policy takes what is left of what it claims.
    pub(super) fn add(&mut self, Candidate { object, outcome }: &Candidate<'_>) {
        let object: &Object = object;
        match outcome {
            Outcome::Ambiguous(kept, other) => self.ambiguous(object, kept.as_ref(), other),
            Outcome::Nothing(problems) => self.hold(object, problems),
            Outcome::Good(built) => self.accept(object, built),
            Outcome::LastGood(built, problems) => {
                let got = self.take(object, &built.hosts, built.fallback);
                self.verdicts.push(verdict::rejected(object, problems, true));
                self.put(object, built, got);
            }
            Outcome::Unreadable(built) => {
                let got = self.take(object, &built.hosts, built.fallback);
                self.verdicts.push(verdict::unreadable(object, &self.objects.unreadable));
                self.put(object, built, got);
            }
        }
    }

    /// The set, with the policy that is alone, if there is one.
    pub(super) fn finish(self) -> Shared {
        let only = match self.entries.as_slice() {
            [one] if self.options.lone_policy_answers_all => Some(one.clone()),
            _ => None,
        };
        // A document that cannot be read may be another policy: then only the one that was alone before still is.
        let hidden = self.objects.unreadable.iter().any(|one| one.hides_object);
        let alone = only.filter(|only| !hidden || self.last_good.alone() == Some(only));
        let snapshot = self.builder.finish(alone.is_some(), self.key_sets);
        Shared { snapshot, verdicts: self.verdicts, in_force: self.in_force, alone, pushed: self.pushed }
    }

    fn take(&mut self, object: &Object, hosts: &[HostPattern], wants_fallback: bool) -> Got {
        let namespace = references::namespace(&object.name);
        let (granted, not_granted) = hosts.iter().cloned().partition(|host| self.options.grants(namespace, host));
        let granted: Vec<HostPattern> = granted;
        let share = Share { not_granted, ..self.claims.claim(&object.name, &granted) };
        let is_fallback = wants_fallback && self.may_be_fallback(object) && self.fallback.is_none();
        if is_fallback {
            self.fallback = Some(object.name.clone());
        }
        Got { share, is_fallback }
    }

    /// Never accepted: its hosts and its role are answered with `unavailable`, never by a policy that is laxer.
    fn hold(&mut self, object: &Object, problems: &[Problem]) {
        let wants_fallback = object.document.value().pointer("/spec/fallback") == Some(&Value::Bool(true));
        let got = self.take(object, &declared_hosts(object), wants_fallback);
        self.verdicts.push(verdict::rejected(object, problems, false));
        self.put_held(object, got);
    }

    /// Two documents of one name: what was in force before stays; if nothing was, the hosts of both are held.
    fn ambiguous(&mut self, object: &Object, kept: Option<&Built>, other: &Place) {
        self.verdicts.push(verdict::duplicate(object, other));
        if let Some(built) = kept {
            let got = self.take(object, &built.hosts, built.fallback);
            self.put(object, built, got);
        } else {
            let got = self.take(object, &declared_hosts(object), false);
            self.put_held(object, got);
        }
    }

    fn accept(&mut self, object: &Object, built: &Built) {
        let got = self.take(object, &built.hosts, built.fallback);
        let here = self.may_be_fallback(object);
        let fallback = Fallback {
            taken_by: self.fallback.clone().filter(|_| built.fallback && here && !got.is_fallback),
            not_here: built.fallback && !here,
        };
        // Without a host and without a role it claims nothing that could be lost: it is reached by name, or alone.
        let claims_something = !built.hosts.is_empty() || fallback.taken_by.is_some();
        let nothing_left = claims_something && got.share.kept.is_empty() && !got.is_fallback;
        if !nothing_left {
            self.verdicts.push(verdict::accepted(object, built, &got.share, &fallback));
            self.in_force.insert(object.name.clone());
            return self.put(object, built, got);
        }
        // An edit that loses every host is a rejected edit: what the version before it has stays its own.
        let older = self.last_good.get(object).and_then(|older| policy::build(&older, self.objects, self.tables).ok());
        let older = older.map(|older| (self.take(object, &older.hosts, older.fallback), older));
        let older = older.filter(|(got, _)| !got.share.kept.is_empty() || got.is_fallback);
        self.verdicts.push(verdict::nothing_left(object, built, &got.share, &fallback, older.is_some()));
        match older {
            Some((got, older)) => self.put(object, &older, got),
            None => self.put_held(object, got),
        }
    }

    fn put(&mut self, object: &Object, built: &Built, got: Got) {
        self.key_sets.extend(built.key_sets.iter().cloned());
        self.entries.push(object.name.clone());
        self.pushed.push(Pushed {
            policy: PushedPolicy {
                name: object.name.clone(),
                document: Some(built.document.clone()),
                hosts: got.share.kept.clone(),
                fallback: got.is_fallback,
            },
            generation: built.document.generation(),
            newest: built.document == object.document,
            references: built.references.iter().map(|one| one.reference(&object.name)).collect(),
            own_keys: built.own_keys.keys().copied().filter(|_| !built.selects_workloads).collect(),
            issuers: built.key_sets.len(),
            hands_out: built.policy.hands_out(),
        });
        self.builder
            .add(Entry::InForce(InForce { policy: built.policy.clone(), hosts: got.share.kept }), got.is_fallback);
    }

    fn put_held(&mut self, object: &Object, got: Got) {
        self.entries.push(object.name.clone());
        self.pushed.push(Pushed {
            policy: PushedPolicy {
                name: object.name.clone(),
                document: None,
                hosts: got.share.kept.clone(),
                fallback: got.is_fallback,
            },
            generation: None,
            newest: false,
            references: Vec::new(),
            own_keys: BTreeSet::new(),
            issuers: 0,
            hands_out: false,
        });
        self.builder.add(Entry::Held(Held { name: object.name.clone(), hosts: got.share.kept }), got.is_fallback);
    }

    fn may_be_fallback(&self, object: &Object) -> bool {
        let wanted = self.options.fallback_namespace.as_ref();
        wanted.is_none_or(|namespace| references::namespace(&object.name) == namespace)
    }
}

/// The hosts a rejected document can be read to declare.
fn declared_hosts(object: &Object) -> Vec<HostPattern> {
    let document = object.document.value();
    let Some(hosts) = document.pointer("/spec/externalHostnames") else { return Vec::new() };
    let texts = match hosts {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text.as_str()],
        _ => Vec::new(),
    };
    let mut hosts: Vec<_> = texts.into_iter().filter_map(|text| HostPattern::parse(text).ok()).collect();
    hosts.truncate(64);
    hosts
}
