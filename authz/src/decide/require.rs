//! Step 6: requirements of authenticator, policy and route. All must hold; anything that cannot be evaluated does not hold.

use crds::{
    code::Code,
    snapshot::{IdentityRequirements, Requirement},
};

use super::{Awaited, Deny, Deps, Facts, Grants, Stop, forward::inputs, select::Place, standing};
use crate::{
    expr, jwt,
    principal::{CallerKind, Principal},
    request::RequestView,
};

/// Which requirement was looked at; its words are made only for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The people that the authenticator of this position admits.
    Admission(usize),
    /// What the policy's service says about the caller.
    Standing,
    /// The requirement of this position.
    Rule(usize),
}

/// All requirements, in order.
pub(super) fn check(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<(), Stop> {
    let proven = facts.proven.clone();
    let principal = proven.as_ref().map(|proven| &proven.principal);
    let nothing = Grants::default();
    let grants = proven.as_ref().map_or(&nothing, |proven| &proven.grants);
    if let Some((proven, held)) = proven.as_ref().and_then(|proven| Some((proven, proven.admitted?))) {
        let refusal = || Deny::new(Code::Forbidden, "the authenticator does not admit this person");
        note(facts, Checked::Admission(proven.authenticator), held, refusal)?;
    }
    if let Some(active) = proven.as_ref().and_then(|proven| proven.active) {
        let refusal = || Deny::new(Code::Forbidden, "the caller is not active any more");
        note(facts, Checked::Standing, active, refusal)?;
    }
    for (index, requirement) in place.rules.require.iter().enumerate() {
        if let Requirement::Owner(owned) = requirement {
            let held = standing::owns(deps, request, awaited, place, owned, principal)?;
            note(facts, Checked::Rule(index), held, || standing::stranger(owned))?;
            continue;
        }
        let (held, deny) = evaluate(requirement, request, place, caller, principal, grants);
        note(facts, Checked::Rule(index), held, || deny)?;
    }
    Ok(())
}

fn note(facts: &mut Facts, what: Checked, held: bool, deny: impl FnOnce() -> Deny) -> Result<(), Deny> {
    facts.requirements.push((what, held));
    if held { Ok(()) } else { Err(deny()) }
}

/// Requirements in words, and whether each held.
pub(super) fn in_words(facts: &Facts) -> Vec<(String, bool)> {
    let Some(rules) = &facts.rules else { return Vec::new() };
    let words = |checked: &Checked| match checked {
        Checked::Admission(index) => {
            rules.authenticators.get(*index).map(|one| format!("{} admits this person", one.name))
        }
        Checked::Standing => Some("the caller is active".to_owned()),
        Checked::Rule(index) => rules.require.get(*index).map(describe),
    };
    facts.requirements.iter().filter_map(|(checked, held)| words(checked).map(|words| (words, *held))).collect()
}

/// Whether it holds, and the refusal if not.
fn evaluate(
    requirement: &Requirement,
    request: &RequestView<'_>,
    place: &Place<'_>,
    caller: CallerKind,
    principal: Option<&Principal>,
    grants: &Grants,
) -> (bool, Deny) {
    match requirement {
        Requirement::Scopes(wanted) => {
            let missing: Vec<Box<str>> = wanted.iter().filter(|one| !grants.hold(one)).cloned().collect();
            (missing.is_empty(), scope(wanted, missing))
        }
        Requirement::AnyScope(wanted) => (wanted.iter().any(|one| grants.hold(one)), scope(wanted, wanted.clone())),
        Requirement::Roles(wanted) => {
            let roles = principal.map_or(&[][..], |one| &one.roles);
            (wanted.iter().any(|one| roles.contains(one)), Deny::new(Code::Forbidden, "a required role is missing"))
        }
        Requirement::Identity(rules) => (
            principal.is_some_and(|one| jwt::admits(rules, one)),
            Deny::new(Code::Forbidden, "this person is not admitted"),
        ),
        Requirement::Cel(condition) => {
            match expr::condition(condition, &inputs(request, place, caller, principal)) {
                Ok(held) => (held, Deny::new(Code::Forbidden, "a condition does not hold")),
                // A rule that could not be checked does not hold.
                Err(failure) => (false, Deny::failed(Code::Forbidden, "a condition could not be evaluated", failure)),
            }
        }
        // Looked at where somebody can be asked; never taken for granted.
        Requirement::Owner(owned) => (false, standing::stranger(owned)),
    }
}

fn scope(needed: &[Box<str>], missing: Vec<Box<str>>) -> Deny {
    Deny { scopes: needed.to_vec(), missing, ..Deny::new(Code::InsufficientScope, "a required scope is missing") }
}

fn describe(requirement: &Requirement) -> String {
    match requirement {
        Requirement::Scopes(all) => format!("scopes {}", all.join(" ")),
        Requirement::AnyScope(any) => format!("one of the scopes {}", any.join(" ")),
        Requirement::Roles(any) => format!("one of the roles {}", any.join(", ")),
        Requirement::Identity(IdentityRequirements { verified_email, emails, domains }) => {
            let verified = if *verified_email { "a verified e-mail address" } else { "an e-mail address" };
            if emails.is_empty() && domains.is_empty() {
                return verified.to_owned();
            }
            format!(
                "{verified} among {}",
                emails.iter().chain(domains).map(|one| &**one).collect::<Vec<_>>().join(", ")
            )
        }
        Requirement::Cel(condition) => format!("cel {}", condition.source()),
        Requirement::Owner(owned) => format!("own {{{}}}", owned.owner.variable),
    }
}
