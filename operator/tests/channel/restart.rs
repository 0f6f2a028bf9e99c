//! A data plane that starts while no operator answers.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use authz::seal::KEY_LEN;
use operator::identity::Lives;

use crate::{
    raw::Cable,
    world::{Api, KEYED, OPEN, Operator, Start, policy, secret, until},
};

/// A data plane that had policies, and a cable that leads nowhere now.
async fn before(start: &Start) -> (Cable, String) {
    before_with(start, &Arc::new(Api::default())).await
}

async fn before_with(start: &Start, api: &Arc<Api>) -> (Cable, String) {
    let operator = Operator::start(api, 4).await;
    let cable = Cable::to(operator.address).await;
    let authorities = operator.identity.ca_bundle().borrow().to_string();
    let plane = start.towards(cable.address, &authorities);
    operator.publish(&[
        policy("a", "keyed", "k.test", KEYED),
        policy("b", "open", "o.test", OPEN),
        secret("a", "0123456789abcdef0123456789abcdef"),
    ]);
    plane.holds(&["a/keyed", "b/open"]).await;
    if start.seal.is_some() {
        let data = start.folder.path().join("data");
        until("both copies are there", || {
            ["state", "identity"].iter().all(|what| data.join(format!("{what}.sealed")).exists())
        })
        .await;
    }
    plane.stop().await;
    cable.lead_to("127.0.0.1:1".parse().unwrap());
    operator.stop().await;
    (cable, authorities)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_what_was_in_force() {
    let start = Start::own("authz-0");
    let (cable, authorities) = before(&start).await;
    let plane = start.towards(cable.address, &authorities);
    assert_eq!(plane.policies(), ["a/keyed", "b/open"], "at once");
    assert!(*plane.in_force.borrow());
    assert!(plane.credentials.borrow().is_some(), "proxies are answered over TLS as before");
    let sealed = fs::read(start.folder.path().join("data/state.sealed")).unwrap();
    for secret in [&b"o.test"[..], b"MDEyMzQ1Njc4", b"0123456789abcdef"] {
        assert!(!sealed.windows(secret.len()).any(|bytes| bytes == secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_leadership_cannot_use_the_restart() {
    let start = Start::own("authz-0");
    let api = Arc::new(Api::default());
    let (cable, authorities) = before_with(&start, &api).await;
    let plane = start.towards(cable.address, &authorities);
    // Of the same CA: what it is refused for is its epoch, which the copy knows.
    let old = Operator::start(&api, 3).await;
    old.publish(&[]);
    cable.lead_to(old.address);
    until("it heard of the newer leadership", || *old.push.highest_epoch().borrow() == 4).await;
    assert_eq!(plane.policies(), ["a/keyed", "b/open"]);
    assert_eq!(old.metric("gatewright_push_messages_total"), 0, "nothing is sent by who knows that it is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_changed_or_sealed_otherwise_is_as_none() {
    let mut start = Start::own("authz-0");
    let (cable, authorities) = before(&start).await;
    let path = start.folder.path().join("data/state.sealed");
    let sealed = fs::read(&path).unwrap();

    let mut changed = sealed.clone();
    changed[sealed.len() / 2] ^= 1;
    fs::write(&path, &changed).unwrap();
    let plane = start.towards(cable.address, &authorities);
    assert!(plane.policies().is_empty() && !*plane.in_force.borrow());
    plane.stop().await;

    fs::write(&path, &sealed[..sealed.len() - 1]).unwrap();
    assert!(!*start.towards(cable.address, &authorities).in_force.borrow());

    fs::copy(start.folder.path().join("data/identity.sealed"), &path).unwrap();
    assert!(!*start.towards(cable.address, &authorities).in_force.borrow(), "sealed for another purpose");

    fs::write(&path, &sealed).unwrap();
    start.seal = Some([4; KEY_LEN]);
    assert!(!*start.towards(cable.address, &authorities).in_force.borrow(), "another key");
    start.seal = Some([3; KEY_LEN]);
    assert!(*start.towards(cable.address, &authorities).in_force.borrow(), "the control");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_written() {
    let mut start = Start::own("authz-0");
    start.seal = None;
    let (cable, authorities) = before(&start).await;
    let data = start.folder.path().join("data");
    assert!(!data.exists() || fs::read_dir(&data).unwrap().next().is_none());
    let plane = start.towards(cable.address, &authorities);
    assert!(!*plane.in_force.borrow(), "it waits: an empty set is no truth");
}

/// Of a process that is frozen the kernel takes connections, and nobody ever says a word.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_frozen_is_given_up() {
    let operator = Operator::start(&Arc::new(Api::default()), 4).await;
    operator.publish(&[policy("b", "open", "o.test", OPEN)]);
    let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cable = Cable::to(frozen.local_addr().unwrap()).await;
    let start = Start::own("authz-0");
    let authorities = operator.identity.ca_bundle().borrow().to_string();
    let plane = start.towards(cable.address, &authorities);
    until("it gives up", || plane.metric("gatewright_channel_failures_total") > 0).await;
    cable.lead_to(operator.address);
    plane.holds(&["b/open"]).await;
    // The certificate is there; now it is the stream that meets with silence.
    let failures = plane.metric("gatewright_channel_failures_total");
    cable.lead_to(frozen.local_addr().unwrap());
    until("the cut and the silence", || plane.metric("gatewright_channel_failures_total") > failures + 1).await;
    cable.lead_to(operator.address);
    operator.publish(&[policy("b", "other", "o.test", OPEN)]);
    plane.holds(&["b/other"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expired_meanwhile_is_as_none() {
    let api = Arc::new(Api::default());
    let lives = Lives { leaf: Duration::from_secs(3), ..Lives::default() };
    let operator = Operator::start_with(&api, 4, lives).await;
    let start = Start::own("authz-0");
    let authorities = operator.identity.ca_bundle().borrow().to_string();
    let plane = start.run(&operator);
    operator.publish(&[policy("b", "open", "o.test", OPEN)]);
    plane.holds(&["b/open"]).await;
    let data = start.folder.path().join("data");
    until("both copies are there", || {
        ["state", "identity"].iter().all(|what| data.join(format!("{what}.sealed")).exists())
    })
    .await;
    plane.stop().await;
    operator.stop().await;
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let begin = Instant::now();
    while start.towards(nowhere, &authorities).credentials.borrow().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(10), "an expired certificate is in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let plane = start.towards(nowhere, &authorities);
    assert!(*plane.in_force.borrow(), "its policies stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_late_is_used_all_the_same() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 4).await;
    let mut start = Start::own("authz-0");
    start.seal = None;
    let plane = start.run(&operator);
    operator.publish(&[policy("b", "open", "o.test", OPEN)]);
    plane.holds(&["b/open"]).await;
    let data = start.folder.path().join("data");
    assert!(!data.exists());
    fs::write(start.folder.path().join("seal"), [3; KEY_LEN]).unwrap();
    until("both copies are there", || {
        ["state", "identity"].iter().all(|what| data.join(format!("{what}.sealed")).exists())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_was_when_the_operator_is_back() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 4).await;
    let start = Start::own("authz-0");
    let plane = start.run(&operator);
    let documents: Vec<String> =
        (0..50).map(|one| policy("a", &format!("p{one}"), &format!("h{one}.test"), OPEN)).collect();
    operator.publish(&documents);
    until("all are in force", || plane.policies().len() == 50).await;
    let copy = start.folder.path().join("data/state.sealed");
    until("the copy is there", || copy.exists()).await;
    plane.stop().await;
    let sent = operator.metric("gatewright_push_resources_total");
    let plane = start.run(&operator);
    assert_eq!(plane.policies().len(), 50);
    until("it is connected", || plane.metric("gatewright_channel_changes_total") == 2).await;
    assert_eq!(operator.metric("gatewright_push_resources_total"), sent + 1, "the state alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_half_written_is_taken_away() {
    let start = Start::own("authz-0");
    let (cable, authorities) = before(&start).await;
    let data = start.folder.path().join("data");
    let (halves, others) = (["state.00ff.tmp", "identity.1.tmp"], ["other.1.tmp", "state.tmp", "statement.1.tmp"]);
    for name in halves.iter().chain(&others) {
        fs::write(data.join(name), "half").unwrap();
    }
    let plane = start.towards(cable.address, &authorities);
    assert_eq!(plane.policies(), ["a/keyed", "b/open"]);
    assert!(halves.iter().all(|name| !data.join(name).exists()));
    assert!(others.iter().all(|name| data.join(name).exists()), "and nothing else is touched");
}
