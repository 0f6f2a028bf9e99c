//! What an operator is told to look after, by its own command line.

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{APPS, DataPlane, Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, World, condition, open};

/// A namespace that nobody was told of.
const OTHER: &str = "other";

async fn start(flags: &[&str]) -> Result<World, PeerError> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}});
    api.create("/api/v1/namespaces", &namespace).await?;
    let mut operator = Operator::prepare(&api, "operator-0").await?;
    operator.flags(flags);
    operator.launch()?;
    operator.until_ready().await?;
    let plane = DataPlane::start(&api, &operator, "authz-0").await?;
    wait::until("the data plane to be ready", LONG, || async { plane.is_ready().await.then_some(()) }).await?;
    Ok(World { plane, operator, api })
}

fn at(namespace: &str, name: &str) -> String {
    format!("/apis/gatewright.dev/v1alpha1/namespaces/{namespace}/authpolicies/{name}")
}

async fn apply(api: &ApiServer, namespace: &str, name: &str, spec: Value) -> Outcome {
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec});
    let path = format!("{}?fieldManager=person&force=true", at(namespace, name));
    api.apply_text(&path, &object.to_string()).await.map(|_| ())
}

/// Waits until `Accepted` says this of the newest generation; its message.
async fn until_accepted(
    api: &ApiServer,
    (namespace, name): (&str, &str),
    status: &str,
    reason: &str,
) -> Result<String, PeerError> {
    wait::until(&format!("Accepted={status} {reason} of {name}"), LONG, || async {
        let object = api.get(&at(namespace, name)).await.ok()?.body;
        let (is, why, message, newest) = condition(&object, "Accepted")?;
        ((is.as_str(), why.as_str(), newest) == (status, reason, true)).then_some(message)
    })
    .await
}

#[tokio::test]
async fn a_policy_outside_the_watched_namespaces_is_not_served() -> Outcome {
    // The fallback's place is the operator's own namespace; the charts always name it.
    let world = start(&["--watch-namespace", "gatewright,apps"]).await?;
    apply(&world.api, OTHER, "outside", open("outside.test")).await?;
    apply(&world.api, APPS, "inside", open("inside.test")).await?;
    world.plane.until_answer("inside.test", 200).await?;
    until_accepted(&world.api, (APPS, "inside"), "True", "Accepted").await?;
    assert_eq!(world.plane.answer("outside.test").await, 403);
    assert!(world.api.get(&at(OTHER, "outside")).await?.body["status"].is_null(), "nobody speaks of it");
    let asked = world.operator.proxy.seen().into_iter().filter(|seen| seen.path.contains("policies?"));
    let elsewhere: Vec<_> = asked.filter(|seen| !seen.path.contains("/namespaces/")).collect();
    assert_eq!(elsewhere, [], "it asks for its namespaces, and for no others");
    // It holds no host either: the same one inside is nobody else's.
    apply(&world.api, APPS, "inside", open("outside.test")).await?;
    world.plane.until_answer("outside.test", 200).await
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_refused() -> Outcome {
    let world = start(&["--grant", "apps=*.apps.test", "--grant", "other=other.test"]).await?;
    apply(&world.api, APPS, "foreign", open("other.test")).await?;
    let message = until_accepted(&world.api, (APPS, "foreign"), "False", "HostnameConflict").await?;
    assert!(message.contains("other.test is not granted to this namespace"), "{message}");

    let two = json!({"externalHostnames": ["shop.apps.test", "shop.test"], "requireAuth": false});
    apply(&world.api, APPS, "partly", two).await?;
    world.plane.until_answer("shop.apps.test", 200).await?;
    let message = until_accepted(&world.api, (APPS, "partly"), "True", "PartiallyAccepted").await?;
    assert!(message.contains("shop.test is not granted to this namespace"), "{message}");
    assert_eq!(world.plane.answer("shop.test").await, 403);
    assert_eq!(world.plane.answer("other.test").await, 403, "its namespace has it, but has no policy yet");

    // Younger than the refused claim, and yet the host is its own.
    apply(&world.api, OTHER, "rightful", open("other.test")).await?;
    world.plane.until_answer("other.test", 200).await?;
    until_accepted(&world.api, (OTHER, "rightful"), "True", "Accepted").await.map(|_| ())
}
