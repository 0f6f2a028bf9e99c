//! What a verified caller may do: roles that the policy gives, and scopes of the credential and of all roles. Follows from the credential
//! and the policy alone, so it is done once per verified credential and cached with it.

use crds::snapshot::{Authorization, ClaimMapping, EVERY_SCOPE};

use super::{Proven, encode};
use crate::{jwt, principal::Principal, remote::Standing};

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

/// Completes a verified caller. `mapping`: where its credential keeps scopes; `standing`: what the policy's service says of him, whose word
/// about roles and scopes is newer than the credential's.
pub(super) fn complete(
    authorization: Option<&Authorization>,
    mapping: Option<&ClaimMapping>,
    standing: Option<&Standing>,
    proven: &mut Proven,
) {
    let mut changed = false;
    if let Some(standing) = standing {
        proven.active = Some(standing.active);
        if let Some(roles) = &standing.roles {
            proven.principal.roles.clone_from(roles);
            changed = true;
        }
        if let Some(scopes) = &standing.scopes {
            proven.principal.scopes.clone_from(scopes);
            changed = true;
        }
    }
    changed |= authorization.is_some_and(|authorization| add_roles(authorization, &mut proven.principal));
    if changed {
        proven.headers = encode::identity(&proven.principal);
    }
    let says_scopes = standing.is_some_and(|standing| standing.scopes.is_some());
    proven.grants = grants(authorization, mapping.filter(|_| !says_scopes), &proven.principal);
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
