//! Replicas of the operator: the leader knows what data planes of every one of them have in force.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use operator::{
    identity::{Identity, Lives},
    push::Standing,
};
use tokio::{sync::watch, task::yield_now, time::timeout};

use crate::raw::Cable;
use crate::world::{Api, OPEN, Operator, Start, policy, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_knows_what_others_serve() {
    let api = Arc::new(Api::default());
    let leader = Operator::start(&api, 1).await;
    let mut other = settings(Lives::default());
    other.pod = "operator-1".to_owned();
    let follower = Operator::start_as(&api, 1, other).await;
    let (_address, to) = watch::channel(Some(format!("127.0.0.1:{}", leader.address.port())));
    let (push, identity) = (follower.push.clone(), follower.identity.clone());
    let reporting = tokio::spawn(async move { push.report_to(&identity, to).await });

    let cable = Cable::to(follower.address).await;
    let authorities = follower.identity.ca_bundle().borrow().to_string();
    let near = Start::own("authz-0").run(&leader);
    let far = Start::own("authz-1").towards(cable.address, &authorities);
    let old = [policy("a", "p", "x.test", OPEN)];
    leader.publish(&old);
    follower.publish(&old);
    leader.stands("a/p", &Standing::Programmed { replicas: 2 }).await;
    assert_eq!(follower.push.standings().replicas, 1, "the other way nothing is told");

    // The follower is behind: what its data plane has is not what the leader means.
    leader.publish(&[policy("a", "p", "y.test", OPEN)]);
    let lagging = Standing::Lagging { waiting: Vec::new(), more: 1 };
    leader.stands("a/p", &lagging).await;
    follower.publish(&[policy("a", "p", "y.test", OPEN)]);
    leader.stands("a/p", &Standing::Programmed { replicas: 2 }).await;

    // A leadership that only the follower's data plane has seen.
    follower.epoch.send_replace(8);
    until("it is in force", || far.metric("gatewright_channel_epoch") == 8).await;
    cable.cut();
    until("the leader heard of it", || *leader.push.highest_epoch().borrow() == 8).await;
    // What a replica said is forgotten with its stream.
    reporting.abort();
    leader.stands("a/p", &Standing::Programmed { replicas: 1 }).await;
    near.holds(&["a/p"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_replicas_are_heard() {
    let api = Arc::new(Api::default());
    let leader = Operator::start(&api, 1).await;
    let mut other = settings(Lives::default());
    other.account = "gatewright-authz".to_owned();
    let impostor = Operator::start_as(&api, 1, other).await;
    let (_address, to) = watch::channel(Some(format!("127.0.0.1:{}", leader.address.port())));
    let (push, identity) = (impostor.push.clone(), impostor.identity.clone());
    let reporting = tokio::spawn(async move { push.report_to(&identity, to).await });
    let plane = Start::own("authz-1").run(&impostor);
    let documents = [policy("a", "p", "x.test", OPEN)];
    leader.publish(&documents);
    impostor.publish(&documents);
    plane.holds(&["a/p"]).await;
    impostor.stands("a/p", &Standing::Programmed { replicas: 1 }).await;
    until("it was refused", || leader.metric("gatewright_push_strangers_total") > 0).await;
    assert_eq!(leader.push.standings().policies["a/p"], Standing::NoDataPlane);
    reporting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_one_ca_and_one_seal_that_the_leader_makes() {
    let api = Arc::new(Api::default());
    let (leader, follows) = (watch::channel(true), watch::channel(false));
    let wait = |leads: watch::Receiver<bool>| {
        let api = api.clone();
        tokio::spawn(
            async move { Identity::start_with(api.clone(), api, settings(Lives::default()), leads).await.unwrap() },
        )
    };
    let follower = wait(follows.1);
    // It makes nothing by itself.
    assert!(
        timeout(Duration::from_millis(300), async {
            while api.secrets() == 0 {
                yield_now().await;
            }
        })
        .await
        .is_err()
    );
    let first = wait(leader.1).await.unwrap();
    let second = follower.await.unwrap();
    assert_eq!(*first.ca_bundle().borrow(), *second.ca_bundle().borrow());
    let sealed = first.seal().seal("test", b"text".to_vec()).unwrap();
    assert_eq!(second.seal().open("test", &sealed).unwrap(), b"text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_ca_comes_back_as_it_was() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let before = operator.identity.ca_bundle().borrow().clone();
    operator.leader.send_replace(false);
    api.forget(operator::identity::CA_SECRET);
    // The second one begins when the look that began with the first is over.
    let reads = api.reads.load(Ordering::Relaxed);
    until("it was looked for", || api.reads.load(Ordering::Relaxed) >= reads + 2).await;
    assert_eq!(api.secrets(), 1, "only the leader writes");
    operator.leader.send_replace(true);
    until("it is back", || api.secrets() == 2).await;
    assert_eq!(*operator.identity.ca_bundle().borrow(), before);
    let late = Operator::start(&api, 1).await;
    assert_eq!(*late.identity.ca_bundle().borrow(), before);
}
