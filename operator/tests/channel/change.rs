//! Changes: whole or not at all, only what differs, last wins.

use std::sync::Arc;

use operator::push::Standing;

use crate::world::{Api, KEYED, OPEN, Operator, Start, policy, secret, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_a_data_plane_and_changes_with_its_document() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let start = Start::own("authz-0");
    let plane = start.run(&operator);
    operator.publish(&[policy("a", "first", "x.test", KEYED), secret("a", "0123456789abcdef0123456789abcdef")]);
    plane.holds(&["a/first"]).await;
    assert_eq!(plane.answers("x.test").as_deref(), Some("a/first"));
    until("the operator knows it", || {
        operator.push.standings().policies.get("a/first") == Some(&Standing::Programmed { replicas: 1 })
    })
    .await;
    operator.publish(&[policy("a", "first", "y.test", OPEN), policy("b", "second", "x.test", OPEN)]);
    plane.holds(&["a/first", "b/second"]).await;
    assert_eq!(plane.answers("x.test").as_deref(), Some("b/second"));
    operator.publish(&[]);
    plane.holds(&[]).await;
    plane.stop().await;
    operator.stop().await;
}
