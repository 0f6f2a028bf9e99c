//! What an operator hands to a data plane: policies in force, each with the hosts it was given, and the values they refer to.
//!
//! ```text
//!  compile ──► Pushed ──► encode ══ channel ══► decode ──► Assembler ──► Snapshot
//! ```
//!
//! Owns the wire form: JSON, one resource per policy and per Secret or ConfigMap. The receiver compiles the same documents by the same
//! step, so nothing is decided twice; hosts and the role of the fallback are given, as only the operator sees every policy. Must never
//! hold more of a Secret than the policies of one receiver name.

mod signing;
mod values;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use signing::{OwnKey, SigningKeys};
pub use values::{PushedValues, values_for};
pub use wire::{
    Body, Name, POLICY_TYPE, PeerReport, RESOURCE_TYPE, Rejection, Report, SIGNING_TYPE, STATE_TYPE, State, TRUST_TYPE,
    Trust, Undecodable, VALUES_TYPE, version,
};

use crate::{
    documents::{Document, ReferenceKind},
    hosts::HostPattern,
    v1alpha1::SigningAlgorithm,
};

/// One policy as a data plane gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushedPolicy {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// The document in force: the newest, or the last good one. `None`: there never was one; requests for the hosts are answered with
    /// `unavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The hosts it has, after conflicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Whether it answers for hosts that no policy has.
    #[serde(default)]
    pub fallback: bool,
}

/// One policy with what it refers to, which the receiver must get as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// What is sent.
    pub policy: PushedPolicy,
    /// `metadata.generation` of the document in force.
    pub generation: Option<i64>,
    /// Whether the document in force is the newest one.
    pub newest: bool,
    /// Values it reads.
    pub references: Vec<Reference>,
    /// Algorithms of the operator's own keys with which it has tokens signed.
    pub own_keys: BTreeSet<SigningAlgorithm>,
    /// How many issuers' keys are fetched for it.
    pub issuers: usize,
    /// Whether its answers carry secrets, which only a proxy that proved itself is given.
    pub hands_out: bool,
}

/// Something of the policy's own namespace that it reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// One entry of a Secret or ConfigMap.
    Entry {
        /// Which kind.
        kind: ReferenceKind,
        /// `namespace/name`.
        name: String,
        /// The entry.
        key: String,
    },
    /// A whole Secret.
    Secret {
        /// `namespace/name`.
        name: String,
    },
    /// All Secrets of a namespace with these labels.
    Labelled {
        /// The namespace.
        namespace: String,
        /// Every one of these.
        labels: BTreeMap<String, String>,
    },
}

// === impl PushedPolicy ===

impl PushedPolicy {
    /// Labels of the workloads that receive this policy; `None`: the operator's own authz.
    pub fn workload_labels(&self) -> Option<&BTreeMap<String, String>> {
        self.document.as_ref()?.workload_labels()
    }
}

// === impl Reference ===

impl Reference {
    /// The namespace it points into.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Entry { name, .. } | Self::Secret { name } => {
                name.split_once('/').map_or("", |(namespace, _)| namespace)
            }
            Self::Labelled { namespace, .. } => namespace,
        }
    }
}
