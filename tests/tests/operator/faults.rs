//! What the API server does on bad days takes nothing out of force.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tests::{
    apiserver::ApiServer,
    fault_proxy::{Fault, Where},
    operator::{APPS, DataPlane, Operator, install},
    wait::{self, LONG},
};

use crate::{
    Outcome, World, apply, apply_secret, broken, marker, open, path, signed, token, troubles::until_metric,
    until_condition,
};

const KEYS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

#[tokio::test]
async fn a_restart_without_an_api_server_pushes_nothing() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    world.operator.kill();
    world.api.stop_apiserver();
    world.operator.proxy.forget();
    world.operator.launch()?;
    wait::until("the operator to ask for something ten times", LONG, || async {
        (world.operator.proxy.seen().len() >= 10).then_some(())
    })
    .await?;
    world.operator.must_run()?;
    assert_ne!(world.operator.admin("/readyz").await.0, 200);
    assert_eq!(world.plane.answer("shop.test").await, 200);
    world.api.start_apiserver().await?;
    world.operator.until_ready().await?;
    marker(&world, "back").await?;
    assert_eq!(world.plane.answer("shop.test").await, 200);
    Ok(())
}

#[tokio::test]
async fn half_of_the_truth_is_not_pushed() -> Outcome {
    for list in ["/authpolicies?", "/datasources?"] {
        let api = ApiServer::start().await?;
        install(&api).await?;
        apply(&api, "shop", open("shop.test")).await?;
        let mut operator = Operator::prepare(&api, "operator-0").await?;
        let held = operator.proxy.fault(Where::path(list).but_watches(), Fault::Hold);
        operator.launch()?;
        let plane = DataPlane::start(&api, &operator, "authz-0").await?;
        wait::until("the list to be asked for", LONG, || async {
            operator.proxy.seen().iter().any(|seen| seen.path.contains(list)).then_some(())
        })
        .await?;
        wait::until("the data plane to be known", LONG, || async {
            operator
                .proxy
                .seen()
                .iter()
                .any(|seen| seen.path.contains("tokenreviews") && seen.status == 201)
                .then_some(())
        })
        .await?;
        assert_ne!(operator.admin("/readyz").await.0, 200, "{list}");
        assert!(!plane.is_ready().await, "{list}");
        operator.proxy.mend(held);
        operator.until_ready().await?;
        plane.until_answer("shop.test", 200).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_that_is_told_410_lists_anew() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    // At the start of the watch, as a status; and in the stream, as an event.
    for fault in [Fault::Status(410, None), Fault::WatchError(410)] {
        world.operator.proxy.fault(Where::path("/authpolicies").watches(), fault);
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": 410, "reason": "Expired", "message": "too old resource version"}});
        assert!(world.operator.proxy.inject("/authpolicies", &gone) > 0, "a watch is open");
        // Lists alone have to do now.
        apply(
            &world.api,
            "shop",
            json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "Forbid"}),
        )
        .await?;
        world.plane.until_answer("shop.test", 403).await?;
        apply(&world.api, "shop", open("shop.test")).await?;
        world.plane.until_answer("shop.test", 200).await?;
        world.operator.proxy.heal();
        marker(&world, "healed").await?;
        world.api.delete(&path("healed")).await?;
    }
    Ok(())
}

/// How long a watch may say nothing. Long enough for what has to be seen before it is over, on a busy machine.
const SILENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_edit_that_a_frozen_watch_hides_is_in_force_in_the_time_that_is_promised() -> Outcome {
    let silence = format!("--watch-silence={}s", SILENCE.as_secs());
    let world = World::start_as(&[&silence], &[]).await?;
    apply_secret(&world.api, "key", "jwt", KEYS[0]).await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    apply(&world.api, "gone", open("gone.test")).await?;
    marker(&world, "before").await?;
    // It stands, at both ends, and not a byte of it comes through.
    world.operator.proxy.fault(Where::path("/authpolicies").watches(), Fault::Freeze);
    let closed = json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "Forbid"});
    apply(&world.api, "shop", closed).await?;
    world.api.delete(&path("gone")).await?;
    // Another watch is not frozen: what was edited after them is in force before.
    apply_secret(&world.api, "key", "jwt", KEYS[1]).await?;
    let token = token(KEYS[1]);
    wait::until("the new key to count", LONG, || async {
        (world.plane.answer_with("app.test", &[("authorization", &token)]).await == 200).then_some(())
    })
    .await?;
    assert_eq!((world.plane.answer("shop.test").await, world.plane.answer("gone.test").await), (200, 200));
    wait::until("what the watch hides to be in force", SILENCE + LONG, || async {
        ((world.plane.answer("shop.test").await, world.plane.answer("gone.test").await) == (403, 403)).then_some(())
    })
    .await?;
    until_metric(&world.operator, "gatewright_watch_failures_total{kind=\"authpolicies\",cause=\"silent\"} 1").await
}

#[tokio::test]
async fn a_busy_or_absent_api_server_changes_nothing_in_force() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    let closed = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500}});
    for fault in [
        Fault::Status(429, Some(1)),
        Fault::Status(500, None),
        Fault::Status(503, None),
        Fault::Status(504, None),
        Fault::Status(403, None),
        Fault::Status(404, None),
        Fault::Cut,
    ] {
        world.operator.proxy.forget();
        world.operator.proxy.fault(Where::path("/authpolicies?"), fault.clone());
        assert!(world.operator.proxy.inject("/authpolicies", &closed) > 0, "{fault:?}: a watch is open");
        wait::until(&format!("two attempts under {fault:?}"), LONG, || async {
            let seen = world.operator.proxy.seen();
            (seen.iter().filter(|seen| seen.path.contains("/authpolicies?")).count() >= 2).then_some(())
        })
        .await?;
        world.operator.must_run()?;
        assert_eq!(world.plane.answer("shop.test").await, 200, "{fault:?}");
        world.operator.proxy.heal();
        marker(&world, "healed").await?;
        world.api.delete(&path("healed")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_be_read_spoils_only_itself() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    let meta =
        |name: &str| json!({"name": name, "namespace": APPS, "uid": "u", "generation": 9, "resourceVersion": "9"});
    for object in [
        json!(5),
        json!({}),
        json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"namespace": APPS}, "spec": {}}),
        json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "a/b", "namespace": APPS}, "spec": {}}),
        json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": meta("odd"), "spec": "text"}),
        json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": meta("odder"), "spec": {"externalHostnames": 7}}),
    ] {
        let event = json!({"type": "ADDED", "object": object});
        assert!(world.operator.proxy.inject("/authpolicies", &event) > 0, "a watch is open");
    }
    marker(&world, "beside").await?;
    assert_eq!(world.plane.answer("shop.test").await, 200);
    Ok(())
}

#[tokio::test]
async fn crds_that_come_later_are_picked_up() -> Outcome {
    let api = ApiServer::start_without_crds().await?;
    install(&api).await?;
    let mut operator = Operator::start(&api, "operator-0").await?;
    wait::until("the operator to ask for policies", LONG, || async {
        operator
            .proxy
            .seen()
            .iter()
            .any(|seen| seen.path.contains("/authpolicies?") && seen.status == 404)
            .then_some(())
    })
    .await?;
    operator.must_run()?;
    assert_ne!(operator.admin("/readyz").await.0, 200);
    api.apply_crds().await?;
    operator.until_ready().await?;
    apply(&api, "shop", open("shop.test")).await?;
    until_condition(&api, "shop", "Programmed", "False", "NoDataPlane").await.map(|_| ())
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_written_later() -> Outcome {
    let world = World::start().await?;
    for fault in [Fault::Status(409, None), Fault::Status(422, None), Fault::Status(500, None), Fault::Cut] {
        world.operator.proxy.forget();
        world.operator.proxy.fault(Where::path("/authpolicies/shop/status").method(Method::PATCH), fault.clone());
        apply(&world.api, "shop", open("shop.test")).await?;
        wait::until(&format!("an attempt under {fault:?}"), LONG, || async {
            (!world.operator.proxy.writes().iter().all(|seen| !seen.path.contains("/shop/status"))).then_some(())
        })
        .await?;
        marker(&world, "beside").await?;
        world.operator.proxy.heal();
        until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
        let attempts = world.operator.proxy.writes().iter().filter(|seen| seen.path.contains("/shop/status")).count();
        assert!(attempts < 40, "{fault:?}: {attempts} attempts are a hot loop");
        for name in ["shop", "beside"] {
            world.api.delete(&path(name)).await?;
        }
        world.plane.until_answer("shop.test", 403).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_was_made_anew_keeps_nothing_that_was_found_of_the_one_before() -> Outcome {
    let world = World::start().await?;
    let at = Where::path("/authpolicies/shop/status").method(Method::PATCH);
    let held = world.operator.proxy.fault(at, Fault::Hold);
    apply(&world.api, "shop", broken("shop.test")).await?;
    let statuses = || world.operator.proxy.writes().into_iter().filter(|seen| seen.path.contains("/shop/status"));
    wait::until("the status of the first one to be under way", LONG, || async { statuses().next().map(drop) }).await?;
    world.api.delete(&path("shop")).await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.operator.proxy.mend(held);
    // It comes late, and API servers compare no uid in a status.
    wait::until("the status of the first one to arrive", LONG, || async {
        statuses().next().filter(|seen| seen.status != 0 && seen.body.contains("Invalid")).map(drop)
    })
    .await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    until_condition(&world.api, "shop", "Accepted", "True", "Accepted").await?;
    marker(&world, "later").await?;
    until_condition(&world.api, "shop", "Accepted", "True", "Accepted").await.map(|_| ())
}
