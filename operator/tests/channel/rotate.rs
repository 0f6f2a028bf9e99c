//! Certificates and CAs come and go; streams and policies stay.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use operator::identity::Lives;
use rcgen::CertificateParams;

use crate::{
    raw::{Cable, Raw, sign},
    world::{Api, OPEN, Operator, Start, policy, until},
};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_its_end_and_nothing_is_sent_twice() {
    let api = Arc::new(Api::default());
    let lives = Lives { leaf: seconds(6.0), ..Lives::default() };
    let operator = Operator::start_with(&api, 1, lives).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    plane.holds(&["a/p"]).await;
    let first = plane.credentials.borrow().clone().unwrap();
    let mut newer = plane.credentials.clone();
    newer.mark_unchanged();
    newer.changed().await.unwrap();
    assert!(!Arc::ptr_eq(&first, newer.borrow().as_ref().unwrap()));
    until("there is a new stream", || operator.metric("gatewright_push_messages_total") == 2).await;
    operator.publish(&[policy("a", "p", "y.test", OPEN)]);
    until("the change came", || plane.answers("y.test").is_some()).await;
    let sent = operator.metric("gatewright_push_resources_total");
    assert_eq!(sent, 6, "policy, trust, state; the state to the new stream; policy and state");
    assert_eq!(plane.metric("gatewright_channel_refusals_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_certificate() {
    let api = Arc::new(Api::default());
    let lives = Lives { leaf: seconds(2.0), ..Lives::default() };
    let operator = Operator::start_with(&api, 1, lives).await;
    let token = "gatewright-operator gatewright gatewright-authz raw";
    let pair = sign(&operator, token, CertificateParams::default()).await.unwrap();
    let mut raw = Raw::open(&operator, Some(&pair)).await.unwrap();
    let status = raw.responses.message().await.expect_err("the certificate expired");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    // The second of its end is still its own.
    let end = Instant::now() + Duration::from_secs(5);
    while Raw::open(&operator, Some(&pair)).await.is_ok() {
        assert!(Instant::now() < end, "a stream began with an expired certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_replaced_under_streams_that_stand() {
    let api = Arc::new(Api::default());
    let lives = Lives { authority: seconds(9.0), overlap: seconds(1.0), leaf: seconds(30.0), proxy: seconds(30.0) };
    let operator = Operator::start_with(&api, 1, lives).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    plane.holds(&["a/p"]).await;
    let first = operator.identity.ca_bundle().borrow().clone();
    let mut bundle = operator.identity.ca_bundle();
    bundle.mark_unchanged();
    // Announced beside the old one…
    bundle.changed().await.unwrap();
    let both = bundle.borrow_and_update().clone();
    assert!(both.contains(&*first) && both.len() > first.len());
    // …then it signs, and the old one is still believed.
    bundle.changed().await.unwrap();
    let after = bundle.borrow_and_update().clone();
    assert!(after.contains(&*first) && after != both);
    let proxy = operator.identity.client_certificate("edge").unwrap();
    assert!(proxy.not_after > SystemTime::now());
    operator.publish(&[policy("a", "p", "y.test", OPEN)]);
    until("the stream stands", || plane.answers("y.test").is_some()).await;
    assert_eq!(plane.metric("gatewright_channel_failures_total"), 0, "no stream was dropped");
    // Somebody new, who knows the new one only.
    let late = Start::own("authz-1").towards(operator.address, &after);
    late.holds(&["a/p"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_was_lost_is_followed() {
    let (before, after) =
        (Operator::start(&Arc::new(Api::default()), 1).await, Operator::start(&Arc::new(Api::default()), 2).await);
    let cable = Cable::to(before.address).await;
    let start = Start::own("authz-0");
    let plane = start.towards(cable.address, &before.identity.ca_bundle().borrow().clone());
    before.publish(&[policy("a", "p", "x.test", OPEN)]);
    plane.holds(&["a/p"]).await;
    // A new installation in the same place: ConfigMap and Secret are new, the certificate of before is nobody's.
    std::fs::write(start.folder.path().join("ca.crt"), &**after.identity.ca_bundle().borrow()).unwrap();
    after.publish(&[policy("a", "q", "x.test", OPEN)]);
    cable.lead_to(after.address);
    plane.holds(&["a/q"]).await;
}
