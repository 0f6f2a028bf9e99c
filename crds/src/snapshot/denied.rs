//! Tokens that are refused by name.

use std::{collections::HashSet, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, Serializer};

use crate::digest::short;

/// Which `jti` are refused.
#[derive(Debug, Clone, Default)]
pub enum DeniedTokenIds {
    /// The policy has no list.
    #[default]
    Nobody,
    /// These.
    Listed(Arc<DeniedList>),
    /// There should be a list and is none: whether a token is on it cannot be known.
    Missing,
}

/// A list, and what changes with it.
#[derive(Debug)]
pub struct DeniedList {
    ids: HashSet<Box<str>>,
    version: u64,
}

// === impl DeniedTokenIds ===

impl DeniedTokenIds {
    /// Changes with the list: part of the key under which good tokens are remembered, so that a new list ends them at once.
    pub fn version(&self) -> u64 {
        match self {
            Self::Nobody => 0,
            Self::Listed(list) => list.version,
            Self::Missing => 1,
        }
    }
}

/// How many, never which.
impl Serialize for DeniedTokenIds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nobody => serializer.serialize_str("none"),
            Self::Listed(list) => serializer.serialize_newtype_variant("DeniedTokenIds", 1, "listed", &list.ids.len()),
            Self::Missing => serializer.serialize_str("missing"),
        }
    }
}

// === impl DeniedList ===

impl DeniedList {
    /// One a line; blanks around it and empty lines do not count.
    pub fn parse(text: &str) -> Self {
        let ids: HashSet<Box<str>> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect();
        Self { ids, version: short(digest(&SHA256, text.as_bytes()).as_ref()) }
    }

    /// Whether this one is on it.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}
