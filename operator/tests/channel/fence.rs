//! Leaderships: none that is over is believed again.

use std::{sync::Arc, time::Duration};

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
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let token = "gatewright-operator a shop shop-0";
    let pair = crate::raw::sign(&operator, token, rcgen::CertificateParams::default()).await.unwrap();
    let stranger = crate::raw::Raw::open(&operator, Some(&pair)).await.unwrap();
    let mut claim = crate::raw::hello();
    claim.node = Some(claims(u64::MAX));
    stranger.requests.send(claim).await.unwrap();
    // A message behind it that leaves a trace: reports about a policy of its own.
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    plane.holds(&["a/p"]).await;
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

fn claims(epoch: u64) -> envoy_types::pb::envoy::config::core::v3::Node {
    use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
    let text = Value { kind: Some(Kind::StringValue(epoch.to_string())) };
    let fields = [(authz::channel::wire::EPOCH.to_owned(), text)].into();
    envoy_types::pb::envoy::config::core::v3::Node {
        metadata: Some(Struct { fields }),
        ..envoy_types::pb::envoy::config::core::v3::Node::default()
    }
}
