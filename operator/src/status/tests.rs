//! What is written, and what is not.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crds::documents::Kind;
use http::{Request, Response};
use jiff::Timestamp;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, advance, timeout};

use super::{
    EventSink, Gate, KubeEvents, Transition,
    document::status,
    events::{queue, transitions},
};
use crate::reconcile::{Desired, Observed, Said};

fn said(kind: &'static str, holds: Option<bool>, reason: &str) -> Said {
    Said { kind, status: holds, reason: reason.to_owned(), message: format!("because of {reason}") }
}

fn desired(conditions: Vec<Said>, old: Value) -> Desired {
    Desired {
        kind: Kind::AuthPolicy,
        name: "a/b".into(),
        observed: Observed { uid: "u".to_owned(), generation: 4, status: old.into() },
        since: Instant::now(),
        conditions,
        hostnames: Some(vec!["x.test".to_owned()]),
        programmed: Some(4),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn nothing_is_written_twice_and_times_are_kept() {
    let first = desired(
        vec![said("Accepted", Some(true), "Accepted"), said("Programmed", Some(false), "NoDataPlane")],
        Value::Null,
    );
    let written = status(&first, at(100)).unwrap();
    assert_eq!(written["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
    assert_eq!(written["conditions"][1]["status"], "False");
    assert_eq!(written["hostnames"], json!(["x.test"]));
    // The same later: nothing to say.
    assert_eq!(status(&desired(first.conditions.clone(), written.clone()), at(500)), None);
    // One condition changes: the other keeps its time.
    let later = desired(
        vec![said("Accepted", Some(true), "Accepted"), said("Programmed", Some(true), "Programmed")],
        written.clone(),
    );
    let second = status(&later, at(500)).unwrap();
    assert_eq!(second["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
    assert_eq!(second["conditions"][1]["lastTransitionTime"], "1970-01-01T00:08:20Z");
    // Another reason for the same status is said, with the time of before.
    let other =
        desired(vec![said("Accepted", Some(true), "Accepted"), said("Programmed", Some(false), "Lagging")], written);
    assert_eq!(status(&other, at(900)).unwrap()["conditions"][1]["lastTransitionTime"], "1970-01-01T00:01:40Z");
}

type Change = fn(&mut Desired);

#[test]
fn another_generation_host_or_programmed_generation_is_news() {
    let base = desired(vec![said("Accepted", Some(true), "Accepted")], Value::Null);
    let written = status(&base, at(1)).unwrap();
    let changes: [Change; 3] =
        [|one| one.observed.generation = 5, |one| one.hostnames = Some(Vec::new()), |one| one.programmed = Some(5)];
    for change in changes {
        let mut next = desired(base.conditions.clone(), written.clone());
        change(&mut next);
        assert!(status(&next, at(2)).is_some());
    }
}

#[test]
fn events_tell_arrivals_only() {
    let on_the_way = desired(
        vec![said("Programmed", Some(false), "Lagging"), said("IssuersReachable", None, "NoReport")],
        Value::Null,
    );
    assert_eq!(transitions(&on_the_way), []);
    let arrived = desired(vec![said("Programmed", Some(true), "Programmed")], status(&on_the_way, at(1)).unwrap());
    let told = transitions(&arrived);
    assert_eq!((told.len(), told[0].good, told[0].condition), (1, true, "Programmed"));
    let known = desired(arrived.conditions.clone(), status(&arrived, at(2)).unwrap());
    assert_eq!(transitions(&known), []);
    let bad = desired(vec![said("Accepted", Some(false), "Invalid")], Value::Null);
    assert!(!transitions(&bad)[0].good);
}

/// Leads or not, and notes the Events that it is told.
#[derive(Default)]
struct Desk {
    leads: AtomicBool,
    heard: Mutex<Vec<String>>,
}

impl Gate for Desk {
    fn may_write(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }
}

#[tonic::async_trait]
impl EventSink for Desk {
    async fn publish(&self, transition: &Transition) {
        self.heard.lock().push(transition.reason.clone());
    }
}

fn news(reason: &str) -> Transition {
    transitions(&desired(vec![said("Accepted", Some(true), reason)], Value::Null)).remove(0)
}

#[tokio::test(start_paused = true)]
async fn an_event_is_told_soon_and_by_the_leader_or_not_at_all() {
    for (leads, expected) in [(true, vec!["Soon"]), (false, vec![])] {
        let desk = Arc::<Desk>::default();
        desk.leads.store(leads, Ordering::Relaxed);
        let (told, teller) = queue(desk.clone(), desk.clone());
        told.tell(news("Late"));
        advance(Duration::from_mins(1)).await;
        told.tell(news("Soon"));
        drop(told);
        teller.run().await;
        assert_eq!(*desk.heard.lock(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_nobody_answers_is_given_up() {
    let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let events = KubeEvents::new(Client::new(never, "gatewright"), "operator-0");
    timeout(Duration::from_secs(6), events.publish(&news("One"))).await.expect("it has a limit of its own");
}
