//! Every permission taken away, one after the other: what is in force stays, the process stays, and all is well once it is back.

use tests::operator::{PERMISSIONS, permit};

use crate::{Outcome, World, apply, marker, open, path};

#[tokio::test]
async fn a_permission_that_is_gone_is_waited_for() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    for (group, resource, verbs) in PERMISSIONS {
        for verb in verbs {
            permit(&world.api, |g, r, v| (g, r, v) != (group, resource, verb)).await?;
            // Watches that are open live on: end them, so that the permission is missed.
            let closed = serde_json::json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "code": 500}});
            world.operator.proxy.inject("watch=true", &closed);
            let edited = serde_json::json!({"externalHostnames": ["shop.test"], "requireAuth": false,
                "forward": {"headers": [{"name": "x-probe", "claim": format!("{resource}-{verb}").replace('/', "-")}]}});
            apply(&world.api, "shop", edited).await?;
            assert_eq!(world.plane.answer("shop.test").await, 200, "without {verb} {resource}");
            world.operator.must_run()?;
            permit(&world.api, |_, _, _| true).await?;
            marker(&world, "again").await?;
            assert_eq!(world.plane.answer("shop.test").await, 200, "after {verb} {resource}");
            world.api.delete(&path("again")).await?;
            world.plane.until_answer("again.marker.test", 403).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_that_starts_without_a_permission_goes_on_once_it_is_given() -> Outcome {
    for (resource, verb) in
        [("authpolicies", "list"), ("secrets", "get"), ("secrets", "create"), ("leases", "get"), ("leases", "create")]
    {
        let api = tests::apiserver::ApiServer::start().await?;
        tests::operator::install(&api).await?;
        permit(&api, |_, r, v| (r, v) != (resource, verb)).await?;
        apply(&api, "shop", open("shop.test")).await?;
        let mut operator = tests::operator::Operator::start(&api, "operator-0").await?;
        tests::wait::until(&format!("{verb} {resource} to be refused"), tests::wait::LONG, || async {
            let word = resource.to_owned();
            operator.proxy.seen().iter().any(|seen| seen.status == 403 && seen.path.contains(&word)).then_some(())
        })
        .await?;
        operator.must_run()?;
        assert_ne!(operator.admin("/readyz").await.0, 200, "without {verb} {resource}");
        permit(&api, |_, _, _| true).await?;
        operator.until_ready().await?;
    }
    Ok(())
}
