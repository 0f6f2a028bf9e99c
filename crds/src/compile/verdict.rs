//! Verdicts: what status conditions and `check` say about an object (contract, section 5). Every word of a reason stands here.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{conflicts::Share, policy::Built};
use crate::{
    documents::{Object, Place, Unreadable},
    hosts::HostPattern,
    schema::{Problem, ProblemKind},
};

/// What came of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `AuthPolicy` or `DataSource`.
    pub kind: &'static str,
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Where the document stood.
    #[serde(serialize_with = "display")]
    pub place: Place,
    /// Conditions, in fixed order.
    pub conditions: Vec<Condition>,
    /// Hosts that lead to it.
    pub hostnames: Vec<HostPattern>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its type.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for a person: what is wrong and what to do.
    pub message: String,
}

/// Types of conditions that compiling decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConditionType {
    /// The document is valid and owns what it claims.
    Accepted,
    /// Everything it refers to is there and fit.
    ResolvedRefs,
}

/// Reasons of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// All of it.
    Accepted,
    /// All but some hosts.
    PartiallyAccepted,
    /// A mistake in the document.
    Invalid,
    /// Something needs a caller, and nobody is named who could authenticate one.
    NoAuthenticators,
    /// No host is left.
    HostnameConflict,
    /// Another object has the name or the role.
    Conflicted,
    /// Valid, but more than this build can enforce.
    Unsupported,
    /// Every reference resolves.
    ResolvedRefs,
    /// A Secret or its key is missing.
    SecretMissing,
    /// A ConfigMap or its key is missing.
    ConfigMapMissing,
    /// A secret is too short for its purpose.
    WeakSecret,
    /// A private key where a public one belongs.
    PrivateKey,
    /// The content is not what is expected there.
    BadContent,
}

/// What became of the wish to be the fallback.
pub(super) struct Fallback {
    pub(super) taken_by: Option<Arc<str>>,
    pub(super) not_here: bool,
}

// === impl Verdict ===

impl Verdict {
    /// Whether the object's newest version is in force, in part at least.
    pub fn is_accepted(&self) -> bool {
        self.conditions.iter().all(|one| one.r#type != ConditionType::Accepted || one.status)
    }

    /// Whether a referenced value is there and unfit.
    pub fn has_unfit_reference(&self) -> bool {
        self.conditions
            .iter()
            .any(|one| matches!(one.reason, Reason::WeakSecret | Reason::PrivateKey | Reason::BadContent))
    }

    /// Whether every reference resolves.
    pub fn is_resolved(&self) -> bool {
        self.conditions.iter().all(|one| one.r#type != ConditionType::ResolvedRefs || one.status)
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

fn display<S: serde::Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

fn of(object: &Object, conditions: Vec<Condition>, hostnames: Vec<HostPattern>) -> Verdict {
    Verdict { kind: object.kind, name: object.name.clone(), place: object.place.clone(), conditions, hostnames }
}

fn not_accepted(reason: Reason, message: String) -> Condition {
    Condition { r#type: ConditionType::Accepted, status: false, reason, message }
}

/// A valid document that got something: what it lost decides how much of it is accepted.
pub(super) fn accepted(object: &Object, built: &Built, share: &Share, fallback: &Fallback) -> Verdict {
    let lost = lost(share, fallback);
    let (status, reason, message) = if let Some(why) = &built.no_authenticators {
        let message =
            format!("spec.authenticators: empty while {why}; protected requests are refused until there is one");
        (false, Reason::NoAuthenticators, if lost.is_empty() { message } else { format!("{message}; {lost}") })
    } else if lost.is_empty() {
        (true, Reason::Accepted, "the policy is valid".to_owned())
    } else {
        (true, Reason::PartiallyAccepted, lost)
    };
    let accepted = Condition { r#type: ConditionType::Accepted, status, reason, message };
    of(object, vec![accepted, resolved(built)], share.kept.clone())
}

/// A valid document of which nothing can be in force; what of a version before it is.
pub(super) fn nothing_left(
    object: &Object,
    built: &Built,
    share: &Share,
    fallback: &Fallback,
    in_force: Option<(&Built, &Share)>,
) -> Verdict {
    let (reason, what) = if share.lost.is_empty() && share.not_granted.is_empty() {
        (Reason::Conflicted, "the role is taken")
    } else {
        (Reason::HostnameConflict, "no host name is left")
    };
    let stays = if in_force.is_some() { STAYS } else { "" };
    let accepted = not_accepted(reason, format!("{what}: {}{stays}", lost(share, fallback)));
    let (built, share) = in_force.unwrap_or((built, share));
    of(object, vec![accepted, resolved(built)], share.kept.clone())
}

fn lost(share: &Share, fallback: &Fallback) -> String {
    let mut lost: Vec<String> =
        share.lost.iter().map(|(host, keeper)| format!("{host} belongs to the older {keeper}")).collect();
    lost.extend(share.not_granted.iter().map(|host| format!("{host} is not granted to this namespace")));
    if let Some(keeper) = &fallback.taken_by {
        lost.push(format!("the older {keeper} is the fallback already"));
    }
    if fallback.not_here {
        lost.push("`fallback` counts only in the namespace of the operator".to_owned());
    }
    lost.join("; ")
}

/// All problems of the references in one condition; the first gives the reason.
fn resolved(built: &Built) -> Condition {
    let (status, reason, message) = match built.reference_problems.first() {
        None => (true, Reason::ResolvedRefs, "every reference resolves".to_owned()),
        Some((reason, _)) => {
            let all: Vec<&str> = built.reference_problems.iter().map(|(_, message)| message.as_str()).collect();
            (false, *reason, all.join("; "))
        }
    };
    Condition { r#type: ConditionType::ResolvedRefs, status, reason, message }
}

/// What is said of a document beside which an older one is in force.
const STAYS: &str = ". The last good version stays in force";

/// A document that is not accepted, and what of a version before it is in force.
fn instead(object: &Object, accepted: Condition, in_force: Option<&Built>, share: &Share) -> Verdict {
    of(object, std::iter::once(accepted).chain(in_force.map(resolved)).collect(), share.kept.clone())
}

/// A policy with mistakes.
pub(super) fn rejected(object: &Object, problems: &[Problem], in_force: Option<&Built>, share: &Share) -> Verdict {
    let stays = match in_force {
        Some(_) => STAYS,
        None => ". Its hosts are answered with `unavailable` until it is mended",
    };
    instead(object, mistakes(problems, stays), in_force, share)
}

/// A DataSource with mistakes.
pub(super) fn rejected_source(object: &Object, problems: &[Problem]) -> Verdict {
    of(object, vec![mistakes(problems, "")], Vec::new())
}

fn mistakes(problems: &[Problem], stays: &str) -> Condition {
    let unsupported = problems.iter().all(|one| one.kind == ProblemKind::Unsupported);
    let reason = if unsupported { Reason::Unsupported } else { Reason::Invalid };
    let all = problems.iter().map(|one| format!("{}: {}", one.path, one.message)).collect::<Vec<_>>().join("; ");
    not_accepted(reason, all + stays)
}

/// One of two documents of one name.
pub(super) fn duplicate(object: &Object, other: &Place, in_force: Option<&Built>, share: &Share) -> Verdict {
    let stays = match in_force {
        Some(_) => "the version accepted before them stays",
        None => "what no accepted version has is answered with `unavailable`",
    };
    let message = format!(
        "metadata.name: {} is defined at {other} as well; delete one of the two. Neither is in force: {stays}",
        object.name
    );
    instead(object, not_accepted(Reason::Conflicted, message), in_force, share)
}

/// A policy whose document cannot be read at the moment.
pub(super) fn unreadable(object: &Object, unreadable: &[Unreadable], in_force: &Built, share: &Share) -> Verdict {
    let why = unreadable.iter().find(|one| one.hides_object && one.place.file == object.place.file);
    let why = why.map_or_else(|| object.place.to_string(), ToString::to_string);
    instead(object, not_accepted(Reason::Invalid, format!("{why}{STAYS}")), Some(in_force), share)
}
