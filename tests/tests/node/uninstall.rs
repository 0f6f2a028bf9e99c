//! The end: what the charts made and what the operator made is gone, in every namespace; definitions and policies stay.

use serde_json::Value;
use tests::{PeerError, demo::SYSTEM, wait};

use crate::{Outcome, World};

/// The garbage collector looks again after some seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(2);

pub(crate) async fn nothing_is_left(world: &World) -> Outcome {
    let made = ours(world)?;
    for expected in
        ["Secret/gatewright-ca", "Secret/gatewright-seal", "Secret/gatewright-last-good-", "Lease/gatewright-operator"]
    {
        assert!(made.iter().any(|one| one.contains(expected)), "{expected} is among {made:?}");
    }
    world.step("helm uninstall");
    for release in ["gatewright", "gatewright-crds"] {
        world.node.helm(&["uninstall", release, "--namespace", SYSTEM, "--wait", "--timeout=2m"])?;
    }
    let gone = wait::until("everything to be gone", PATIENCE, || async {
        ours(world).is_ok_and(|left| left.is_empty()).then_some(())
    });
    if let Err(late) = gone.await {
        return Err(PeerError::unreadable(late.to_string(), &ours(world)?.join(", ")));
    }
    world.step("definitions and policies stay");
    world.kubectl(&["get", "authpolicy/demo"])?;
    world.node.kubectl(&["get", "crd/authpolicies.gatewright.dev", "crd/datasources.gatewright.dev"]).map(drop)
}

/// Everything in the cluster that has our name or our label, but for what stays by intent and Events, which end by themselves.
fn ours(world: &World) -> Result<Vec<String>, PeerError> {
    let kinds = world.node.kubectl(&["api-resources", "--verbs=list", "--output=name"])?;
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.ends_with("gatewright.dev")).collect();
    let printed = world.node.kubectl(&["get", &kinds.join(","), "--all-namespaces", "--output=json"])?;
    let all: Value = serde_json::from_str(&printed).map_err(|error| PeerError::unreadable("kubectl get", &error))?;
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = all["items"].as_array().into_iter().flatten().filter_map(|object| {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let labels = object["metadata"]["labels"].as_object();
        let labelled = labels.is_some_and(|labels| {
            labels.values().any(|value| value.as_str().is_some_and(|text| text.starts_with("gatewright")))
        });
        // The definitions, and what the API server makes of them.
        let stays = matches!(&*kind, "Namespace" | "CustomResourceDefinition" | "APIService");
        let is_ours = labelled || name.contains("gatewright");
        (is_ours && !stays).then(|| format!("{} {kind}/{name}", text(object, "/metadata/namespace")))
    });
    Ok(found.collect())
}
