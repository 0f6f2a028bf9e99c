//! Pushed policies to a snapshot: the receiver's half of the compile step. Hosts and roles are given, not claimed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    api_key::Tables,
    policy::{self, Built},
};
use crate::{
    documents::{Document, Object, Objects, Place},
    push::PushedPolicy,
    snapshot::{Entry, Held, InForce, KeySetId, Snapshot, SnapshotBuilder},
};

/// Assembles policy sets one after the other, and keeps the compiled form of what does not change.
#[derive(Debug, Default)]
pub struct Assembler {
    memo: BTreeMap<Arc<str>, Built>,
    tables: Tables,
}

/// A policy set, and which of its policies could not be compiled here.
#[derive(Debug)]
pub struct Assembled {
    /// What is in force.
    pub snapshot: Snapshot,
    /// Policies whose document this build refuses, each with the reasons. What it accepted before stays in force; if there is nothing,
    /// the hosts are answered with `unavailable`.
    pub rejected: Vec<Rejected>,
    /// Which policy verifies by which remote keys.
    pub key_sets: Vec<(Arc<str>, KeySetId)>,
}

/// One refused document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// `namespace/name`.
    pub policy: Arc<str>,
    /// Field paths and what is wrong there.
    pub reason: String,
}

// === impl Assembler ===

impl Assembler {
    /// Compiles what was pushed, against the values that came with it.
    pub fn assemble<'p>(
        &mut self,
        policies: impl IntoIterator<Item = &'p PushedPolicy>,
        values: &Objects,
    ) -> Assembled {
        let (mut builder, mut rejected) = (SnapshotBuilder::default(), Vec::new());
        let (mut key_sets, mut users) = (Vec::new(), Vec::new());
        let mut present: HashSet<Arc<str>> = HashSet::new();
        for pushed in policies {
            present.insert(pushed.name.clone());
            let entry = if let Some(built) = self.in_force(pushed, values, &mut rejected) {
                users.extend(built.key_sets.iter().map(|set| (pushed.name.clone(), set.id.clone())));
                key_sets.extend(built.key_sets.iter().cloned());
                let entry = InForce { policy: built.policy.clone(), hosts: pushed.hosts.clone() };
                self.memo.insert(pushed.name.clone(), built);
                Entry::InForce(entry)
            } else {
                // Nothing is in force: nor is it something to come back to.
                self.memo.remove(&pushed.name);
                Entry::Held(Held { name: pushed.name.clone(), hosts: pushed.hosts.clone() })
            };
            builder.add(entry, pushed.fallback);
        }
        self.memo.retain(|name, _| present.contains(name));
        Assembled { snapshot: builder.finish(false, key_sets), rejected, key_sets: users }
    }

    fn in_force(&self, pushed: &PushedPolicy, values: &Objects, rejected: &mut Vec<Rejected>) -> Option<Built> {
        let document = pushed.document.as_ref()?;
        self.built(&pushed.name, document, values).map_or_else(
            |reason| {
                rejected.push(Rejected { policy: pushed.name.clone(), reason });
                self.before(&pushed.name, document, values)
            },
            Some,
        )
    }

    fn built(&self, name: &Arc<str>, document: &Document, values: &Objects) -> Result<Built, String> {
        let object = object(name, document.clone());
        if let Some(built) = self.memo.get(name).filter(|built| built.is_of(&object, values)) {
            return Ok(built.clone());
        }
        policy::build(&object, values, &self.tables).map_err(|problems| {
            problems.iter().map(|one| format!("{}: {}", one.path, one.message)).collect::<Vec<_>>().join("; ")
        })
    }

    /// What was accepted before a document that is refused, if it is of the same object; with the values of now, so that what is deleted
    /// or revoked ends all the same.
    fn before(&self, name: &Arc<str>, refused: &Document, values: &Objects) -> Option<Built> {
        let accepted = self.memo.get(name).map(|built| &built.document)?;
        if accepted.uid() != refused.uid() {
            return None;
        }
        self.built(name, accepted, values).ok()
    }
}

fn object(name: &Arc<str>, document: Document) -> Object {
    let place = Place { file: "operator".into(), line: 0 };
    Object::of(crate::v1alpha1::AUTH_POLICY, name.clone(), &place, document)
}
