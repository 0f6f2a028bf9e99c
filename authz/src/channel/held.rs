//! What a data plane holds of an operator's state, and a change on its way in. Pure: no socket, no clock, no file.
//!
//! A change is staged message by message and comes into force as a whole with its `state`; whatever ends before that leaves no trace.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crds::{
    compile::Assembler,
    documents::{Document, Objects},
    push::{Body, Name, PushedPolicy, Rejection, SigningKeys, State, Trust},
    snapshot::{KeySetId, Snapshot},
};

/// Everything that was applied, and what is staged beside it.
#[derive(Debug, Default)]
pub(super) struct Held {
    resources: BTreeMap<Name, Kept>,
    values: Objects,
    assembler: Assembler,
    /// The highest leadership that was believed.
    epoch: u64,
    staged: BTreeMap<Name, Option<Incoming>>,
    /// The last change of the stream at hand.
    counter: Option<u64>,
}

/// One resource in force.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) version: Arc<str>,
    pub(super) text: Arc<str>,
    policy: Option<Arc<PushedPolicy>>,
    /// The newest document that this build accepted: it outlives a refused one, across a restart too.
    pub(super) accepted: Option<Document>,
    /// Sent again after a reconnect: another sender, or another build here, may know better.
    refused: bool,
    /// Why the newest text cannot be read at all; what was before it is in force.
    unread: Option<String>,
}

/// One resource as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Incoming {
    pub(super) name: Name,
    pub(super) version: Arc<str>,
    pub(super) text: Arc<str>,
    /// What is in it; `Err`: why it cannot be read.
    pub(super) body: Result<Body, String>,
}

/// A change that came into force.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) snapshot: Snapshot,
    /// Everything that is refused now, not only what came last.
    pub(super) rejected: Vec<Rejection>,
    pub(super) key_sets: Vec<(Arc<str>, KeySetId)>,
    pub(super) trust: Option<Arc<str>>,
    pub(super) signing: Option<SigningKeys>,
    pub(super) epoch: u64,
}

/// A change that did not, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A leader that others have replaced.
    #[error("epoch {theirs} is over: {seen} was seen; another operator leads")]
    Epoch {
        /// The highest one seen here.
        seen: u64,
        /// The one of the change.
        theirs: u64,
    },
    /// A change that was sent before.
    #[error("change {theirs} came after {last}")]
    Order {
        /// The last one of this stream.
        last: u64,
        /// The one that came.
        theirs: u64,
    },
    /// Something was lost on the way.
    #[error("{counted} policies would be in force and {announced} were announced")]
    Incomplete {
        /// What the operator says.
        announced: usize,
        /// What is here.
        counted: usize,
    },
}

// === impl Held ===

impl Held {
    /// What was kept on disk.
    pub(super) fn restore(epoch: u64, kept: Vec<(Name, Kept)>) -> Self {
        let mut held = Self { epoch, ..Self::default() };
        for (name, mut one) in kept {
            match Body::read(&name, name.type_url(), one.text.as_bytes()) {
                Ok(Body::Policy(policy)) => one.policy = Some((*policy).into()),
                Ok(Body::Values(values)) => held.put(&name, values.shared()),
                Ok(Body::Trust(_) | Body::Signing(_) | Body::State(_)) => {}
                Err(error) => (one.refused, one.unread) = (true, Some(error.to_string())),
            }
            held.resources.insert(name, one);
        }
        // Twice: what was accepted last must be known before what may be refused.
        let accepted: Vec<PushedPolicy> = held.resources.values().filter_map(Kept::last_accepted).collect();
        if !accepted.is_empty() {
            held.assembler.assemble(&accepted, &held.values);
        }
        held
    }

    /// A new stream: what another one left half-way is worth nothing.
    pub(super) fn begin(&mut self) {
        self.staged.clear();
        self.counter = None;
    }

    /// Believes no version of what is here: the next stream sends everything.
    pub(super) fn doubt(&mut self) {
        self.resources.values_mut().for_each(|kept| kept.refused = true);
    }

    /// The highest leadership that was believed.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Versions by name, for the first message of a stream. Of what shall be sent again the name alone: were it left out, nobody would say
    /// that it is gone, and no change would ever be complete.
    pub(super) fn versions(&self) -> HashMap<String, String> {
        let version = |kept: &Kept| if kept.refused { String::new() } else { kept.version.to_string() };
        self.resources.iter().map(|(name, kept)| (name.to_string(), version(kept))).collect()
    }

    /// Everything in force.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&Name, &Kept)> {
        self.resources.iter()
    }

    /// One message. `Some`: it ended a change, which is in force now.
    pub(super) fn take(&mut self, incoming: Vec<Incoming>, removed: Vec<Name>) -> Result<Option<Applied>, Refusal> {
        let mut end = None;
        for one in incoming {
            match one.body {
                Ok(Body::State(state)) => end = Some(state),
                _ => drop(self.staged.insert(one.name.clone(), Some(one))),
            }
        }
        self.staged.extend(removed.into_iter().map(|name| (name, None)));
        let Some(state) = end else { return Ok(None) };
        let staged = std::mem::take(&mut self.staged);
        self.check(&state, &staged)?;
        (self.epoch, self.counter) = (state.epoch, Some(state.counter));
        Ok(Some(self.apply(staged)))
    }

    /// Nothing is touched before this has passed.
    fn check(&self, state: &State, staged: &BTreeMap<Name, Option<Incoming>>) -> Result<(), Refusal> {
        if state.epoch < self.epoch {
            return Err(Refusal::Epoch { seen: self.epoch, theirs: state.epoch });
        }
        if let Some(last) = self.counter.filter(|last| state.counter <= *last) {
            return Err(Refusal::Order { last, theirs: state.counter });
        }
        let is_policy = |name: &&Name| matches!(name, Name::Policy(_));
        let stay = self.resources.keys().filter(is_policy).filter(|name| !staged.contains_key(*name)).count();
        let come = staged.iter().filter(|(name, one)| one.is_some() && is_policy(name)).count();
        if stay + come != state.policies {
            return Err(Refusal::Incomplete { announced: state.policies, counted: stay + come });
        }
        Ok(())
    }

    fn apply(&mut self, staged: BTreeMap<Name, Option<Incoming>>) -> Applied {
        for (name, change) in staged {
            match change {
                None => self.remove(&name),
                Some(Incoming { body: Err(reason), version, text, .. }) => {
                    let kept = self.resources.entry(name).or_insert_with(|| Kept::restored(version, text, None));
                    (kept.refused, kept.unread) = (true, Some(reason));
                }
                Some(Incoming { body: Ok(body), version, text, .. }) => {
                    let mut kept = Kept::restored(version, text, None);
                    match body {
                        Body::Policy(policy) => {
                            let uid = policy.document.as_ref().and_then(Document::uid);
                            let before = self.resources.remove(&name).and_then(|before| before.accepted);
                            // Of an object that is deleted nothing stays, whoever has its name now.
                            kept.accepted = before.filter(|accepted| accepted.uid() == uid);
                            kept.policy = Some((*policy).into());
                        }
                        Body::Values(values) => self.put(&name, values.shared()),
                        // Read where it is needed; a state was taken out before.
                        Body::Trust(_) | Body::Signing(_) | Body::State(_) => {}
                    }
                    self.resources.insert(name, kept);
                }
            }
        }
        self.assemble()
    }

    /// Everything that is held, compiled. Refused documents are marked, so that they are sent again.
    pub(super) fn assemble(&mut self) -> Applied {
        let policies = self.resources.values().filter_map(|kept| kept.policy.as_deref());
        let assembled = self.assembler.assemble(policies, &self.values);
        for kept in self.resources.values_mut() {
            let Some(policy) = &kept.policy else { continue };
            if assembled.rejected.iter().any(|one| one.policy == policy.name) {
                kept.refused = true;
            } else if kept.unread.is_none() {
                kept.accepted.clone_from(&policy.document);
            }
        }
        let unread = self
            .resources
            .iter()
            .filter_map(|(name, kept)| Some(Rejection { resource: name.to_string(), reason: kept.unread.clone()? }));
        let refused = assembled.rejected.into_iter();
        let refused =
            refused.map(|one| Rejection { resource: Name::Policy(one.policy).to_string(), reason: one.reason });
        let rejected = unread.chain(refused).collect();
        let trust = self.resources.get(&Name::Trust).and_then(|kept| {
            let Ok(Trust { authorities }) = serde_json::from_str(&kept.text) else { return None };
            Some(authorities)
        });
        let signing = self.resources.get(&Name::Signing).and_then(|kept| serde_json::from_str(&kept.text).ok());
        let (snapshot, key_sets) = (assembled.snapshot, assembled.key_sets);
        Applied { snapshot, rejected, key_sets, trust, signing, epoch: self.epoch }
    }

    fn put(&mut self, name: &Name, values: crds::documents::SharedValues) {
        if let Name::Values(kind, name) = name {
            self.values.put(*kind, name.to_string(), values);
        }
    }

    fn remove(&mut self, name: &Name) {
        if let Name::Values(kind, name) = name {
            self.values.take_away(*kind, name);
        }
        self.resources.remove(name);
    }
}

// === impl Kept ===

impl Kept {
    /// As it was kept on disk.
    pub(super) fn restored(version: Arc<str>, text: Arc<str>, accepted: Option<Document>) -> Self {
        Self { version, text, policy: None, accepted, refused: false, unread: None }
    }

    /// Whether the newest document is not the one in force.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    fn last_accepted(&self) -> Option<PushedPolicy> {
        let (policy, document) = (self.policy.as_deref()?, self.accepted.clone()?);
        Some(PushedPolicy { document: Some(document), ..policy.clone() })
    }
}
