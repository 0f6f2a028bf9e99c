//! References to Secrets and ConfigMaps of the policy's own namespace, and a record of what they resolved to.

use std::cell::RefCell;

use aws_lc_rs::digest;

use super::verdict::Reason;
use crate::{
    documents::{Objects, ReferenceKind},
    secret::Secret,
};

/// Resolves references and remembers each, so that a later compile can tell whether anything changed.
pub(super) struct References<'a> {
    objects: &'a Objects,
    namespace: &'a str,
    resolved: RefCell<Vec<Resolved>>,
    problems: RefCell<Vec<(Reason, String)>>,
}

/// One reference and a digest of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    kind: ReferenceKind,
    name: String,
    key: String,
    digest: Option<Vec<u8>>,
}

// === impl References ===

impl<'a> References<'a> {
    pub(super) fn new(objects: &'a Objects, policy: &'a str) -> Self {
        Self { objects, namespace: namespace(policy), resolved: RefCell::default(), problems: RefCell::default() }
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
        self.resolved.borrow_mut().push(Resolved {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
            digest: value.map(digest_of),
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
    /// Whether it still resolves to the same.
    pub(super) fn holds(&self, objects: &Objects, policy: &str) -> bool {
        objects.reference(self.kind, namespace(policy), &self.name, &self.key).map(digest_of) == self.digest
    }
}

fn digest_of(value: &Secret) -> Vec<u8> {
    digest::digest(&digest::SHA256, value.expose()).as_ref().to_vec()
}

/// The namespace of `namespace/name`.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
