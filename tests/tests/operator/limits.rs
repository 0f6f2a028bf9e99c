//! A store of limits in a cluster: its password comes from a Secret through the operator, and replicas count together.

use serde_json::json;
use tests::{
    operator::DataPlane,
    redis::Redis,
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, apply_secret, until_condition};

const HOST: &str = "limited.test";

#[tokio::test]
async fn the_password_of_a_store_reaches_every_replica_and_they_count_together() -> Outcome {
    let redis = Redis::start(Some("correct-horse-battery")).await?;
    let world = World::start().await?;
    let second = DataPlane::start(&world.api, &world.operator, "authz-1").await?;
    wait::until("the second replica to be ready", LONG, || async { second.is_ready().await.then_some(()) }).await?;
    let store = json!({"redis": {"url": format!("redis://{}", redis.address), "timeout": "2s", "passwordRef": {"name": "redis", "key": "password"}}});
    let spec = json!({
        "externalHostnames": [HOST], "requireAuth": false,
        "limits": {"requests": {"rate": 6, "window": "1h", "by": "Global"}, "store": store},
    });
    // Without its Secret the policy is in force, says what is missing, and nothing passes uncounted.
    apply(&world.api, "limited", spec).await?;
    until_condition(&world.api, "limited", "ResolvedRefs", "False", "SecretMissing").await?;
    world.plane.until_answer(HOST, 503).await?;
    apply_secret(&world.api, "redis", "password", "correct-horse-battery").await?;
    until_condition(&world.api, "limited", "ResolvedRefs", "True", "ResolvedRefs").await?;
    world.plane.until_answer(HOST, 200).await?;
    second.until_answer(HOST, 200).await?;
    let mut left = 4;
    for number in 0..8 {
        let plane = if number % 2 == 0 { &world.plane } else { &second };
        let expected = if left > 0 { 200 } else { 429 };
        assert_eq!(plane.answer(HOST).await, expected, "request {number}, {left} left\n{}", plane.output());
        left -= i32::from(left > 0);
    }
    assert!(redis.ask(&["KEYS *"])?.contains("gatewright:limit:"), "it is counted there");
    for plane in [&world.plane, &second] {
        assert!(!plane.output().contains("correct-horse-battery"));
    }
    // A deleted Secret ends at once.
    world.api.delete(&crate::secret("redis")).await?;
    world.plane.until_answer(HOST, 503).await?;
    Ok(())
}
