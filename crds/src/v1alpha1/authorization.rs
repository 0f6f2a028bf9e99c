//! What callers may do: the scopes that roles give, and the roles that a policy gives.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    remote::Webhook,
    rules,
    text::{GlobText, JmesPathText, RoleOrNone, ScopeName, field_explains},
};

/// Scopes and roles of callers beyond what their credential says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    /// What a caller may do who has neither a scope claim nor a role that this block knows: Deny is no scope at all, Unrestricted every
    /// scope. A scope claim that is there and empty is no scope at all. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scopes: Option<MissingScopes>,
    /// Scopes that each role gives, beside those of the credential; "*" is every scope. Default: none. Example: {viewer: [doc.read]}.
    #[serde(default, deserialize_with = "null_is_none", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "x-kubernetes-validations" = [rules::ROLE_NAMES]))]
    pub role_scopes: BTreeMap<String, ScopeList>,
    /// Roles that the policy gives, beside those of the credential: by the expression, else by the globs, else otherwise. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Roles>,
    /// A service of yours that says of every verified caller whether he is still active, and what he may do. Who is not is refused with
    /// 403. Default: nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// Who has which role. The expression speaks first; where it names no role, the globs; where none matches, otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Roles {
    /// JMESPath expression over the verified claims. The text Admin gives the role admin, MCP the role mcp, any other text the role of
    /// exactly this name if the policy knows it; everything else gives none. Example: contains(groups[], 'ops') && 'Admin' || 'MCP'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jmes_path: Option<JmesPathText>,
    /// For each role patterns of e-mail addresses, without regard to case: * any characters, ? one, [a-z] one of a set. Every role with a
    /// pattern that matches is given. Example: `{admin: ['*@example.com']}`.
    #[serde(default, deserialize_with = "null_is_none", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "x-kubernetes-validations" = [rules::ROLE_NAMES]))]
    pub globs: BTreeMap<String, GlobList>,
    /// The role of every caller to whom neither the expression nor a glob gives one; empty: none. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<RoleOrNone>,
}

/// Scopes of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("maxItems" = 64, "x-kubernetes-list-type" = "set"))]
pub struct ScopeList(
    /// As written.
    pub Vec<ScopeName>,
);

/// Patterns of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("minItems" = 1, "maxItems" = 64, "x-kubernetes-list-type" = "set"))]
pub struct GlobList(
    /// As written.
    pub Vec<GlobText>,
);

/// What a caller without scopes may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum MissingScopes {
    /// Nothing that needs a scope.
    Deny,
    /// Everything that needs a scope.
    Unrestricted,
}

/// A map that is written with nothing behind it is an absent one, and so is a member.
fn null_is_none<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let members = Option::<BTreeMap<String, Option<T>>>::deserialize(from)?.unwrap_or_default();
    Ok(members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
