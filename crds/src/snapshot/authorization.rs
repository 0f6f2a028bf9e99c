//! Compiled authorization: what a caller may do beyond what the credential says.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::Webhook;
use crate::roles::RoleRules;

/// The scope that is every scope.
pub const EVERY_SCOPE: &str = "*";

/// Scopes and roles of a policy's callers.
#[derive(Debug, Serialize)]
pub struct Authorization {
    /// Whether callers with neither a scope claim nor a known role have every scope.
    pub unrestricted_without_scopes: bool,
    /// Scopes that a role gives.
    pub role_scopes: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// Roles that the policy gives.
    pub roles: RoleRules,
    /// Who says whether a caller is still active, and what he may do.
    pub webhook: Option<Arc<Webhook>>,
}

impl Authorization {
    /// Whether the policy speaks of this role: whoever has one is restricted to what it gives.
    pub fn knows(&self, role: &str) -> bool {
        self.role_scopes.contains_key(role)
            || self.roles.globs.iter().any(|(own, _)| **own == *role)
            || self.roles.otherwise.as_deref() == Some(role)
    }
}
