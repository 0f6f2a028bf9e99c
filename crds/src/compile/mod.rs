//! Documents to snapshot and verdicts: pure, total, ordered.
//!
//! ```text
//!  Objects ──► validate ──► build ──► conflicts ──► Snapshot   (what enforcement reads)
//!     │           │           │           │     └─► Verdicts   (what status and `check` say)
//!     │           └── a bad object rejects only itself; its last good version stays in force
//!     └── references (Secrets, ConfigMaps) are read by name, of the same namespace
//! ```
//!
//! Must never do IO, read a clock, or accept something it then ignores. The same function runs in `check`, `explain`, `run`, and
//! wherever configuration is served from: what is accepted here is what is enforced.

mod api_key;
mod authenticator;
mod conflicts;
mod forward;
mod last_good;
mod policy;
mod references;
mod rules;
mod static_key;
#[cfg(test)]
mod tests;
mod validate;
mod verdict;

use std::{collections::BTreeMap, sync::Arc};

pub use last_good::LastGood;
pub use verdict::{Condition, ConditionType, Reason, Verdict};

use self::{conflicts::Claims, policy::Built};
use crate::{
    documents::{Object, Objects},
    hosts::HostPattern,
    schema::{Problem, ProblemKind},
    snapshot::{Entry, Held, InForce, Snapshot, SnapshotBuilder},
};

/// What differs between the places a policy set is compiled for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A policy that is the only one answers for every host (`gatewright run`).
    pub lone_policy_answers_all: bool,
    /// The only namespace whose policies may be the fallback; `None`: any.
    pub fallback_namespace: Option<String>,
}

/// The result.
#[derive(Debug)]
pub struct Compiled {
    /// What is in force.
    pub snapshot: Snapshot,
    /// One verdict per object, policies first, each kind by name.
    pub verdicts: Vec<Verdict>,
}

/// Compiles policy sets one after the other. Keeps what is needed for the next: the last good version of each policy, and the
/// compiled form of those that did not change.
#[derive(Debug, Default)]
pub struct Compiler {
    options: Options,
    last_good: LastGood,
    memo: BTreeMap<Arc<str>, Built>,
    tables: api_key::Tables,
}

/// One object with what came of it, before hosts are shared out.
struct Candidate<'a> {
    object: &'a Object,
    outcome: Outcome,
}

enum Outcome {
    /// Its newest version is good.
    Good(Built),
    /// Its newest version is not; an older one is in force.
    LastGood(Built, Vec<Problem>),
    /// No version was ever good.
    Nothing(Vec<Problem>),
    /// Another document has its name.
    Duplicate(crate::documents::Place),
}

// === impl Compiler ===

impl Compiler {
    /// A compiler that starts from the versions in `last_good`.
    pub fn new(options: Options, last_good: LastGood) -> Self {
        Self { options, last_good, ..Self::default() }
    }

    /// The last good versions, to be kept across a restart.
    pub fn last_good(&self) -> &LastGood {
        &self.last_good
    }

    /// Compiles a policy set.
    pub fn compile(&mut self, objects: &Objects) -> Compiled {
        let candidates = self.candidates(objects);
        self.remember(&candidates, objects);
        let retained = self.retained(objects);
        let (snapshot, mut verdicts) = self.share_out(&candidates, &retained, objects);
        verdicts.extend(objects.data_sources.iter().map(validate::data_source));
        verdicts.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Compiled { snapshot, verdicts }
    }

    /// Each policy on its own, oldest first, then by name: the order in which hosts are given away.
    fn candidates<'a>(&mut self, objects: &'a Objects) -> Vec<Candidate<'a>> {
        let mut ordered: Vec<&Object> = objects.policies.iter().collect();
        // An object without a time comes after those with one; text order of RFC 3339 in UTC is time order.
        ordered.sort_by(|a, b| (a.created.is_none(), &a.created, &a.name).cmp(&(b.created.is_none(), &b.created, &b.name)));
        let mut seen: BTreeMap<&str, &Object> = BTreeMap::new();
        let mut candidates = Vec::with_capacity(ordered.len());
        for object in ordered {
            let outcome = match seen.get(&*object.name) {
                Some(first) => Outcome::Duplicate(first.place.clone()),
                None => self.outcome(object, objects),
            };
            seen.entry(&object.name).or_insert(object);
            candidates.push(Candidate { object, outcome });
        }
        candidates
    }

    fn outcome(&mut self, object: &Object, objects: &Objects) -> Outcome {
        if let Some(built) = self.memo.get(&object.name).filter(|built| built.is_of(object, objects)) {
            return Outcome::Good(built.clone());
        }
        match policy::build(object, objects, &self.tables) {
            Ok(built) => Outcome::Good(built),
            Err(problems) => {
                let older = self.last_good.get(object).and_then(|older| policy::build(&older, objects, &self.tables).ok());
                match older {
                    Some(built) => Outcome::LastGood(built, problems),
                    None => Outcome::Nothing(problems),
                }
            }
        }
    }

    /// Good versions replace what was kept; objects that are gone are forgotten, unless the file they stood in cannot be read now.
    fn remember(&mut self, candidates: &[Candidate<'_>], objects: &Objects) {
        self.memo.clear();
        for candidate in candidates {
            if let Outcome::Good(built) = &candidate.outcome {
                self.memo.insert(candidate.object.name.clone(), built.clone());
                // Without authenticators there is nothing good to come back to.
                if !built.no_authenticators {
                    self.last_good.keep(candidate.object);
                }
            }
        }
        self.last_good.forget_absent(objects);
    }

    /// Policies whose document cannot be read at the moment, in their last good version.
    fn retained(&self, objects: &Objects) -> Vec<(Object, Built)> {
        let absent = self.last_good.objects().filter(|kept| !objects.policies.iter().any(|one| one.name == kept.name));
        absent.filter_map(|kept| policy::build(&kept, objects, &self.tables).ok().map(|built| (kept, built))).collect()
    }

    fn share_out(&self, candidates: &[Candidate<'_>], retained: &[(Object, Built)], objects: &Objects) -> (Snapshot, Vec<Verdict>) {
        let (mut claims, mut builder) = (Claims::default(), SnapshotBuilder::default());
        let (mut verdicts, mut key_sets) = (Vec::new(), Vec::new());
        let mut fallback: Option<Arc<str>> = None;
        for (object, built) in retained {
            let kept = claims.claim(&object.name, &built.hosts);
            key_sets.extend(built.key_sets.iter().cloned());
            verdicts.push(verdict::unreadable(object, &objects.unreadable));
            builder.add(in_force(built, kept.kept), built.fallback);
        }
        for Candidate { object, outcome } in candidates {
            let (built, problems) = match outcome {
                Outcome::Duplicate(first) => {
                    verdicts.push(verdict::duplicate(object, first));
                    continue;
                }
                Outcome::Nothing(problems) => {
                    let kept = claims.claim(&object.name, &declared_hosts(object));
                    builder.add(held(object, kept.kept), false);
                    verdicts.push(verdict::rejected(object, problems, false));
                    continue;
                }
                Outcome::Good(built) => (built, None),
                Outcome::LastGood(built, problems) => (built, Some(problems)),
            };
            let share = claims.claim(&object.name, &built.hosts);
            let wants_fallback = built.fallback && self.may_be_fallback(object);
            let fallback_taken = wants_fallback && fallback.is_some();
            if wants_fallback && fallback.is_none() {
                fallback = Some(object.name.clone());
            }
            let nothing_left = !built.hosts.is_empty() && share.kept.is_empty() && !(wants_fallback && !fallback_taken);
            verdicts.push(match problems {
                Some(problems) => verdict::rejected(object, problems, true),
                None => verdict::accepted(object, built, &share, verdict::Fallback {
                    taken_by: fallback.as_ref().filter(|_| fallback_taken),
                    not_here: built.fallback && !self.may_be_fallback(object),
                }, nothing_left),
            });
            if nothing_left {
                builder.add(held(object, Vec::new()), false);
            } else {
                key_sets.extend(built.key_sets.iter().cloned());
                builder.add(in_force(built, share.kept), wants_fallback && !fallback_taken);
            }
        }
        // A document that cannot be read may hold another policy: then nobody is known to be alone.
        let alone = self.options.lone_policy_answers_all && objects.unreadable.is_empty();
        (builder.finish(alone, key_sets), verdicts)
    }

    fn may_be_fallback(&self, object: &Object) -> bool {
        self.options.fallback_namespace.as_ref().is_none_or(|namespace| references::namespace(&object.name) == namespace)
    }
}

fn in_force(built: &Built, hosts: Vec<HostPattern>) -> Entry {
    Entry::InForce(InForce { policy: built.policy.clone(), hosts })
}

fn held(object: &Object, hosts: Vec<HostPattern>) -> Entry {
    Entry::Held(Held { name: object.name.clone(), hosts })
}

/// The hosts a rejected document can be read to declare: they are answered with `unavailable`, never by a policy that is laxer.
fn declared_hosts(object: &Object) -> Vec<HostPattern> {
    let Some(hosts) = object.value.pointer("/spec/externalHostnames") else { return Vec::new() };
    let texts = match hosts {
        serde_json::Value::Array(items) => items.iter().filter_map(serde_json::Value::as_str).collect(),
        serde_json::Value::String(text) => vec![text.as_str()],
        _ => Vec::new(),
    };
    let mut hosts: Vec<_> = texts.into_iter().filter_map(|text| HostPattern::parse(text).ok()).collect();
    hosts.truncate(64);
    hosts
}

/// A mistake at a field.
fn problem(path: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem { path: path.into(), message: message.into(), kind: ProblemKind::Invalid }
}
