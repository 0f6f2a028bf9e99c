//! Phase 3: verdicts and what data planes say, to what each status shall say. Pure; the words are those of the contract, section 5.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crds::{
    compile::{ConditionType, Verdict},
    documents::Kind,
    push::Pushed,
    v1alpha1::AUTH_POLICY,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{dereference::Store, validate::Validated};
use crate::push::{Proxies, Standing, Standings};

/// What an object's status says, and for which version of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status`. Thousands are wished for while they are held.
    pub status: Arc<Value>,
}

/// What an object's status shall say.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Which kind.
    pub kind: Kind,
    /// `namespace/name`.
    pub name: Arc<str>,
    /// What it says now.
    pub observed: Observed,
    /// Since when its newest version is known.
    pub since: Instant,
    /// Conditions in fixed order.
    pub conditions: Vec<Said>,
    /// Hosts that lead to it; policies only.
    pub hostnames: Option<Vec<String>>,
    /// The generation that every data plane enforces; policies only.
    pub programmed: Option<i64>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its type.
    pub kind: &'static str,
    /// Whether it holds; `None`: nobody knows.
    pub status: Option<bool>,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
}

// === impl Observed ===

impl Observed {
    /// Reads an object.
    pub(super) fn of(object: &Value) -> Self {
        Self {
            uid: object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
            status: Arc::new(object.get("status").cloned().unwrap_or(Value::Null)),
        }
    }
}

/// Every status. `standings`: what data planes say of this very state; `None`: it is still on its way.
pub(super) fn build(validated: &Validated, store: &Store, standings: Option<&Standings>) -> Vec<Desired> {
    let pushed: HashMap<&str, &Pushed> = validated.pushed().iter().map(|one| (&*one.policy.name, one)).collect();
    let desired = validated.verdicts().iter().filter_map(|verdict| {
        let kind = if verdict.kind == AUTH_POLICY { Kind::AuthPolicy } else { Kind::DataSource };
        let held = store.held(kind, &verdict.name)?;
        // A verdict on a version that is no longer the newest is none: the newest waits for its references.
        if held.ready.as_ref() != Some(&held.newest) {
            return None;
        }
        let mut conditions: Vec<Said> = verdict.conditions.iter().map(said).collect();
        if let Some(why) = store.unread(&held.references)
            && let Some(refs) =
                conditions.iter_mut().find(|said| said.kind == RESOLVED_REFS && said.status == Some(false))
        {
            // What the compile step knows is that it was not read.
            refs.message = format!("{}; not everything could be read: {why}", refs.message);
        }
        let (mut hostnames, mut programmed) = (None, None);
        if kind == Kind::AuthPolicy {
            let one = pushed.get(&*verdict.name).copied();
            hostnames =
                Some(one.map(|one| one.policy.hosts.iter().map(ToString::to_string).collect()).unwrap_or_default());
            let (said, generation) = program(verdict, one, standings);
            programmed = generation.or_else(|| {
                // Until all of them enforce the newest, they enforce what they did.
                held.observed.status.get("programmedGeneration").and_then(Value::as_i64)
            });
            conditions.push(said);
            conditions.push(issuers(&verdict.name, one, standings));
        }
        Some(Desired {
            kind,
            name: verdict.name.clone(),
            observed: held.observed.clone(),
            since: held.since,
            conditions,
            hostnames,
            programmed,
        })
    });
    desired.collect()
}

const RESOLVED_REFS: &str = "ResolvedRefs";

fn said(condition: &crds::compile::Condition) -> Said {
    let kind = match condition.r#type {
        ConditionType::Accepted => "Accepted",
        ConditionType::ResolvedRefs => RESOLVED_REFS,
    };
    Said {
        kind,
        status: Some(condition.status),
        reason: condition.reason.to_string(),
        message: condition.message.clone(),
    }
}

/// `Programmed`, and the generation that is enforced everywhere.
pub(super) fn program(
    verdict: &Verdict,
    pushed: Option<&Pushed>,
    standings: Option<&Standings>,
) -> (Said, Option<i64>) {
    let no = |reason: &str, message: String| {
        let said = Said { kind: "Programmed", status: Some(false), reason: reason.to_owned(), message };
        (said, None)
    };
    let Some(pushed) = pushed else { return no("Reconciling", "the policy is not in force yet".to_owned()) };
    if !verdict.is_accepted() {
        match (&pushed.policy.document, pushed.newest) {
            (Some(_), false) => return no("LastGoodInForce", "an older version is in force: see Accepted".to_owned()),
            (None, _) => return no("Reconciling", "nothing of the policy is in force: see Accepted".to_owned()),
            // Without authenticators: what is public is in force, and all else refused.
            (Some(_), true) => {}
        }
    }
    let standing = standings.and_then(|standings| standings.policies.get(&verdict.name));
    match standing {
        None => no("Reconciling", "the newest version is on its way to the data plane".to_owned()),
        Some(Standing::NoDataPlane) => {
            no("NoDataPlane", "no authz that takes this policy is connected: nobody enforces it".to_owned())
        }
        Some(Standing::Lagging { waiting, more }) => no("Lagging", lagging(waiting, *more)),
        Some(Standing::Rejected { by, reason }) => no("Lagging", format!("{by} refuses it: {reason}")),
        Some(Standing::Programmed { .. }) => {
            let proxies = standings.and_then(|standings| standings.proxies.get(&verdict.name));
            if let Some((reason, message)) = withheld(pushed, proxies) {
                return no(reason, message);
            }
            // Without the number of replicas: scaling would be a change of every status.
            let message = "every connected authz that takes this policy enforces it".to_owned();
            let said = Said { kind: "Programmed", status: Some(true), reason: "Programmed".to_owned(), message };
            (said, pushed.generation)
        }
    }
}

/// Another replica of the operator that publishes another version names nobody.
fn lagging(waiting: &[String], more: usize) -> String {
    let names = waiting.join(", ");
    match (waiting.is_empty(), more) {
        (false, 0) => format!("not in force yet at {names}"),
        (false, more) => format!("not in force yet at {names} and {more} more"),
        (true, more) => format!("data planes of other replicas of the operator do not have it in force yet: {more}"),
    }
}

/// Why a policy whose answers carry secrets is not enforced as it is written: to whoever did not prove itself they are not given.
fn withheld(pushed: &Pushed, proxies: Option<&Proxies>) -> Option<(&'static str, String)> {
    const HOW: &str = "give Envoy the client certificate of Secret gatewright-client-tls";
    let proxies = proxies.filter(|_| pushed.hands_out)?;
    if !proxies.strangers.is_empty() {
        let names: Vec<String> = proxies.strangers.iter().map(ToString::to_string).collect();
        let message = format!(
            "its secrets are withheld from proxies that did not prove themselves, and requests that need them refused: {}; {HOW}",
            names.join(", ")
        );
        return Some(("Lagging", message));
    }
    let message = format!("its secrets go only to a proxy that proved itself, and none has; {HOW}");
    (!proxies.proved).then_some(("NoDataPlane", message))
}

/// At most this many issuers in a message.
const NAMED: usize = 5;

/// `IssuersReachable`, as far as a data plane that takes the policy tells.
pub(super) fn issuers(policy: &Arc<str>, pushed: Option<&Pushed>, standings: Option<&Standings>) -> Said {
    let said =
        |status, reason: &str, message| Said { kind: "IssuersReachable", status, reason: reason.to_owned(), message };
    let unknown = |message: &str| said(None, "NoReport", message.to_owned());
    let taken = |standings: &&Standings| {
        standings.policies.get(policy).is_some_and(|standing| *standing != Standing::NoDataPlane)
    };
    let Some(standings) = standings.filter(taken) else {
        return unknown("no data plane that takes this policy has reported yet");
    };
    let reports = standings.issuers.get(policy).map_or(&[][..], Vec::as_slice);
    let failing = reports.iter().filter_map(|report| Some(format!("{}: {}", report.issuer, report.error.as_ref()?)));
    let failing: BTreeSet<String> = failing.collect();
    if !failing.is_empty() {
        let named: Vec<String> = failing.into_iter().take(NAMED).collect();
        return said(Some(false), "IssuersUnreachable", named.join("; "));
    }
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    reports.iter().for_each(|report| *told.entry(&report.replica).or_default() += 1);
    // A first fetch that has not ended is not told of.
    if told.into_values().max().unwrap_or_default() < pushed.map_or(0, |pushed| pushed.issuers) {
        return unknown("no data plane has fetched the keys of every issuer yet");
    }
    said(Some(true), "IssuersReachable", "the keys of every issuer were fetched".to_owned())
}
