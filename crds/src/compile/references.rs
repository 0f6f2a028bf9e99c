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
        let (word, reason) = match kind {
            ReferenceKind::Secret => ("Secret", Reason::SecretMissing),
            ReferenceKind::ConfigMap => ("ConfigMap", Reason::ConfigMapMissing),
        };
        if let Some(why) = self.objects.unread(kind, self.namespace, name) {
            // Not absent, so an optional one is missed too: it may deny somebody.
            self.problem(reason, format!("{path}: {word} {}/{name} {why}", self.namespace));
        } else if let Some(why) = self.objects.unfit(kind, self.namespace, name, key) {
            self.problem(Reason::BadContent, format!("{path}: {why}"));
        } else if value.is_none() && !optional {
            let what = if self.objects.has_object(kind, self.namespace, name) {
                format!("{path}: {word} {}/{name} has no key `{key}`", self.namespace)
            } else {
                format!("{path}: there is no {word} {}/{name}", self.namespace)
            };
            self.problem(reason, what);
        }
        value
    }

    /// The records of whole Secrets. A missing Secret is a problem of the references, and so are labels whose Secrets are not known; labels
    /// that nothing has are none.
    pub(super) fn table<R: TableRecord>(&self, path: &str, which: WhichSecrets) -> Option<Arc<Table<R>>> {
        let secrets = which.find(self.objects, self.namespace);
        if secrets.is_none() {
            let what = match &which {
                WhichSecrets::Named(name) => format!("{path}.secretRef: {}", self.without(name)),
                WhichSecrets::Labelled(_) => format!("{path}.secretSelector: the Secrets could not be listed"),
            };
            self.problem(Reason::SecretMissing, what);
        }
        let digest = which.digest(self.objects, self.namespace);
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
        let which = WhichSecrets::Named(name.to_owned());
        let digest = which.digest(self.objects, self.namespace);
        self.resolved.borrow_mut().push(Resolved::Secrets { which, digest });
        if secret.is_none() {
            self.problem(Reason::SecretMissing, format!("{path}: {}", self.without(name)));
        }
        secret
    }

    /// Why there is nothing of a whole Secret.
    fn without(&self, name: &str) -> String {
        let namespace = self.namespace;
        match self.objects.unread(ReferenceKind::Secret, namespace, name) {
            Some(why) => format!("Secret {namespace}/{name} {why}"),
            None => format!("there is no Secret {namespace}/{name}"),
        }
    }

    /// `namespace/name` of an object beside the policy.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// Whether the value is there, or could be, and cannot be read.
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
            Self::Secrets { which, digest } => which.digest(objects, namespace(policy)) == *digest,
        }
    }
}

// === impl WhichSecrets ===

impl WhichSecrets {
    /// `None`: the one that is named is not there, or nobody knows what has these labels.
    fn find<'o>(&self, objects: &'o Objects, namespace: &str) -> Option<Vec<SecretValues<'o>>> {
        match self {
            Self::Named(name) => objects.secret(namespace, name).map(|one| vec![one]),
            Self::Labelled(labels) => {
                (!objects.is_unlisted(namespace, labels)).then(|| objects.secrets_with(namespace, labels))
            }
        }
    }

    /// Names and contents count, whatever is made of them. `None`: absent. Zeros: nobody knows, which is another thing to say.
    fn digest(&self, objects: &Objects, namespace: &str) -> Option<[u8; 32]> {
        let found = self.find(objects, namespace);
        let digest = found.as_deref().map(Table::<crate::api_keys::Sha256Record>::digest);
        let unread = || match self {
            Self::Named(name) => objects.unread(ReferenceKind::Secret, namespace, name).is_some(),
            Self::Labelled(labels) => objects.is_unlisted(namespace, labels),
        };
        digest.or_else(|| unread().then_some([0; 32]))
    }
}

/// `None`: absent. Empty: there, or perhaps, and unfit, which is not the same where absence is allowed.
fn digest_of(objects: &Objects, kind: ReferenceKind, namespace: &str, name: &str, key: &str) -> Option<Vec<u8>> {
    let value = objects.reference(kind, namespace, name, key);
    let digest = value.map(|value| digest::digest(&digest::SHA256, value.expose()).as_ref().to_vec());
    digest.or_else(|| objects.unfit(kind, namespace, name, key).map(|_| Vec::new()))
}

/// The namespace of `namespace/name`.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
