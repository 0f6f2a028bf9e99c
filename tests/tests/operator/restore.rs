//! etcd comes back from an old backup: versions run backwards, what was deleted is there again, and what was made since is not.

use serde_json::json;
use tests::wait::{self, LONG};

use crate::{Outcome, World, apply, apply_secret, condition, marker, open, path, signed, token, until_condition};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

fn closed(host: &str) -> serde_json::Value {
    json!({"externalHostnames": [host], "requireAuth": false, "unmatched": "Forbid"})
}

/// Host, key of its token, and answer: every answer at once, or this is not the state.
async fn stands(world: &World, state: &[(&str, Option<&str>, u16)]) -> bool {
    for (host, key, status) in state {
        let token = key.map(token).unwrap_or_default();
        let headers = [("authorization", token.as_str())];
        let headers = if key.is_some() { &headers[..] } else { &[] };
        if world.plane.answer_with(host, headers).await != *status {
            return false;
        }
    }
    true
}

async fn until_stands(world: &World, state: &[(&str, Option<&str>, u16)]) -> Outcome {
    wait::until(&format!("{state:?}"), LONG, || async { stands(world, state).await.then_some(()) }).await
}

/// Waits until what was asked one after the other is all as it was of old. Policies come back together: once one of them has, so have
/// those that are asked after it.
async fn until_returned(world: &World, old: &[(&str, Option<&str>, u16)]) -> Outcome {
    wait::until("everything to be as it was", LONG, || async {
        let mut returned = false;
        for (host, _, status) in old.iter().filter(|(_, key, _)| key.is_none()) {
            let is = world.plane.answer(host).await == *status;
            assert!(is || !returned, "{host} is of another time than those before it");
            returned = is;
        }
        (returned && stands(world, old).await).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_old_backup_of_etcd_is_what_is_enforced_from_then_on() -> Outcome {
    let mut world = World::start().await?;
    apply_secret(&world.api, "key", "jwt", OLD).await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    apply(&world.api, "returns", open("returns.test")).await?;
    let old = [
        ("app.test", Some(OLD), 200),
        ("app.test", Some(NEW), 401),
        ("shop.test", None, 200),
        ("returns.test", None, 200),
        ("vanishes.test", None, 403),
    ];
    until_stands(&world, &old).await?;
    world.api.back_up().await?;
    marker(&world, "during").await?;

    apply_secret(&world.api, "key", "jwt", NEW).await?;
    apply(&world.api, "shop", closed("shop.test")).await?;
    apply(&world.api, "vanishes", open("vanishes.test")).await?;
    world.api.delete(&path("returns")).await?;
    let new = [
        ("app.test", Some(OLD), 401),
        ("app.test", Some(NEW), 200),
        ("shop.test", None, 403),
        ("returns.test", None, 403),
        ("vanishes.test", None, 200),
    ];
    until_stands(&world, &new).await?;
    // Versions that the restored server reaches late.
    for round in 0..50 {
        apply_secret(&world.api, "counts", "round", &round.to_string()).await?;
    }

    world.api.restore().await?;
    until_returned(&world, &old).await?;
    marker(&world, "later").await?;
    assert!(stands(&world, &old).await, "and nothing of the time between comes back");
    assert_eq!(world.plane.answer("during.marker.test").await, 403);
    let shop = until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    assert_eq!(condition(&shop, "Accepted").map(|(status, ..)| status).as_deref(), Some("True"));

    // A new process, beside a data plane that has seen the future, goes on from there.
    world.operator.kill();
    world.operator.launch()?;
    world.operator.until_ready().await?;
    apply(&world.api, "shop", closed("shop.test")).await?;
    world.plane.until_answer("shop.test", 403).await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    assert!(stands(&world, &old[..2]).await);
    Ok(())
}
