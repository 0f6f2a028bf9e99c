//! What is held: whole changes or none, in order, of the newest leadership.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use crds::{
    documents::Document,
    push::{Body, Name, PushedPolicy, State, version},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    files::{Copy, Files},
    force::Force,
    held::{Applied, Held, Incoming, Kept, Refusal},
    metrics::Metrics,
    wire,
};
use crate::{
    jwks::{self, KeyCache},
    server::Registry,
};

fn document(host: &str, more: &Value) -> Value {
    let mut spec = json!({"externalHostnames": [host], "requireAuth": false});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "p", "namespace": "a"}, "spec": spec})
}

fn policy(name: &str, host: &str, more: &Value) -> Incoming {
    let policy = PushedPolicy {
        name: name.into(),
        document: Some(Document::new(&document(host, more))),
        hosts: vec![crds::hosts::HostPattern::parse(host).unwrap()],
        fallback: false,
    };
    incoming(Name::Policy(name.into()), &serde_json::to_string(&policy).unwrap())
}

fn incoming(name: Name, text: &str) -> Incoming {
    let body = Body::read(&name, name.type_url(), text.as_bytes()).map_err(|error| error.to_string());
    Incoming { name, version: version(text.as_bytes()).into(), text: text.into(), body }
}

fn state(epoch: u64, counter: u64, policies: usize) -> Incoming {
    incoming(Name::State, &serde_json::to_string(&State { epoch, counter, policies }).unwrap())
}

fn answers(applied: &Applied, host: &str) -> Option<String> {
    use crds::snapshot::Entry;
    applied.snapshot.for_host(host).map(|entry| match entry {
        Entry::InForce(one) => one.policy.name.to_string(),
        Entry::Held(held) => format!("!{}", held.name),
    })
}

const NOTHING: Value = Value::Null;

/// Holds one policy, of epoch 2.
fn held() -> Held {
    let mut held = Held::default();
    held.take(vec![policy("a/p", "x.test", &NOTHING), state(2, 1, 1)], Vec::new()).unwrap().unwrap();
    held
}

#[test]
fn nothing_is_in_force_before_the_state() {
    let mut held = Held::default();
    assert!(held.take(vec![policy("a/p", "x.test", &NOTHING)], Vec::new()).unwrap().is_none());
    assert!(held.versions().is_empty());
    let applied = held.take(vec![policy("a/q", "y.test", &NOTHING), state(1, 1, 2)], Vec::new()).unwrap().unwrap();
    assert_eq!(answers(&applied, "x.test").as_deref(), Some("a/p"));
    assert_eq!(answers(&applied, "y.test").as_deref(), Some("a/q"));
    assert_eq!(held.versions().len(), 2);
}

#[test]
fn what_a_broken_stream_staged_is_worth_nothing() {
    let mut held = held();
    held.take(vec![policy("a/q", "y.test", &NOTHING)], vec![Name::Policy("a/p".into())]).unwrap();
    held.begin();
    let applied = held.take(vec![state(2, 1, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(answers(&applied, "x.test").as_deref(), Some("a/p"));
    assert_eq!(answers(&applied, "y.test"), None);
}

#[test]
fn an_older_leadership_is_refused_whatever_it_counts() {
    let mut held = held();
    held.begin();
    let refusal = held.take(vec![policy("a/p", "evil.test", &NOTHING), state(1, 99, 1)], Vec::new()).unwrap_err();
    assert_eq!(refusal, Refusal::Epoch { seen: 2, theirs: 1 });
    assert_eq!(wire::refuse("n".to_owned(), &refusal).error_detail.unwrap().code, wire::FENCED);
    // Nor does anything of it stay.
    let applied = held.take(vec![state(2, 1, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(answers(&applied, "evil.test"), None);
    held.take(vec![state(3, 2, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(held.epoch(), 3);
}

#[test]
fn a_change_that_came_before_or_is_incomplete_is_refused() {
    let mut held = held();
    let refusal = held.take(vec![state(2, 1, 1)], Vec::new()).unwrap_err();
    assert_eq!(refusal, Refusal::Order { last: 1, theirs: 1 });
    let refusal = held.take(vec![policy("a/q", "y.test", &NOTHING), state(2, 2, 3)], Vec::new()).unwrap_err();
    assert_eq!(refusal, Refusal::Incomplete { announced: 3, counted: 2 });
    assert_eq!(held.versions().len(), 1);
    held.doubt();
    assert_eq!(again(&held), ["policy/a/p"], "everything is asked for again");
    assert_eq!(held.resources().count(), 1, "and kept meanwhile");
}

/// What is held and shall be sent again.
fn again(held: &Held) -> Vec<String> {
    let again = held.versions().into_iter().filter(|(_, version)| version.is_empty());
    again.map(|(name, _)| name).collect()
}

#[test]
fn a_refused_document_is_asked_for_again_and_named() {
    let mut held = held();
    let future = policy("a/p", "new.test", &json!({"fromTheFuture": true}));
    let applied = held.take(vec![future, state(2, 2, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(applied.rejected.len(), 1);
    assert_eq!(applied.rejected[0].resource, "policy/a/p");
    assert_eq!(
        answers(&applied, "new.test").as_deref(),
        Some("a/p"),
        "what was accepted before, for the hosts it has now"
    );
    assert_eq!(again(&held), ["policy/a/p"]);
    // Named as long as it is refused.
    let applied = held.take(vec![state(2, 3, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(applied.rejected.len(), 1);
}

#[test]
fn what_cannot_be_read_leaves_what_was_before() {
    let mut held = held();
    let mut bad = incoming(Name::Policy("a/p".into()), "{\"name\":");
    assert!(bad.body.is_err());
    let applied = held.take(vec![bad.clone(), state(2, 2, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(answers(&applied, "x.test").as_deref(), Some("a/p"));
    assert_eq!(applied.rejected[0].resource, "policy/a/p");
    // One that never could: there is nothing to keep, and it counts as a policy all the same.
    bad.name = Name::Policy("a/z".into());
    let applied = held.take(vec![bad, state(2, 3, 2)], Vec::new()).unwrap().unwrap();
    assert_eq!(applied.rejected.len(), 2);
    let applied = held.take(vec![policy("a/p", "x.test", &NOTHING), state(2, 4, 1)], vec![Name::Policy("a/z".into())]);
    assert!(applied.unwrap().unwrap().rejected.is_empty());
}

#[test]
fn a_restart_keeps_the_version_before_a_refused_one() {
    let mut held = held();
    let future = policy("a/p", "new.test", &json!({"fromTheFuture": true}));
    held.take(vec![future, state(7, 2, 1)], Vec::new()).unwrap().unwrap();
    let bytes = serde_json::to_vec(&Copy::of(&held)).unwrap();
    let copy: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(copy["epoch"], 7);
    let kept = copy["resources"].as_array().unwrap().iter().map(|one| {
        let text = |name: &str| Arc::<str>::from(one[name].as_str().unwrap());
        let accepted = one.get("accepted").map(Document::new);
        (text("name").parse().unwrap(), Kept::restored(text("version"), text("text"), accepted))
    });
    let mut restored = Held::restore(7, kept.collect());
    let applied = restored.assemble();
    assert_eq!(answers(&applied, "new.test").as_deref(), Some("a/p"), "in force, not held");
    assert_eq!(applied.rejected.len(), 1);
    assert_eq!(restored.epoch(), 7);
    assert_eq!(again(&restored), ["policy/a/p"]);
}

#[test]
fn of_an_object_that_was_made_anew_nothing_before_is_kept() {
    let mut held = held();
    let mut anew = document("new.test", &json!({"fromTheFuture": true}));
    anew["metadata"]["uid"] = "another".into();
    let pushed = json!({"name": "a/p", "document": anew, "hosts": ["new.test"]});
    let anew = incoming(Name::Policy("a/p".into()), &pushed.to_string());
    let applied = held.take(vec![anew, state(2, 2, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!(answers(&applied, "new.test").as_deref(), Some("!a/p"));
    assert!(held.resources().all(|(_, kept)| kept.accepted.is_none()), "not for a restart either");
}

/// A first fetch that has not ended says nothing of an issuer, neither good nor bad.
#[tokio::test]
async fn an_issuer_is_told_of_once_a_fetch_has_ended() {
    let keys = KeyCache::new(jwks::Options::default(), &mut Registry::default()).unwrap();
    let force = Force::new(Arc::default(), keys.clone(), Metrics::default());
    // An address that is refused before anybody is asked.
    let jwt = json!({"issuer": "https://127.0.0.1:1", "audienceCheck": "Disabled"});
    let remote = policy("a/p", "x.test", &json!({"authenticators": [{"name": "m", "jwt": jwt}]}));
    let applied = Held::default().take(vec![remote, state(1, 1, 1)], Vec::new()).unwrap().unwrap();
    assert_eq!((applied.rejected.len(), applied.key_sets.len()), (0, 1));
    let id = applied.key_sets[0].1.clone();
    force.put(applied);
    assert_eq!(force.reports(), []);
    timeout(Duration::from_secs(10), keys.refresh(&id)).await.expect("the fetch ends");
    let reports = force.reports();
    assert_eq!((reports.len(), &*reports[0].policy), (1, "a/p"));
    assert!(reports[0].error.as_ref().is_some_and(|error| !error.is_empty()), "{reports:?}");
}

/// Removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gatewright-channel-{:016x}", fastrand::u64(..)));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A folder below in which a file of a short name fits, and one of a longer name does not: a path has 4,095 bytes at most.
    fn narrow(&self) -> PathBuf {
        const LENGTH: usize = 4075;
        let mut path = self.0.clone();
        loop {
            let left = LENGTH - path.as_os_str().len() - 1;
            // What is left after it must be room for one more name.
            path.push("d".repeat(if left <= 200 { left } else { 150 }));
            if path.as_os_str().len() == LENGTH {
                break;
            }
        }
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_state_that_cannot_be_kept_leaves_no_older_one_for_a_restart() {
    let folder = Folder::new();
    let key = folder.0.join("key");
    fs::write(&key, [3; crate::seal::KEY_LEN]).unwrap();
    let files = |place: PathBuf| Files::new(Some(place), Some(key.clone()));
    let copy = Copy::of(&held());
    let roomy = files(folder.0.clone());
    roomy.keep_state(&copy).unwrap();
    assert_eq!(roomy.state().map(|held| held.epoch()), Some(2));
    // Where drafts cannot be written, as on a full disk.
    let narrow = folder.narrow();
    fs::rename(folder.0.join("state.sealed"), narrow.join("state.sealed")).unwrap();
    let narrow = files(narrow);
    assert_eq!(narrow.state().map(|held| held.epoch()), Some(2));
    assert!(narrow.keep_state(&copy).is_err());
    assert!(narrow.state().is_none(), "a restart waits for the operator");
}

#[test]
fn a_name_that_says_something_else_than_its_content_is_refused() {
    let text = policy("a/p", "x.test", &NOTHING).text;
    let other = incoming(Name::Policy("b/p".into()), &text);
    assert!(other.body.unwrap_err().contains("another object"));
    assert!(Body::read(&Name::Policy("a/p".into()), crds::push::STATE_TYPE, text.as_bytes()).is_err());
    for name in ["", "state/", "policy", "values/a/b", "trust/x"] {
        assert!(name.parse::<Name>().is_err(), "{name}");
    }
}

#[test]
fn reasons_are_cut_where_a_character_ends() {
    let rejected = vec![crds::push::Rejection { resource: "policy/a/p".to_owned(), reason: "é".repeat(2000) }];
    let answer = wire::acknowledge("1".to_owned(), &rejected);
    let detail = answer.error_detail.unwrap();
    assert_eq!(detail.code, wire::PARTLY);
    let sent: Vec<crds::push::Rejection> = serde_json::from_slice(&detail.details[0].value).unwrap();
    assert_eq!(sent[0].reason, "é".repeat(512));
}
