//! The structural check of a document: the part of `kubectl apply` that needs no API server.
//!
//! Owns the walk over a CRD's schema and the words of its problems. Enforces exactly what an API server enforces structurally (types,
//! unknown fields, required fields, enumerations, patterns, bounds, sets); never evaluates CEL rules (those are restated in
//! [`crate::v1alpha1::rules`]), never changes a document, never reads a clock or a file. Equal input gives equal output, in the order of the
//! document's members.

mod suggest;
mod walk;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::suggest::shorten;

/// More problems than anybody reads: a hostile document must not grow our answer.
pub(crate) const MOST: usize = 100;

/// Something in a document that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, with list indices: `spec.authenticators[0].jwt.audience`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// What sort of problem it is.
    pub kind: ProblemKind,
}

/// Sorts of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ProblemKind {
    /// A field that no version of the API knows.
    Unknown,
    /// A known field with a value that is not allowed, or a missing one.
    Invalid,
    /// A field or value of the contract that this build cannot enforce.
    Unsupported,
}

/// What of a kind's contract this build lacks: asked before a field is called unknown.
#[derive(Debug, Clone, Copy)]
pub struct Gaps {
    /// Whether this schema-style path (`spec.routes[].preflight`) is a field that is not built yet.
    pub field: fn(&str) -> bool,
}

/// A schema made ready for many documents: its patterns are compiled once.
#[derive(Debug)]
pub struct Checker {
    schema: JSONSchemaProps,
    patterns: Patterns,
    gaps: Gaps,
}

/// Compiled patterns by their text; `None` where a pattern cannot be compiled, and then every value is refused.
type Patterns = BTreeMap<String, Option<Regex>>;

// === impl Checker ===

impl Checker {
    /// Takes a kind's root schema and what of that kind is not built.
    pub fn new(schema: JSONSchemaProps, gaps: Gaps) -> Self {
        let mut patterns = Patterns::new();
        collect(&schema, &mut patterns);
        Self { schema, patterns, gaps }
    }

    /// All problems of a document, at most a hundred.
    pub fn check(&self, document: &Value) -> Vec<Problem> {
        walk::walk(&self.schema, &self.patterns, self.gaps, document)
    }
}

/// Compiles every pattern below `schema`.
fn collect(schema: &JSONSchemaProps, patterns: &mut Patterns) {
    if let Some(pattern) = &schema.pattern
        && !patterns.contains_key(pattern)
    {
        patterns.insert(pattern.clone(), Regex::new(pattern).ok());
    }
    for property in schema.properties.iter().flat_map(BTreeMap::values) {
        collect(property, patterns);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect(items, patterns);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect(values, patterns);
    }
}

// === impl Gaps ===

impl Gaps {
    /// Everything is built.
    pub const NONE: Self = Self { field: |_| false };

    /// The gaps of a kind of ours.
    pub fn of_kind(kind: &str) -> Self {
        if kind == crate::v1alpha1::AUTH_POLICY { Self { field: crate::v1alpha1::not_built } } else { Self::NONE }
    }
}

// === impl Problem ===

impl Problem {
    pub(crate) fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), kind: ProblemKind::Invalid }
    }

    /// What is answered for a part of the contract that is known and not there yet.
    pub(crate) fn unsupported(path: impl Into<String>, what: &str) -> Self {
        let message = format!("this build does not have `{what}` yet; remove it, or use a build that has it");
        Self { path: path.into(), message, kind: ProblemKind::Unsupported }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path, self.message)
    }
}
