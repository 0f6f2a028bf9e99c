//! What a verified caller may do: roles that the policy gives, and scopes of the credential and of all roles. Follows from the credential
//! and the policy alone, so it is done once per verified credential and cached with it.

use crds::snapshot::{Authorization, ClaimMapping, EVERY_SCOPE};

use super::{Proven, encode};
use crate::{jwt, principal::Principal};

/// The scopes a caller has in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// Every scope.
    Everything,
    /// These, sorted.
    Scopes(Box<[Box<str>]>),
}

/// Nothing: a caller whose grants nobody worked out has none.
impl Default for Grants {
    fn default() -> Self {
        Self::Scopes(Box::default())
    }
}

impl Grants {
    /// Whether they hold this scope.
    pub fn hold(&self, scope: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Scopes(own) => own.binary_search_by(|one| (**one).cmp(scope)).is_ok(),
        }
    }
}

/// Completes a verified caller. `mapping`: where its credential keeps scopes.
pub(super) fn complete(authorization: Option<&Authorization>, mapping: Option<&ClaimMapping>, proven: &mut Proven) {
    if let Some(authorization) = authorization
        && add_roles(authorization, &mut proven.principal)
    {
        proven.headers = encode::identity(&proven.principal);
    }
    proven.grants = grants(authorization, mapping, &proven.principal);
}

/// Whether there was one to add.
fn add_roles(authorization: &Authorization, principal: &mut Principal) -> bool {
    let mut roles = authorization.roles.roles(&principal.claims, principal.email.as_deref());
    roles.retain(|role| !principal.roles.contains(role));
    let added = !roles.is_empty();
    principal.roles.extend(roles);
    added
}

fn grants(authorization: Option<&Authorization>, mapping: Option<&ClaimMapping>, principal: &Principal) -> Grants {
    let Some(authorization) = authorization else { return scopes(principal.scopes.iter()) };
    // A claim that is there and cannot be read is a claim: guessing "no scopes, so no limits" would be the wrong way round.
    let has_claim =
        mapping.is_none_or(|mapping| mapping.scopes.iter().any(|name| jwt::claim(&principal.claims, name).is_some()));
    let knows_role = principal.roles.iter().any(|role| authorization.knows(role));
    if authorization.unrestricted_without_scopes && !has_claim && !knows_role && principal.scopes.is_empty() {
        return Grants::Everything;
    }
    let of_roles = principal.roles.iter().filter_map(|role| authorization.role_scopes.get(role)).flatten();
    let all = principal.scopes.iter().chain(of_roles);
    if all.clone().any(|scope| **scope == *EVERY_SCOPE) { Grants::Everything } else { scopes(all) }
}

fn scopes<'a>(all: impl Iterator<Item = &'a Box<str>>) -> Grants {
    let mut own: Vec<Box<str>> = all.cloned().collect();
    own.sort_unstable();
    own.dedup();
    Grants::Scopes(own.into())
}
