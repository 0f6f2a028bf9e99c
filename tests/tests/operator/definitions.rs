//! Custom resource definitions that are older than this build, or not there for a while.

use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    operator::{APPS, HOME},
    wait::{self, LONG},
};

use crate::{
    Outcome, World, apply, apply_secret, marker, open, path, signed, token,
    troubles::{event, until_metric},
    until_condition,
};

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/authpolicies.gatewright.dev";
const POLICIES: &str = "/apis/gatewright.dev/v1alpha1/authpolicies";
const KEYS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

/// Changes the one version of the definition.
async fn change(api: &ApiServer, change: impl FnOnce(&mut Value)) -> Outcome {
    let mut versions = api.get(DEFINITION).await?.body["spec"]["versions"].take();
    change(&mut versions[0]);
    let reply = api.merge(DEFINITION, &json!({"spec": {"versions": versions}})).await?;
    assert_eq!(reply.status, 200, "{:#}", reply.body);
    Ok(())
}

async fn until_listed(api: &ApiServer, status: u16) -> Outcome {
    wait::until(&format!("{status} for a list of policies"), LONG, || async {
        (api.get(POLICIES).await.ok()?.status == status).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_definition_that_is_not_served_for_a_while_takes_nothing_out_of_force() -> Outcome {
    let world = World::start().await?;
    apply_secret(&world.api, "key", "jwt", KEYS[0]).await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    until_condition(&world.api, "app", "Programmed", "True", "Programmed").await?;
    world.plane.until_answer("shop.test", 200).await?;

    change(&world.api, |version| version["served"] = json!(false)).await?;
    until_listed(&world.api, 404).await?;
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 1").await?;
    let (regarding, note) = event(&world.api, HOME, "CannotRead").await?;
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("Pod"), &json!("operator-0")));
    assert!(note.contains("authpolicies"), "{note}");
    // Everything else goes on.
    apply_secret(&world.api, "key", "jwt", KEYS[1]).await?;
    let token = token(KEYS[1]);
    wait::until("the new key to count", LONG, || async {
        let answer = world.plane.answer_with("app.test", &[("authorization", &token)]).await;
        (answer == 200).then_some(())
    })
    .await?;
    assert_eq!(world.plane.answer("shop.test").await, 200, "what is in force stays");
    assert_eq!(world.operator.admin("/readyz").await.0, 200);

    change(&world.api, |version| version["served"] = json!(true)).await?;
    until_listed(&world.api, 200).await?;
    marker(&world, "again").await?;
    assert_eq!(world.plane.answer("shop.test").await, 200);
    event(&world.api, HOME, "CanRead").await?;
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 0").await
}

#[tokio::test]
async fn a_definition_that_is_deleted_takes_its_policies_with_it_and_is_missed_until_it_is_back() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    world.api.delete(DEFINITION).await?;
    until_listed(&world.api, 404).await?;
    // The API server deletes every object before the definition: what is deleted ends, and ends closed.
    world.plane.until_answer("shop.test", 403).await?;
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 1").await?;
    assert!(event(&world.api, HOME, "CannotRead").await?.1.contains("authpolicies"));
    world.operator.must_run()?;
    assert_eq!(world.operator.admin("/readyz").await.0, 200);
    world.api.apply_crds().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    until_metric(&world.operator, "gatewright_watch_unread{kind=\"authpolicies\"} 0").await
}

#[tokio::test]
async fn a_definition_that_lacks_a_part_of_the_status_keeps_nothing_out_of_force() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    change(&world.api, |version| {
        let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        assert!(status.as_object_mut().is_some_and(|fields| fields.remove("programmedGeneration").is_some()));
    })
    .await?;
    let probe = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "shop"},
        "status": {"programmedGeneration": 1}});
    wait::until("the definition to count", LONG, || async {
        let at = format!("{}/status?fieldManager=probe&force=true&dryRun=All", path("shop"));
        world.api.apply_text(&at, &probe.to_string()).await.is_err().then_some(())
    })
    .await?;
    let edited = json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "Forbid"});
    apply(&world.api, "shop", edited).await?;
    world.plane.until_answer("shop.test", 403).await?;
    wait::until("a status that cannot be written", LONG, || async {
        let page = world.operator.admin("/metrics").await.1;
        let failed = |line: &str| line.starts_with("gatewright_status_writes_total{") && !line.contains("written");
        page.lines().any(failed).then_some(())
    })
    .await?;
    world.api.apply_crds().await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await.map(|_| ())
}

/// Waits until so many fields of policies are lacked. It is looked at several times a minute.
async fn until_lacks(world: &World, fields: u32) -> Outcome {
    let line = format!("gatewright_definition_lacks_fields{{kind=\"authpolicies\"}} {fields}");
    wait::until(&line, LONG * 3, || async {
        let page = world.operator.admin("/metrics").await.1;
        page.lines().any(|one| one == line).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_definition_that_lacks_a_field_is_told_of_by_name() -> Outcome {
    let world = World::start().await?;
    until_lacks(&world, 0).await?;
    change(&world.api, |version| {
        let fields = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        assert!(fields.as_object_mut().is_some_and(|fields| fields.remove("unmatched").is_some()));
        let route = &mut fields["routes"]["items"]["properties"];
        assert!(route.as_object_mut().is_some_and(|fields| fields.remove("respond").is_some()));
        // Rules about what is no longer there would be refused.
        let rules = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        forget_rules(rules);
    })
    .await?;
    until_lacks(&world, 2).await?;
    let (regarding, note) = event(&world.api, HOME, "DefinitionOlder").await?;
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("Pod"), &json!("operator-0")));
    assert!(note.contains("spec.routes[].respond, spec.unmatched;"), "{note}");
    // That is what goes on without a word: somebody asked for 403, and nobody gets it.
    let edited = json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "Forbid"});
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "shop"}, "spec": edited});
    let made =
        world.api.create(&format!("/apis/gatewright.dev/v1alpha1/namespaces/{APPS}/authpolicies"), &object).await?;
    assert_eq!((made.status, &made.body["spec"]["unmatched"]), (201, &Value::Null), "{}", made.body);
    world.plane.until_answer("shop.test", 200).await?;
    assert_eq!(world.operator.admin("/readyz").await.0, 200);

    world.api.apply_crds().await?;
    until_lacks(&world, 0).await?;
    event(&world.api, HOME, "DefinitionComplete").await.map(drop)
}

/// Takes the rules of a schema away, and those of what is below.
fn forget_rules(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("x-kubernetes-validations");
            members.values_mut().for_each(forget_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_rules),
        _ => {}
    }
}
