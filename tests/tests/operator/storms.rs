//! Storms of Secrets: whoever reads one changes with it, and nobody else does anything.

use serde_json::Value;
use tests::{
    operator::Operator,
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, apply_secret, marker, open, path, signed, token, until_condition};

const KEYS: [&str; 3] =
    ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210", "89abcdef0123456789abcdef01234567"];
/// Publications, messages, and the resources in them.
const NUMBERS: [&str; 3] =
    ["gatewright_push_publications_total", "gatewright_push_messages_total", "gatewright_push_resources_total"];

async fn numbers(operator: &Operator) -> [u64; 3] {
    let page = operator.admin("/metrics").await.1;
    NUMBERS.map(|name| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
    })
}

async fn until_good(world: &World, host: &str, key: &str) -> Outcome {
    let token = token(key);
    wait::until(&format!("a token of the key at {host}"), LONG, || async {
        let answer = world.plane.answer_with(host, &[("authorization", &token)]).await;
        (answer == 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_storm_of_secrets_is_the_business_of_who_reads_them() -> Outcome {
    let world = World::start().await?;
    for name in ["stormy", "quiet"] {
        apply_secret(&world.api, name, "jwt", KEYS[0]).await?;
        apply(&world.api, name, signed(&format!("{name}.test"), name)).await?;
    }
    apply(&world.api, "open", open("open.test")).await?;
    for name in ["stormy", "quiet", "open"] {
        until_condition(&world.api, name, "Programmed", "True", "Programmed").await?;
    }
    marker(&world, "settled").await?;
    let others = ["quiet", "open", "settled"];
    let mut versions = Vec::new();
    for name in others {
        versions.push(version(&world, name).await?);
    }

    // Of twenty Secrets that nobody names; the one that is named and comes last in the same watch shows that all of it was seen.
    world.operator.proxy.forget();
    let before = numbers(&world.operator).await;
    for round in 0..10 {
        for one in 0..20 {
            apply_secret(&world.api, &format!("foreign-{one}"), "jwt", &format!("{round}")).await?;
        }
    }
    apply_secret(&world.api, "stormy", "jwt", KEYS[1]).await?;
    until_good(&world, "stormy.test", KEYS[1]).await?;
    let [publications, messages, resources] = numbers(&world.operator).await;
    assert_eq!(
        (publications - before[0], messages - before[1], resources - before[2]),
        (1, 1, 2),
        "one Secret and the state"
    );
    let read = world.operator.proxy.seen().iter().filter(|seen| seen.path.contains("/secrets/foreign")).count();
    assert_eq!(read, 0);

    // Of the one that is named.
    let before = numbers(&world.operator).await;
    for round in 0..100 {
        apply_secret(&world.api, "stormy", "jwt", KEYS[round % 2]).await?;
    }
    apply_secret(&world.api, "stormy", "jwt", KEYS[2]).await?;
    until_good(&world, "stormy.test", KEYS[2]).await?;
    let [publications, messages, resources] = numbers(&world.operator).await;
    let (publications, messages) = (publications - before[0], messages - before[1]);
    assert!(publications >= messages && messages > 0 && publications <= 101, "{publications} and {messages}");
    assert_eq!(resources - before[2], messages * 2, "nothing but the Secret and the state");

    until_condition(&world.api, "stormy", "Programmed", "True", "Programmed").await?;
    for (name, before) in others.into_iter().zip(versions) {
        let writes = world.operator.proxy.writes();
        assert!(!writes.iter().any(|seen| seen.path.contains(&format!("/{name}/status"))), "{name}");
        assert_eq!(version(&world, name).await?, before, "{name}");
    }
    until_good(&world, "quiet.test", KEYS[0]).await
}

async fn version(world: &World, name: &str) -> Result<Value, tests::PeerError> {
    Ok(world.api.get(&path(name)).await?.body["metadata"]["resourceVersion"].clone())
}
