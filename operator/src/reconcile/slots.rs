//! What is known of each referenced Secret and ConfigMap, and what has to be read.

use std::{collections::BTreeSet, time::Duration};

use crds::{
    documents::{ReferenceKind, selection_name},
    push::Reference,
};
use serde_json::Value;

use super::fetch::{Content, Wanted};
use crate::watch::CallError;

/// What is known of a Secret or ConfigMap.
#[derive(Default)]
pub(super) struct Slot {
    /// `None`: never read. `Some(None)`: not there.
    #[allow(clippy::option_option, reason = "three states, as the line above says")]
    pub(super) content: Option<Option<Content>>,
    pub(super) read: Read,
}

/// What is known of a selection.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) known: bool,
    /// Secrets that were told to be none of it while it was listed.
    pub(super) outdated: BTreeSet<String>,
    pub(super) read: Read,
}

/// Whether something has to be read, and is.
#[derive(Default)]
pub(super) struct Read {
    pub(super) under_way: bool,
    pub(super) fresh: bool,
    pub(super) failures: u32,
    /// The last attempt failed for what was asked for, and not because of the server.
    pub(super) refused: bool,
    /// Why the last attempt failed.
    pub(super) why: Option<String>,
}

// === impl Slot ===

impl Slot {
    /// Whether this is the very version that is known.
    pub(super) fn holds(&self, other: Option<&Content>) -> bool {
        let version = |content: &Content| (content.uid.clone(), content.version.clone());
        self.content.as_ref().is_some_and(|own| own.as_ref().map(version) == other.map(version))
    }
}

// === impl Read ===

impl Read {
    /// Whether it has to be read, and nobody does.
    pub(super) const fn is_due(&self) -> bool {
        !self.fresh && !self.under_way
    }

    /// Whether to begin now, and after which pause.
    pub(super) fn begin(&mut self) -> Option<Duration> {
        if !self.is_due() {
            return None;
        }
        (self.under_way, self.fresh) = (true, true);
        let pause = if self.failures == 0 { 0 } else { 200 * (1 << self.failures.min(7)) };
        Some(Duration::from_millis(pause))
    }

    pub(super) fn ended(&mut self, failed: Option<&CallError>) {
        let good = failed.is_none();
        self.under_way = false;
        self.why = failed.map(ToString::to_string);
        self.refused = failed.is_some_and(|error| !error.is_of_server());
        self.failures = if good { 0 } else { self.failures + 1 };
        // Whatever changed meanwhile has made it stale already.
        self.fresh &= good;
    }
}

// === impl Wanted ===

impl Wanted {
    /// Where it is.
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Named { name, .. } => namespace(name),
            Self::Selected { namespace, .. } => namespace,
        }
    }
}

/// As the API spells it.
pub(super) const fn plural(kind: ReferenceKind) -> &'static str {
    match kind {
        ReferenceKind::Secret => "secrets",
        ReferenceKind::ConfigMap => "configmaps",
    }
}

/// What has to be read for a reference.
pub(super) fn wanted(reference: &Reference) -> Wanted {
    match reference {
        Reference::Entry { kind, name, .. } => Wanted::Named { kind: *kind, name: name.clone() },
        Reference::Secret { name } => Wanted::Named { kind: ReferenceKind::Secret, name: name.clone() },
        Reference::Labelled { namespace, labels } => {
            let name = selection_name(namespace, labels);
            let labels = name.split_once('/').map_or("", |(_, labels)| labels);
            Wanted::Selected { namespace: namespace.clone(), labels: labels.to_owned() }
        }
    }
}

/// Of `namespace/name`.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// Whether a namespace is none that is watched.
pub(super) fn is_outside(watched: &[String], namespace: &str) -> bool {
    !watched.is_empty() && !watched.iter().any(|one| one == namespace)
}

/// Whether a Secret is one of a selection.
pub(super) fn selects(wanted: &Wanted, meta: &Value) -> bool {
    let Wanted::Selected { namespace, labels } = wanted else { return false };
    let has = |pair: &str| {
        let (label, value) = pair.split_once('=').unwrap_or_default();
        let found = meta.pointer("/metadata/labels").and_then(|labels| labels.get(label));
        found.and_then(Value::as_str) == Some(value)
    };
    meta.pointer("/metadata/namespace").and_then(Value::as_str) == Some(namespace) && labels.split(',').all(has)
}
