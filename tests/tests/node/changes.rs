//! What happens to every installation, while a thousand requests a second pass through Envoy: none is refused that the policy lets pass.

use std::time::Duration;

use serde_json::json;
use tests::{
    PeerError,
    demo::{DEMO, HOST, SYSTEM},
    issued::Issued,
    load::Load,
    wait::{self, LONG},
};
use tokio::time::sleep;

use crate::{Outcome, World};

const PER_SECOND: u32 = 1000;
/// A token of the demo's provider lives two minutes.
const RENEW: Duration = Duration::from_secs(45);
/// Long enough for a pod to come and another to go.
const TURN: Duration = Duration::from_mins(3);

/// A change of the cluster while requests pass, until every pod of before is gone.
async fn under_load(world: &World, title: &str, change: impl FnOnce(&World) -> Outcome + Send + 'static) -> Outcome {
    world.step(title);
    let load = Load::start(world.envoy, HOST, world.token().await?, PER_SECOND)?;
    let own = world.clone();
    let mut work = tokio::task::spawn_blocking(move || change(&own));
    let changed = loop {
        tokio::select! {
            done = &mut work => break done.map_err(|error| PeerError::unreadable("the change", &error))?,
            () = sleep(RENEW) => load.renew(world.token().await?),
        }
    };
    let settled =
        wait::until("every pod of before to be gone", TURN, || async { is_settled(world).then_some(()) }).await;
    let tally = load.finish().await?;
    changed?;
    settled?;
    let (all, seconds) = (tally.all(), tally.lasted.as_secs_f64());
    world.step(&format!("  {} of {all} requests passed in {seconds:.0} s", tally.good()));
    assert_eq!(tally.good(), all, "{title}: {:?}", tally.answers);
    assert!(all > 0, "no request was sent");
    Ok(())
}

/// Two pods of each, all ready, none going.
fn is_settled(world: &World) -> bool {
    let Ok(pods) = world.node.get(SYSTEM, "pods") else { return false };
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let ready = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).filter(|pod| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    });
    ready.count() == 4 && pods.len() == 4
}

fn leader(world: &World) -> Result<String, PeerError> {
    let lease = world.node.get(SYSTEM, "lease/gatewright-operator")?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// An edit that changes no decision, and its way to every replica.
fn edit(world: &World, name: &str) -> Outcome {
    let patch = json!({"spec": {"forward": {"headers": [{"name": "x-edit", "cel": format!("'{name}'")}]}}}).to_string();
    world.kubectl(&["patch", "authpolicy/demo", "--type=merge", "--patch", &patch])?;
    world.until_condition("demo", "Programmed")
}

fn restart(world: &World, name: &str) -> Outcome {
    let deployment = format!("deployment/{name}");
    world.node.kubectl(&["--namespace", SYSTEM, "rollout", "restart", &deployment])?;
    world.node.kubectl(&["--namespace", SYSTEM, "rollout", "status", &deployment, "--timeout=3m"]).map(drop)
}

pub(crate) async fn the_leader_ends(world: &World) -> Outcome {
    let before = leader(world)?;
    let crashed = before.clone();
    under_load(world, "the leader crashes", move |world| {
        world.node.crash(&crashed, "/gatewright")?;
        edit(world, "after-the-crash")
    })
    .await?;
    let pod = world.node.get(SYSTEM, &format!("pod/{before}"))?;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1);
    let before = leader(world)?;
    let deleted = before.clone();
    under_load(world, "the leader's pod is deleted", move |world| {
        world.node.kubectl(&[
            "--namespace",
            SYSTEM,
            "delete",
            &format!("pod/{deleted}"),
            "--grace-period=0",
            "--force",
        ])?;
        edit(world, "after-the-leader")
    })
    .await?;
    // Its process lives on until the node has ended it, and may have made that edit.
    let other = || async { leader(world).ok().filter(|name| !name.is_empty() && *name != before) };
    wait::until("another leader", TURN, other).await;
    Ok(())
}

pub(crate) async fn everything_is_replaced(world: &World) -> Outcome {
    under_load(world, "a rolling restart of authz", |world| {
        restart(world, "gatewright-authz")?;
        edit(world, "after-authz")
    })
    .await?;
    under_load(world, "a rolling restart of the operator", |world| {
        restart(world, "gatewright-operator")?;
        edit(world, "after-operator")
    })
    .await?;
    // As cert-manager would: the upgrade takes it into use.
    let issued = Issued::new("node")?;
    world.apply_in(SYSTEM, &issued.secret("gatewright-issuer"))?;
    under_load(world, "helm upgrade, to a CA of one's own", |world| {
        let changed = "log.level=debug,operator.tlsSecret=gatewright-issuer";
        let values = ["-f", "tests/node/demo/values.yaml", "--set", changed, "--wait", "--timeout=3m"];
        let upgrade = ["upgrade", "gatewright", "charts/gatewright", "--namespace", SYSTEM];
        world.node.helm(&[upgrade.as_slice(), &values].concat())?;
        edit(world, "after-upgrade")
    })
    .await?;
    let believed = wait::until("the new CA to be believed in the namespace of Envoy", LONG, || async {
        let bundle = world.node.get(DEMO, "configmap/gatewright-ca").ok()?["data"]["ca.crt"].as_str()?.to_owned();
        (issued.is_in(&bundle) && bundle.matches("BEGIN").count() == 2).then_some(())
    });
    believed.await?;
    world.node.kubectl(&["--namespace", SYSTEM, "delete", "secret/gatewright-issuer"]).map(drop)
}
