//! Two builds of the operator one after the other, and the older one again.

use std::sync::Arc;

use crds::documents::Document;
use operator::push::Standing;

use crate::{
    raw::Cable,
    world::{Api, OPEN, Operator, Start, compile, policy, until},
};

const PROGRAMMED: Standing = Standing::Programmed { replicas: 1 };

/// What a later build makes of these documents: it knows one more field, and `name` has it.
fn publish_as_later(operator: &Operator, documents: &[String], name: &str) {
    let (mut compiled, objects) = compile(documents);
    for one in compiled.pushed.iter_mut().filter(|one| &*one.policy.name == name) {
        let mut value = one.policy.document.as_ref().unwrap().value();
        value["spec"]["fromTheFuture"] = true.into();
        one.policy.document = Some(Document::new(&value));
    }
    operator.push.publish(compiled.pushed, Arc::new(objects));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_later_build_can_read_keeps_what_was_in_force_and_ends_with_it() {
    let api = Arc::new(Api::default());
    let (older, later) = (Operator::start(&api, 1).await, Operator::start(&api, 2).await);
    let cable = Cable::to(older.address).await;
    let start = Start::own("authz-0");
    let authorities = older.identity.ca_bundle().borrow().to_string();
    let plane = start.towards(cable.address, &authorities);
    older.publish(&[policy("a", "p", "p.test", OPEN), policy("a", "q", "q1.test", OPEN)]);
    older.stands("a/p", &PROGRAMMED).await;

    // The later build leads, and its policies are of its own making.
    publish_as_later(&later, &[policy("a", "p", "p.test", OPEN), policy("a", "q", "q2.test", OPEN)], "a/p");
    cable.lead_to(later.address);
    later.stands("a/q", &PROGRAMMED).await;
    assert_eq!(plane.answers("q2.test").as_deref(), Some("a/q"), "everything else is the later build's");
    assert_eq!(plane.policies(), ["a/p", "a/q"], "the version before, and not one that is only held");
    assert_eq!(plane.answers("p.test").as_deref(), Some("a/p"));
    let standing = later.push.standings().policies["a/p"].clone();
    assert!(
        matches!(&standing, Standing::Rejected { reason, .. } if reason.contains("fromTheFuture")),
        "the field is named: {standing:?}"
    );
    // It was refused, so it is not what a restart finds.
    plane.end().await;
    cable.lead_to("127.0.0.1:1".parse().unwrap());
    let plane = start.towards(cable.address, &authorities);
    assert_eq!(plane.policies(), ["a/p", "a/q"]);
    assert_eq!((plane.answers("p.test").as_deref(), plane.answers("q2.test").as_deref()), (Some("a/p"), Some("a/q")));

    // Rolled back: the older build leads again.
    older.epoch.send_replace(3);
    older.publish(&[policy("a", "p", "again.test", OPEN), policy("a", "q", "q1.test", OPEN)]);
    cable.lead_to(older.address);
    until("the older build's word counts", || plane.answers("again.test").is_some()).await;
    for name in ["a/p", "a/q"] {
        older.stands(name, &PROGRAMMED).await;
    }
    assert_eq!((plane.answers("p.test"), plane.answers("q2.test")), (None, None));
    assert_eq!(plane.answers("q1.test").as_deref(), Some("a/q"));
}

/// What was refused is not forgotten: were its name left out when the data plane connects again, nobody would tell it that the policy is
/// gone, and no change would be complete from then on.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_then_deleted_out_of_sight_holds_up_nothing() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let cable = Cable::to(operator.address).await;
    let plane = Start::own("authz-0").towards(cable.address, &operator.identity.ca_bundle().borrow().clone());
    publish_as_later(&operator, &[policy("a", "p", "p.test", OPEN), policy("a", "q", "q.test", OPEN)], "a/p");
    operator.stands("a/q", &PROGRAMMED).await;
    cable.lead_to("127.0.0.1:1".parse().unwrap());
    until("it left", || operator.push.standings().replicas == 0).await;
    // Published before it is back: else it would be told on the new stream.
    operator.publish(&[policy("a", "q", "new.test", OPEN)]);
    until("it is published", || operator.metric("gatewright_push_publications_total") == 2).await;
    cable.lead_to(operator.address);
    operator.stands("a/q", &PROGRAMMED).await;
    plane.holds(&["a/q"]).await;
    assert_eq!(plane.answers("new.test").as_deref(), Some("a/q"));
    assert_eq!(plane.metric("gatewright_channel_refusals_total"), 0, "and no change was refused");
}
