//! What one audience is sent: encoded resources, what changed when, and the difference between two tables. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use crds::{
    api_keys::KeyId,
    documents::{Objects, ReferenceKind},
    push::{Name, Pushed, PushedPolicy, PushedValues, Reference, SigningKeys, values_for, version},
    v1alpha1::SigningAlgorithm,
};

/// Who gets the same resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Audience {
    /// The operator's own authz: every policy that selects no workload.
    Own,
    /// A pod of these labels: the policies of its namespace that select it.
    Workload { namespace: String, labels: BTreeMap<String, String> },
}

/// One resource, encoded once for everybody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) name: Name,
    pub(super) version: String,
    pub(super) bytes: Vec<u8>,
}

type Labels = BTreeMap<String, String>;

/// One policy of a publication, encoded.
#[derive(Debug, Clone)]
pub(super) struct EncodedPolicy {
    pushed: Arc<Pushed>,
    labels: Option<Labels>,
    encoded: Arc<Encoded>,
}

/// A policy set as it was published.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The how-manieth; the first is 1.
    pub(super) counter: u64,
    policies: BTreeMap<Arc<str>, EncodedPolicy>,
    objects: Arc<Objects>,
    /// Our keys that sign tokens, for our own data planes.
    pub(super) signing: Option<Signing>,
    /// API keys that have an entry, by namespace; made when somebody tells of their use.
    keys: OnceLock<HashMap<String, HashSet<KeyId>>>,
}

/// Our keys that sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signing {
    encoded: Arc<Encoded>,
    algorithms: BTreeSet<SigningAlgorithm>,
}

/// In no publication: what is acknowledged is less than what the policy needs.
const NEVER: u64 = u64::MAX;

/// What one audience is sent of one publication.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The publication.
    pub(super) counter: u64,
    pub(super) resources: BTreeMap<Name, Arc<Encoded>>,
    values: BTreeMap<(ReferenceKind, String), PushedValues>,
    /// The publication in which a policy, or a value that it reads, changed last; [`NEVER`] while a key that it signs with is to be made.
    pub(super) changed: HashMap<Arc<str>, u64>,
}

/// What to send to whoever has one table and shall have another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) changed: Vec<Arc<Encoded>>,
    pub(super) removed: Vec<Name>,
}

// === impl Audience ===

impl Audience {
    fn takes(&self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        match (self, labels) {
            (Self::Own, labels) => labels.is_none(),
            (Self::Workload { .. }, None) => false,
            (Self::Workload { namespace, labels: own }, Some(wanted)) => {
                let same = name.split_once('/').is_some_and(|(of, _)| of == namespace);
                same && wanted.iter().all(|(key, value)| own.get(key) == Some(value))
            }
        }
    }
}

// === impl Encoded ===

impl Encoded {
    /// `None` if it cannot be written, which no type of ours can cause.
    pub(super) fn new(name: Name, value: &impl serde::Serialize) -> Option<Arc<Self>> {
        let bytes = serde_json::to_vec(value).ok()?;
        Some(Arc::new(Self { name, version: version(&bytes), bytes }))
    }
}

// === impl Published ===

impl Published {
    /// Encodes what changed since `before`.
    pub(super) fn next(before: &Self, pushed: Vec<Pushed>, objects: Arc<Objects>) -> Self {
        let policies = pushed.into_iter().filter_map(|pushed| {
            let name = pushed.policy.name.clone();
            let kept = before.policies.get(&name).filter(|kept| kept.pushed.policy == pushed.policy);
            let (labels, encoded) = match kept {
                Some(kept) => (kept.labels.clone(), kept.encoded.clone()),
                None => encode(&pushed.policy)?,
            };
            Some((name, EncodedPolicy { pushed: pushed.into(), labels, encoded }))
        });
        let counter = before.counter + 1;
        let signing = before.signing.clone();
        Self { counter, policies: policies.collect(), objects, signing, keys: OnceLock::new() }
    }

    /// The same under other signing keys.
    pub(super) fn signed(self, signing: Option<Signing>) -> Self {
        Self { signing, ..self }
    }

    /// The same again, as a publication of its own.
    pub(super) fn again(before: &Self) -> Self {
        let Self { counter, policies, objects, signing, keys } = before;
        let (policies, objects, signing, keys) = (policies.clone(), objects.clone(), signing.clone(), keys.clone());
        Self { counter: counter + 1, policies, objects, signing, keys }
    }

    /// Whether a Secret that policies refer to has an entry for this API key.
    pub(super) fn has_key(&self, namespace: &str, id: KeyId) -> bool {
        let keys = self.keys.get_or_init(|| {
            let mut keys: HashMap<String, HashSet<KeyId>> = HashMap::new();
            for secret in self.objects.secrets() {
                let Some((namespace, _)) = secret.name().split_once('/') else { continue };
                let ids = secret.entries().filter_map(|(name, _)| KeyId::of_entry(name));
                keys.entry(namespace.to_owned()).or_default().extend(ids);
            }
            keys
        });
        keys.get(namespace).is_some_and(|keys| keys.contains(&id))
    }

    /// Every policy with the version that is sent.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.policies.iter().map(|(name, one)| (name, one.encoded.version.as_str()))
    }

    /// Whether our own data planes take a policy.
    pub(super) fn is_for_own(&self, policy: &str) -> bool {
        self.policies.get(policy).is_some_and(|one| Audience::Own.takes(policy, one.labels.as_ref()))
    }

    /// Whether a policy has tokens signed with a key that is not made yet.
    fn lacks_key(&self, policy: &EncodedPolicy) -> bool {
        let has = |one| self.signing.as_ref().is_some_and(|signing| signing.algorithms.contains(one));
        !policy.pushed.own_keys.iter().all(has)
    }

    /// Policies that one audience gets.
    fn of<'p>(&'p self, audience: &'p Audience) -> impl Iterator<Item = &'p EncodedPolicy> {
        self.policies.iter().filter(|(name, one)| audience.takes(name, one.labels.as_ref())).map(|(_, one)| one)
    }

    /// Policies of one audience that read this resource.
    pub(super) fn readers(&self, audience: &Audience, resource: &Name) -> Vec<Arc<str>> {
        let changed = HashSet::from([resource]);
        self.of(audience).filter(|one| one.reads(&changed)).map(|one| one.pushed.policy.name.clone()).collect()
    }
}

// === impl Signing ===

impl Signing {
    /// `None` if they cannot be written, which no key can cause.
    pub(super) fn new(keys: &SigningKeys) -> Option<Self> {
        let algorithms = keys.keys.iter().map(|key| key.algorithm).collect();
        Some(Self { encoded: Encoded::new(Name::Signing, keys)?, algorithms })
    }
}

fn encode(policy: &PushedPolicy) -> Option<(Option<Labels>, Arc<Encoded>)> {
    Some((policy.workload_labels().cloned(), Encoded::new(Name::Policy(policy.name.clone()), policy)?))
}

// === impl EncodedPolicy ===

impl EncodedPolicy {
    /// Whether it, or a value it may read, is among these.
    fn reads(&self, changed: &HashSet<&Name>) -> bool {
        let has = |kind, name: &str| changed.contains(&Name::Values(kind, name.into()));
        changed.contains(&self.encoded.name)
            || (!self.pushed.own_keys.is_empty() && changed.contains(&Name::Signing))
            || self.pushed.references.iter().any(|reference| match reference {
                Reference::Entry { kind, name, .. } => has(*kind, name),
                Reference::Secret { name } => has(ReferenceKind::Secret, name),
                // Any Secret of the namespace: whether a removed one had the labels is not known any more.
                Reference::Labelled { namespace, .. } => changed.iter().any(|name| {
                    matches!(name, Name::Values(ReferenceKind::Secret, name)
                        if name.split_once('/').is_some_and(|(of, _)| of == namespace))
                }),
            })
    }
}

// === impl Table ===

impl Table {
    /// The table of a publication; what did not change is shared with the table before it.
    pub(super) fn next(before: &Self, published: &Published, audience: &Audience) -> Self {
        let policies: Vec<&EncodedPolicy> = published.of(audience).collect();
        let references = policies.iter().flat_map(|one| &one.pushed.references);
        let values = values_for(references, &published.objects);
        let mut resources: BTreeMap<Name, Arc<Encoded>> =
            policies.iter().map(|one| (one.encoded.name.clone(), one.encoded.clone())).collect();
        for ((kind, name), one) in &values {
            let key = Name::Values(*kind, name.as_str().into());
            let same = before.values.get(&(*kind, name.clone())).filter(|old| *old == one);
            let kept = same.and_then(|_| before.resources.get(&key).cloned());
            if let Some(encoded) = kept.or_else(|| Encoded::new(key.clone(), one)) {
                resources.insert(key, encoded);
            }
        }
        // Whoever has these can sign in everybody's name: nobody but our own.
        if let Some(signing) = published.signing.as_ref().filter(|_| *audience == Audience::Own) {
            resources.insert(Name::Signing, signing.encoded.clone());
        }
        let mut table = Self { counter: published.counter, resources, values, changed: HashMap::new() };
        let diff = Diff::between(before, &table);
        let names: HashSet<&Name> = diff.changed.iter().map(|one| &one.name).chain(&diff.removed).collect();
        let changed = policies.iter().map(|one| {
            let name = one.pushed.policy.name.clone();
            if published.lacks_key(one) {
                return (name, NEVER);
            }
            let before = before.changed.get(&name).copied().filter(|at| *at != NEVER);
            let at = before.filter(|_| names.is_empty() || !one.reads(&names)).unwrap_or(published.counter);
            (name, at)
        });
        table.changed = changed.collect();
        table
    }

    /// How many policies it holds.
    pub(super) fn policies(&self) -> usize {
        self.changed.len()
    }
}

// === impl Diff ===

impl Diff {
    /// From one table to the next. Most resources are the same allocation: those cost a comparison of pointers.
    pub(super) fn between(before: &Table, after: &Table) -> Self {
        let same = |one: &Arc<Encoded>, old: &Arc<Encoded>| Arc::ptr_eq(one, old) || one.version == old.version;
        let changed =
            after.resources.iter().filter(|(name, one)| !before.resources.get(name).is_some_and(|old| same(one, old)));
        let removed = before.resources.keys().filter(|name| !after.resources.contains_key(name));
        Self { changed: changed.map(|(_, one)| one.clone()).collect(), removed: removed.cloned().collect() }
    }

    /// From what a client says it holds.
    pub(super) fn from_held(held: &HashMap<String, String>, after: &Table) -> Self {
        let texts: BTreeSet<String> = after.resources.keys().map(ToString::to_string).collect();
        let changed = after
            .resources
            .iter()
            .filter(|(name, one)| held.get(&name.to_string()).is_none_or(|version| *version != one.version));
        // Names of another version of this protocol are the client's own business; `trust` is not part of a table.
        let gone = held.keys().filter(|name| !texts.contains(*name)).filter_map(|name| name.parse().ok());
        let removed = gone.filter(|name| matches!(name, Name::Policy(_) | Name::Values(..)));
        Self { changed: changed.map(|(_, one)| one.clone()).collect(), removed: removed.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}
