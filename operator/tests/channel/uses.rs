//! The use of API keys: from data planes to whichever replica serves them, and on to the leader.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::api_keys::KeyId;
use operator::{identity::Lives, push::Push};
use tokio::sync::watch;

use crate::raw::Cable;
use crate::world::{Api, Operator, Start, policy, settings, until};

/// A policy that reads keys, and a Secret with the records of these.
fn documents(namespace: &str, keys: &[char], rest: &str) -> Vec<String> {
    const KEYS: &str = ", authenticators: [{name: k, apiKey: {sha256: {secretRef: {name: keys}}}}]";
    let records: Vec<String> = keys.iter().map(|key| format!("'{}': '{{}}'", key.to_string().repeat(64))).collect();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{{}}}",
        records.join(", ")
    );
    vec![policy(namespace, "p", &format!("{namespace}.test"), &format!("{KEYS}{rest}")), secret]
}

fn id(key: char) -> KeyId {
    KeyId::of_entry(&key.to_string().repeat(64)).unwrap()
}

fn knows(push: &Push, namespace: &str, key: char) -> Option<i64> {
    push.uses().of(namespace, id(key))
}

fn now_s() -> u32 {
    u32::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_reaches_the_leader_by_way_of_any_replica() {
    let api = Arc::new(Api::default());
    let leader = Operator::start(&api, 1).await;
    let mut other = settings(Lives::default());
    other.pod = "operator-1".to_owned();
    let follower = Operator::start_as(&api, 1, other).await;
    let (to, address) = watch::channel(None);
    let (push, identity) = (follower.push.clone(), follower.identity.clone());
    let reporting = tokio::spawn(async move { push.report_to(&identity, address).await });
    let cable = Cable::to(follower.address).await;
    let authorities = follower.identity.ca_bundle().borrow().to_string();
    let far = Start::own("authz-1").towards(cable.address, &authorities);
    for operator in [&leader, &follower] {
        operator.publish(&documents("a", &['1', '2', '3'], ""));
    }
    far.holds(&["a/p"]).await;

    let now = now_s();
    far.uses.note("a", id('1'), now - 60);
    until("the replica knows", || knows(&follower.push, "a", '1') == Some(i64::from(now - 60))).await;
    assert_eq!(knows(&leader.push, "a", '1'), None, "there is no leader to be told yet");
    // Whoever becomes leader is told everything, and then what is new.
    to.send_replace(Some(format!("127.0.0.1:{}", leader.address.port())));
    until("the leader knows", || knows(&leader.push, "a", '1') == Some(i64::from(now - 60))).await;
    far.uses.note("a", id('1'), now);
    far.uses.note("a", id('2'), now);
    until("the leader knows the newest", || {
        knows(&leader.push, "a", '1') == Some(i64::from(now)) && knows(&leader.push, "a", '2').is_some()
    })
    .await;

    // The replica dies with what it heard: the next one is told again.
    cable.cut();
    reporting.abort();
    let late = Operator::start(&api, 1).await;
    late.publish(&documents("a", &['1', '2', '3'], ""));
    assert!(late.push.uses().is_empty());
    cable.lead_to(late.address);
    until("the new one knows all", || late.push.uses().len() == 2).await;
    // The last use before the end is told at the end.
    far.uses.note("a", id('3'), now);
    far.end().await;
    assert_eq!(knows(&late.push, "a", '3'), Some(i64::from(now)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tells_of_keys_that_are_not_his_business() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    api.labels.lock().insert("b/pod-1".to_owned(), labels);
    let workload = Start::of("b", "app", "pod-1").run(&operator);
    let own = Start::own("authz-0").run(&operator);
    let mut all = documents("a", &['1'], "");
    all.extend(documents("b", &['1'], ", workloadSelector: {matchLabels: {app: shop}}"));
    operator.publish(&all);
    own.holds(&["a/p"]).await;
    workload.holds(&["b/p"]).await;

    let now = now_s();
    // Of another namespace; of a key that nobody has; of the future.
    workload.uses.note("a", id('1'), now);
    workload.uses.note("b", id('9'), now);
    workload.uses.note("b", id('1'), now + 1_000_000);
    until("what is its business is known", || knows(&operator.push, "b", '1').is_some()).await;
    assert!(knows(&operator.push, "b", '1') <= Some(i64::from(now_s())), "nobody used a key tomorrow");
    assert_eq!((operator.push.uses().len(), knows(&operator.push, "a", '1')), (1, None));
    own.uses.note("a", id('1'), now);
    until("our own are believed about every namespace", || knows(&operator.push, "a", '1').is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_told_in_pieces() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    let name = |number: u32| format!("{number:08x}{}", "0".repeat(24));
    let records: Vec<String> = (0..20_000).map(|number| format!("'{}': x", name(number))).collect();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: a}}\nstringData: {{{}}}",
        records.join(", ")
    );
    let mut documents = documents("a", &[], "");
    documents[1] = secret;
    operator.publish(&documents);
    plane.holds(&["a/p"]).await;
    (0..20_000).for_each(|number| plane.uses.note("a", KeyId::of_entry(&name(number)).unwrap(), now_s()));
    crate::world::until_within(Duration::from_mins(1), "all are known", || operator.push.uses().len() == 20_000).await;
}
