//! Scopes and roles that a policy gives.

use std::{collections::BTreeSet, sync::Arc};

use super::{policy::Site, problem, remote};
use crate::{
    roles::{Globs, RoleExpression, RoleRules},
    snapshot::Authorization,
    v1alpha1::{self, AuthPolicySpec, MissingScopes},
};

/// The compiled block, if there is one.
pub(super) fn compile(spec: &AuthPolicySpec, site: &mut Site<'_>) -> Option<Authorization> {
    let own = spec.authorization.as_ref()?;
    let role_scopes = own
        .role_scopes
        .iter()
        .map(|(role, scopes)| (role.as_str().into(), scopes.0.iter().map(|one| (**one).into()).collect()));
    let at = "spec.authorization.webhook";
    let webhook = own.webhook.as_ref().and_then(|webhook| remote::webhook(at, webhook, site)).map(Arc::new);
    Some(Authorization {
        unrestricted_without_scopes: own.missing_scopes == Some(MissingScopes::Unrestricted),
        role_scopes: role_scopes.collect(),
        roles: own.roles.as_ref().map_or_else(RoleRules::default, |roles| self::roles(spec, roles, site)),
        webhook,
    })
}

fn roles(spec: &AuthPolicySpec, roles: &v1alpha1::Roles, site: &mut Site<'_>) -> RoleRules {
    let at = "spec.authorization.roles";
    let expression = roles.jmes_path.as_ref().and_then(|text| {
        let parsed = RoleExpression::parse(text);
        parsed.map_err(|error| site.problems.push(problem(format!("{at}.jmesPath"), error.to_string()))).ok()
    });
    let mut globs = Vec::new();
    for (role, patterns) in &roles.globs {
        match Globs::parse(patterns.0.iter().map(|one| &**one)) {
            Ok(parsed) => globs.push((role.as_str().into(), parsed)),
            Err(error) => site.problems.push(problem(format!("{at}.globs.{role}[{}]", error.index), error.to_string())),
        }
    }
    let otherwise = roles.otherwise.as_ref().filter(|role| !role.is_empty()).map(|role| (**role).into());
    RoleRules { expression, globs, otherwise, known: known(spec, roles) }
}

/// Every role that the policy names.
fn known(spec: &AuthPolicySpec, roles: &v1alpha1::Roles) -> BTreeSet<Box<str>> {
    let required = spec
        .routes
        .iter()
        .filter_map(|route| route.require.as_ref())
        .chain(&spec.require)
        .flat_map(|require| &require.roles);
    let given = spec.authorization.iter().flat_map(|own| own.role_scopes.keys()).chain(roles.globs.keys());
    let named = given.map(String::as_str).chain(required.map(|role| &**role)).chain(roles.otherwise.as_deref());
    named.filter(|role| !role.is_empty()).map(Into::into).collect()
}
