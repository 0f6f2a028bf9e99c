//! Troubles that no policy is to blame for are told: metrics, Events, and the reason of a Secret that may not be read.

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{APPS, HOME, Operator, permit},
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, apply_secret, condition, marker, open, path, signed, token, until_condition};

/// Waits until the operator's metrics hold a line that begins so.
pub(crate) async fn until_metric(operator: &Operator, line: &str) -> Outcome {
    wait::until(&format!("the metric {line}"), LONG, || async {
        let (_, text) = operator.admin("/metrics").await;
        text.lines().any(|one| one.starts_with(line)).then_some(())
    })
    .await
}

/// Waits for an Event of this namespace with this reason; what it is about, and its note.
pub(crate) async fn event(api: &ApiServer, namespace: &str, reason: &str) -> Result<(Value, String), PeerError> {
    wait::until(&format!("an Event {reason}"), LONG, || async {
        let all = api.get(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")).await.ok()?.body;
        let one = all["items"].as_array()?.iter().find(|one| one["reason"] == reason)?.clone();
        Some((one["regarding"].clone(), one["note"].as_str().unwrap_or_default().to_owned()))
    })
    .await
}

/// Ends the watches that are open: what is not permitted any more is noticed.
fn end_watches(world: &World) {
    let closed = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "code": 500}});
    world.operator.proxy.inject("watch=true", &closed);
}

#[tokio::test]
async fn a_kind_that_may_not_be_watched_is_told_of_and_not_part_of_readiness() -> Outcome {
    let world = World::start().await?;
    permit(&world.api, |_, resource, verb| (resource, verb) != ("authpolicies", "watch")).await?;
    end_watches(&world);
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 1").await?;
    until_metric(&world.operator, "gatewright_watch_failures_total{kind=\"authpolicies\",cause=\"denied\"}").await?;
    let (regarding, note) = event(&world.api, HOME, "CannotRead").await?;
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("Pod"), &json!("operator-0")));
    assert!(note.contains("authpolicies") && note.contains("forbidden"), "{note}");
    assert_eq!(world.operator.admin("/readyz").await.0, 200, "what was in force is served on");
    permit(&world.api, |_, _, _| true).await?;
    marker(&world, "again").await?;
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 0").await?;
    event(&world.api, HOME, "CanRead").await?;
    until_metric(&world.operator, "gatewright_leading 1").await
}

#[tokio::test]
async fn an_object_that_makes_no_sense_has_an_event_and_holds_up_nobody() -> Outcome {
    let world = World::start().await?;
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "spec": open("odd.test"),
        "metadata": {"name": "odd", "namespace": APPS, "resourceVersion": "1"}});
    assert!(world.operator.proxy.inject("/authpolicies", &json!({"type": "ADDED", "object": object})) > 0);
    let (regarding, note) = event(&world.api, APPS, "Malformed").await?;
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("AuthPolicy"), &json!("odd")));
    assert!(note.contains("uid"), "{note}");
    marker(&world, "other").await?;
    until_metric(&world.operator, "gatewright_documents_unreadable 1").await
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_said_to_be_so() -> Outcome {
    let world = World::start().await?;
    apply_secret(&world.api, "keys", "jwt", "0123456789abcdef0123456789abcdef").await?;
    permit(&world.api, |_, resource, verb| (resource, verb) != ("secrets", "get")).await?;
    apply(&world.api, "shop", signed("shop.test", "keys")).await?;
    let object = until_condition(&world.api, "shop", "ResolvedRefs", "False", "SecretMissing").await?;
    let (_, _, message, _) = condition(&object, "ResolvedRefs").expect("the condition");
    assert!(message.contains("403") && message.contains("forbidden"), "{message}");
    permit(&world.api, |_, _, _| true).await?;
    let object = until_condition(&world.api, "shop", "ResolvedRefs", "True", "ResolvedRefs").await?;
    assert!(!condition(&object, "ResolvedRefs").expect("the condition").2.contains("forbidden"));
    let authorization = token("0123456789abcdef0123456789abcdef");
    assert_eq!(world.plane.answer_with("shop.test", &[("authorization", &authorization)]).await, 200);
    Ok(())
}

#[tokio::test]
async fn a_status_that_may_not_be_written_is_counted_and_written_later() -> Outcome {
    let world = World::start().await?;
    permit(&world.api, |_, resource, verb| (resource, verb) != ("authpolicies/status", "patch")).await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    until_metric(&world.operator, "gatewright_status_writes_total{outcome=\"denied\"}").await?;
    assert!(world.api.get(&path("shop")).await?.body["status"].is_null());
    permit(&world.api, |_, _, _| true).await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    until_metric(&world.operator, "gatewright_status_writes_total{outcome=\"written\"}").await
}
