//! Leaderships: none that is over is believed again.

use std::{sync::Arc, time::Duration};

use authz::channel::wire::{EPOCH, REPORTS};
use envoy_types::pb::{
    envoy::config::core::v3::Node,
    google::protobuf::{Struct, Value, value::Kind},
};

use crate::{
    raw::Cable,
    world::{Api, OPEN, Operator, Start, policy, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_older_leadership_is_not_followed_and_learns_of_the_newer_one() {
    let api = Arc::new(Api::default());
    let (new, old) = (Operator::start(&api, 5).await, Operator::start(&api, 3).await);
    let cable = Cable::to(new.address).await;
    let plane = Start::own("authz-0").towards(cable.address, &new.identity.ca_bundle().borrow().clone());
    new.publish(&[policy("a", "new", "x.test", OPEN)]);
    plane.holds(&["a/new"]).await;
    old.publish(&[policy("a", "old", "x.test", OPEN)]);
    cable.lead_to(old.address);
    until("the old one heard of the new one", || *old.push.highest_epoch().borrow() == 5).await;
    assert_eq!(old.metric("gatewright_push_messages_total"), 0, "what would be refused is not sent");
    assert_eq!(plane.policies(), ["a/new"]);
    // By a write that only the holder of the Lease can make.
    old.epoch.send_replace(6);
    plane.holds(&["a/old"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leadership_is_told_to_streams_that_stand() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    plane.holds(&["a/p"]).await;
    operator.epoch.send_replace(2);
    until("it knows", || plane.metric("gatewright_channel_epoch") == 2).await;
    assert_eq!(operator.metric("gatewright_push_resources_total"), 4, "policy, trust, state; then the state alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_others_cannot_invent_a_leadership() {
    const SELECTS: &str = ", requireAuth: false, workloadSelector: {matchLabels: {app: shop}}";
    let api = Arc::new(Api::default());
    api.labels.lock().insert("a/shop-0".to_owned(), [("app".to_owned(), "shop".to_owned())].into());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "x.test", SELECTS)]);
    let token = "gatewright-operator a shop shop-0";
    let pair = crate::raw::sign(&operator, token, rcgen::CertificateParams::default()).await.unwrap();
    // What it says in the same breath about a policy of its own is heard.
    let mut claim = crate::raw::hello();
    claim.node = Some(says(&[(EPOCH, "7"), (REPORTS, r#"[{"policy":"a/p","issuer":"i"}]"#)]));
    let _stranger = crate::raw::Raw::open_with(&operator, Some(&pair), claim).await.unwrap();
    until("what it said was heard", || operator.push.standings().issuers.contains_key("a/p")).await;
    assert_eq!(*operator.push.highest_epoch().borrow(), 0, "only our own are believed");
}

/// Damaged state of a data plane of ours: a leadership that could not be outrun would end every other for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_leadership_that_nobody_reaches_by_counting_is_not_heard() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    let token = "gatewright-operator gatewright gatewright-authz authz-0";
    let pair = crate::raw::sign(&operator, token, rcgen::CertificateParams::default()).await.unwrap();
    for (epoch, heard) in [(u64::MAX, 0), (1 << 48, 0), (7, 7)] {
        let mut hello = crate::raw::hello();
        hello.node = Some(claims(epoch));
        let mut raw = crate::raw::Raw::open_with(&operator, Some(&pair), hello).await.unwrap();
        if heard == 0 {
            let served = tokio::time::timeout(Duration::from_secs(10), raw.change()).await;
            assert!(
                served.is_ok_and(|(names, _)| names.contains(&"policy/a/p".to_owned())),
                "{epoch}: it is not served"
            );
        } else {
            until("it is heard", || *operator.push.highest_epoch().borrow() == heard).await;
        }
        assert_eq!(*operator.push.highest_epoch().borrow(), heard);
    }
}

fn claims(epoch: u64) -> Node {
    says(&[(EPOCH, &epoch.to_string())])
}

fn says(fields: &[(&str, &str)]) -> Node {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
    Node { metadata: Some(Struct { fields }), ..Node::default() }
}
