//! References to Secrets and ConfigMaps of the policy's own namespace, and a record of what they resolved to.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;

use super::{
    api_key::{TableRecord, Tables},
    verdict::Reason,
};
use crate::{
    api_keys::Table,
    documents::{Objects, ReferenceKind, SecretValues},
    keys::{KeySet, KeySetError},
    push::Reference,
    secret::Secret,
};

/// Resolves references and remembers each, so that a later compile can tell whether anything changed.
pub(super) struct References<'a> {
    objects: &'a Objects,
    namespace: &'a str,
    tables: &'a Tables,
    resolved: RefCell<Vec<Resolved>>,
    problems: RefCell<Vec<(Reason, String)>>,
}

/// One reference and a digest of what it resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolved {
    /// An entry.
    Value { kind: ReferenceKind, name: String, key: String, digest: Option<Vec<u8>> },
    /// Whole Secrets.
    Secrets { which: WhichSecrets, digest: Option<[u8; 32]> },
}

/// Whole Secrets, by name or by labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WhichSecrets {
    /// One.
    Named(String),
    /// All of these labels.
    Labelled(BTreeMap<String, String>),
}

// === impl References ===

impl<'a> References<'a> {
    pub(super) fn new(objects: &'a Objects, policy: &'a str, tables: &'a Tables) -> Self {
        Self {
            objects,
            namespace: namespace(policy),
            tables,
            resolved: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    /// The value; a missing one is a problem of the references, not of the policy.
    pub(super) fn get(
        &self,
        path: &str,
        kind: ReferenceKind,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Option<&'a Secret> {
        let value = self.objects.reference(kind, self.namespace, name, key);
        self.resolved.borrow_mut().push(Resolved::Value {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
            digest: digest_of(self.objects, kind, self.namespace, name, key),
        });
        if let Some(why) = self.objects.unfit(kind, self.namespace, name, key) {
            self.problem(Reason::BadContent, format!("{path}: {why}"));
        } else if value.is_none() && !optional {
            let (word, reason) = match kind {
                ReferenceKind::Secret => ("Secret", Reason::SecretMissing),
                ReferenceKind::ConfigMap => ("ConfigMap", Reason::ConfigMapMissing),
            };
            let what = if self.objects.has_object(kind, self.namespace, name) {
                format!("{path}: {word} {}/{name} has no key `{key}`", self.namespace)
            } else {
                format!("{path}: there is no {word} {}/{name}", self.namespace)
            };
            self.problem(reason, what);
        }
        value
    }

    /// The records of whole Secrets. A missing Secret is a problem of the references; labels that nothing has are none.
    pub(super) fn table<R: TableRecord>(&self, path: &str, which: WhichSecrets) -> Option<Arc<Table<R>>> {
        let secrets = which.find(self.objects, self.namespace);
        let digest = secrets.as_deref().map(Table::<R>::digest);
        if let (None, WhichSecrets::Named(name)) = (&secrets, &which) {
            self.problem(
                Reason::SecretMissing,
                format!("{path}.secretRef: there is no Secret {}/{name}", self.namespace),
            );
        }
        self.resolved.borrow_mut().push(Resolved::Secrets { which, digest });
        let table = self.tables.get::<R>(&secrets?, digest?);
        for skipped in table.skipped() {
            let message = format!(
                "{path}: {} of the entries of Secret {} are no records and are left out; the first because {}",
                skipped.count, skipped.secret, skipped.reason
            );
            self.problem(Reason::BadContent, message);
        }
        Some(table)
    }

    /// The key set of a document, read once however many policies name it.
    pub(super) fn key_set(&self, document: &[u8]) -> Result<Arc<KeySet>, KeySetError> {
        self.tables.key_set(document)
    }

    /// All entries of one Secret. A missing one is a problem of the references.
    pub(super) fn whole(&self, path: &str, name: &str) -> Option<SecretValues<'a>> {
        let secret = self.objects.secret(self.namespace, name);
        let digest = secret.map(|one| Table::<crate::api_keys::Sha256Record>::digest(&[one]));
        self.resolved.borrow_mut().push(Resolved::Secrets { which: WhichSecrets::Named(name.to_owned()), digest });
        if secret.is_none() {
            self.problem(Reason::SecretMissing, format!("{path}: there is no Secret {}/{name}", self.namespace));
        }
        secret
    }

    /// `namespace/name` of an object beside the policy.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// Whether the value is there and cannot be read.
    pub(super) fn is_unfit(&self, kind: ReferenceKind, name: &str, key: &str) -> bool {
        self.objects.unfit(kind, self.namespace, name, key).is_some()
    }

    /// Notes that a value is there and not fit.
    pub(super) fn problem(&self, reason: Reason, message: String) {
        self.problems.borrow_mut().push((reason, message));
    }

    /// Everything that was resolved, and what was wrong.
    pub(super) fn finish(self) -> (Vec<Resolved>, Vec<(Reason, String)>) {
        (self.resolved.into_inner(), self.problems.into_inner())
    }
}

// === impl Resolved ===

impl Resolved {
    /// What it is a resolution of.
    pub(super) fn reference(&self, policy: &str) -> Reference {
        let full = |name: &str| format!("{}/{name}", namespace(policy));
        match self {
            Self::Value { kind, name, key, .. } => Reference::Entry { kind: *kind, name: full(name), key: key.clone() },
            Self::Secrets { which: WhichSecrets::Named(name), .. } => Reference::Secret { name: full(name) },
            Self::Secrets { which: WhichSecrets::Labelled(labels), .. } => {
                Reference::Labelled { namespace: namespace(policy).to_owned(), labels: labels.clone() }
            }
        }
    }

    /// Whether it still resolves to the same.
    pub(super) fn holds(&self, objects: &Objects, policy: &str) -> bool {
        match self {
            Self::Value { kind, name, key, digest } => {
                digest_of(objects, *kind, namespace(policy), name, key) == *digest
            }
            // Names and contents count, whatever is made of them.
            Self::Secrets { which, digest } => {
                let secrets = which.find(objects, namespace(policy));
                secrets.as_deref().map(Table::<crate::api_keys::Sha256Record>::digest) == *digest
            }
        }
    }
}

// === impl WhichSecrets ===

impl WhichSecrets {
    /// `None`: the one that is named is not there.
    fn find<'o>(&self, objects: &'o Objects, namespace: &str) -> Option<Vec<SecretValues<'o>>> {
        match self {
            Self::Named(name) => objects.secret(namespace, name).map(|one| vec![one]),
            Self::Labelled(labels) => Some(objects.secrets_with(namespace, labels)),
        }
    }
}

/// `None`: absent. Empty: there and unfit, which is not the same where absence is allowed.
fn digest_of(objects: &Objects, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<Vec<u8>> {
    let value = objects.reference(kind, namespace, name, key);
    let digest = value.map(|value| digest::digest(&digest::SHA256, value.expose()).as_ref().to_vec());
    digest.or_else(|| objects.unfit(kind, namespace, name, key).map(|_| Vec::new()))
}

/// The namespace of `namespace/name`.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
