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

mod answers;
mod api_key;
mod assemble;
mod authenticator;
mod authorization;
mod conflicts;
mod forward;
mod grant;
mod last_good;
mod limits;
mod places;
mod policy;
mod references;
mod remote;
mod replace;
mod rules;
mod second_factor;
mod service_account;
mod share;
mod static_key;
mod store;
#[cfg(test)]
mod tests;
mod validate;
mod verdict;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

pub use assemble::{Assembled, Assembler, Rejected};
pub use last_good::{LastGood, PARTS};
pub use verdict::{Condition, ConditionType, Reason, Verdict};

use self::{
    policy::Built,
    share::{Shared, Sharing},
};
use crate::{
    documents::{Object, Objects, Place},
    hosts::HostPattern,
    push::{Pushed, Reference},
    schema::{Problem, ProblemKind},
    snapshot::Snapshot,
};

/// What differs between the places a policy set is compiled for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A policy that is the only one answers for every host (`gatewright run`).
    pub lone_policy_answers_all: bool,
    /// The only namespace whose policies may be the fallback; `None`: any.
    pub fallback_namespace: Option<String>,
    /// Hosts that policies of a namespace may have. Empty: every namespace any host; else a namespace that is not named has none.
    pub grants: BTreeMap<String, Vec<HostPattern>>,
    /// Data planes that a `workloadSelector` selects have no signing keys of ours: what needs one there is `Unsupported`. A namespace that
    /// had such a key could sign in the name of everybody, before everybody's upstreams.
    pub workloads_without_own_keys: bool,
    /// A policy is served by several processes: connections can be counted in a store only, for a proxy's word about one reaches another
    /// process than its handshake did.
    pub many_replicas: bool,
}

/// The result.
#[derive(Debug)]
pub struct Compiled {
    /// What is in force.
    pub snapshot: Snapshot,
    /// One verdict per object, policies first, each kind by name.
    pub verdicts: Vec<Verdict>,
    /// Every policy as a data plane gets it, oldest first.
    pub pushed: Vec<Pushed>,
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
    object: Cow<'a, Object>,
    outcome: Outcome,
}

enum Outcome {
    /// Its newest version is good.
    Good(Built),
    /// Its newest version is not; an older one is in force.
    LastGood(Built, Vec<Problem>),
    /// Its document cannot be read at the moment; the last version that could is in force.
    Unreadable(Built),
    /// No version was ever good.
    Nothing(Vec<Problem>),
    /// Another document has its name, and neither can be told to be the one that is meant.
    Ambiguous(Option<Built>, Place),
}

// === impl Options ===

impl Options {
    /// A document that is valid, and can be enforced here: the newest of an object and any that is kept.
    fn build(&self, object: &Object, objects: &Objects, tables: &api_key::Tables) -> Result<Built, Vec<Problem>> {
        policy::build(object, objects, tables).and_then(|built| self.admits(built))
    }

    fn admits(&self, built: Built) -> Result<Built, Vec<Problem>> {
        match built.own_keys.values().next() {
            Some(path) if self.workloads_without_own_keys && built.selects_workloads => Err(vec![Problem {
                path: path.clone(),
                message: "keys of our own are for the operator's own authz, and `workloadSelector` is set; set `secretKeyRef` to the key to sign with"
                    .to_owned(),
                kind: ProblemKind::Unsupported,
            }]),
            _ if self.many_replicas && built.policy.rules.limits.counts_connections_alone() => Err(vec![Problem {
                path: "spec.limits.connections".to_owned(),
                message: "in a cluster needs `spec.limits.store`: replicas must count connections together".to_owned(),
                kind: ProblemKind::Unsupported,
            }]),
            _ => Ok(built),
        }
    }

    /// Whether policies of this namespace may have this host.
    fn grants(&self, namespace: &str, host: &HostPattern) -> bool {
        let granted = || self.grants.get(namespace).is_some_and(|all| all.iter().any(|one| one.covers(host)));
        self.grants.is_empty() || granted()
    }
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
        self.last_good.forget_absent(objects);
        let candidates = self.candidates(objects);
        let mut sharing = Sharing::new(&self.options, &self.last_good, &self.tables, objects);
        candidates.iter().for_each(|candidate| sharing.add(candidate));
        let Shared { snapshot, mut verdicts, in_force, alone, pushed } = sharing.finish();
        self.remember(&candidates, &in_force);
        self.last_good.set_alone(alone);
        verdicts.extend(objects.data_sources.iter().map(validate::data_source));
        verdicts.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Compiled { snapshot, verdicts, pushed }
    }

    /// Each policy on its own, oldest first, then by name: the order in which hosts are given away. Those whose document cannot be
    /// read at the moment are among them, or a younger one could take their hosts meanwhile.
    fn candidates<'a>(&self, objects: &'a Objects) -> Vec<Candidate<'a>> {
        let known: HashSet<&str> = objects.policies.iter().map(|object| &*object.name).collect();
        let absent = self.last_good.beside(&known).map(Cow::Owned);
        let mut ordered: Vec<(bool, Cow<'_, Object>)> =
            objects.policies.iter().map(|object| (true, Cow::Borrowed(object))).collect();
        ordered.extend(absent.map(|object| (false, object)));
        // An object without a time comes after those with one; text order of RFC 3339 in UTC is time order.
        ordered.sort_by(|(_, a), (_, b)| {
            let (first, second) = (a.document.created(), b.document.created());
            (first.is_none(), first, &a.name).cmp(&(second.is_none(), second, &b.name))
        });
        let mut places: HashMap<Arc<str>, Vec<Place>> = HashMap::new();
        for (_, object) in &ordered {
            places.entry(object.name.clone()).or_default().push(object.place.clone());
        }
        let mut candidates: Vec<Candidate<'a>> = Vec::with_capacity(ordered.len());
        for (readable, object) in ordered {
            let others = places.get(&object.name).map_or(&[][..], Vec::as_slice);
            // Of one place are two items of a List.
            let other = others.iter().find(|place| **place != object.place).or_else(|| others.get(1));
            let outcome = match other {
                Some(other) => {
                    // The first of them stands for all: a laxer copy must not override what was in force.
                    let first = !candidates.iter().rev().any(|one| one.object.name == object.name);
                    let kept = first.then(|| self.kept(&object.name, objects)).flatten();
                    Outcome::Ambiguous(kept, other.clone())
                }
                None if readable => self.outcome(&object, objects),
                None => self.build(&object, objects).map_or_else(Outcome::Nothing, Outcome::Unreadable),
            };
            candidates.push(Candidate { object, outcome });
        }
        candidates
    }

    fn kept(&self, name: &Arc<str>, objects: &Objects) -> Option<Built> {
        self.last_good.by_name(name).and_then(|kept| self.build(&kept, objects).ok())
    }

    fn build(&self, object: &Object, objects: &Objects) -> Result<Built, Vec<Problem>> {
        self.options.build(object, objects, &self.tables)
    }

    fn outcome(&self, object: &Object, objects: &Objects) -> Outcome {
        if let Some(built) = self.memo.get(&object.name).filter(|built| built.is_of(object, objects)) {
            return Outcome::Good(built.clone());
        }
        match self.build(object, objects) {
            Ok(built) => Outcome::Good(built),
            Err(problems) => match self.last_good.get(object).and_then(|older| self.build(&older, objects).ok()) {
                Some(built) => Outcome::LastGood(built, problems),
                None => Outcome::Nothing(problems),
            },
        }
    }

    /// Versions that came into force replace what was kept.
    fn remember(&mut self, candidates: &[Candidate<'_>], in_force: &HashSet<Arc<str>>) {
        self.memo.clear();
        for Candidate { object, outcome } in candidates {
            let Outcome::Good(built) = outcome else { continue };
            self.memo.insert(object.name.clone(), built.clone());
            if built.no_authenticators.is_some() {
                // In force, and nothing to come back to: neither is the version before it.
                self.last_good.forget(&object.name);
            } else if in_force.contains(&object.name) {
                self.last_good.keep(object);
            }
        }
    }
}

/// What a document reads, so that it can be read before the document is compiled. None for one that is refused anyway.
pub fn references(object: &Object) -> Vec<Reference> {
    let built = policy::build(object, &Objects::default(), &api_key::Tables::default());
    let resolved = built.map(|built| built.references).unwrap_or_default();
    resolved.iter().map(|one| one.reference(&object.name)).collect()
}

/// What kept versions read.
pub fn references_of_last_good(last_good: &LastGood) -> Vec<Reference> {
    last_good.beside(&HashSet::new()).flat_map(|object| references(&object)).collect()
}

/// A mistake at a field.
fn problem(path: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem { path: path.into(), message: message.into(), kind: ProblemKind::Invalid }
}
