//! Roles that a policy gives: by an expression over the claims, else by patterns of e-mail addresses, else to everybody else.
//!
//! Owns the rules and their evaluation, which is pure. Must never fail a request: what cannot be evaluated gives no role, and a role
//! that nobody has opens nothing.

mod expression;
mod globs;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

pub use expression::{BadExpression, RoleExpression};
pub use globs::{BadGlob, Globs};

/// Who has which role.
#[derive(Debug, Default, Serialize)]
pub struct RoleRules {
    /// Speaks first.
    pub expression: Option<RoleExpression>,
    /// Speaks where the expression names no role: for each role its patterns.
    pub globs: Vec<(Box<str>, Globs)>,
    /// The role of everybody else.
    pub otherwise: Option<Box<str>>,
    /// Roles that the policy names anywhere: an expression gives no other, so that a text it copies out of a claim is not a role by
    /// accident.
    pub known: BTreeSet<Box<str>>,
}

// === impl RoleRules ===

impl RoleRules {
    /// The roles of a caller with these claims and this e-mail address, beside those of the credential.
    pub fn roles(&self, claims: &Map<String, Value>, email: Option<&str>) -> Vec<Box<str>> {
        if let Some(role) = self.expression.as_ref().and_then(|expression| self.named(&expression.text(claims)?)) {
            return vec![role];
        }
        let matching = |(_, globs): &&(Box<str>, Globs)| email.is_some_and(|email| globs.match_any(email));
        // All of them: a map has no order, so none could be the first.
        let by_email: Vec<Box<str>> = self.globs.iter().filter(matching).map(|(role, _)| role.clone()).collect();
        if by_email.is_empty() { self.otherwise.iter().cloned().collect() } else { by_email }
    }

    /// The role that the text of an expression names. Two words are those of expressions that people have: they are exact, so the
    /// roles that they stand for answer to nothing else.
    fn named(&self, text: &str) -> Option<Box<str>> {
        match text {
            "Admin" => Some("admin".into()),
            "MCP" => Some("mcp".into()),
            "admin" | "mcp" => None,
            other => self.known.get(other).cloned(),
        }
    }
}
