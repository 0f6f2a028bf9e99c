//! Requests through Envoy, edits, and what `kubectl wait` is told.

use serde_json::{Value, json};
use tests::{
    demo::SYSTEM,
    wait::{self, LONG},
};

use crate::{Outcome, World, settled};

/// Of all but the routes of the demo's policy.
fn patch(world: &World, spec: &Value) -> Outcome {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", "authpolicy/demo", "--type=merge", "--patch", &patch]).map(drop)
}

pub(crate) fn replicas_are_as_asked(world: &World) -> Outcome {
    for name in ["gatewright-operator", "gatewright-authz"] {
        let ready = world.node.get(SYSTEM, &format!("deployment/{name}"))?["status"]["readyReplicas"].clone();
        assert_eq!(ready, 2, "{name}");
    }
    Ok(())
}

pub(crate) async fn requests_are_decided(world: &World) -> Outcome {
    world.step("requests through Envoy");
    let token = world.token().await?;
    let answer = settled(&world.call()).await?;
    assert_eq!((answer.status, &*answer.code()), (401, "missing_credential"));
    let answer = world.call().bearer(&token).header("x-auth-subject", "root").http1().await?;
    let seen = answer.seen().expect("the application answers");
    assert_eq!((answer.status, seen.header("x-auth-subject").as_deref()), (200, Some("m2m")));
    let answer = world.call().host("other.example.com").bearer(&token).http1().await?;
    assert_eq!((answer.status, &*answer.code()), (403, "no_policy"));
    Ok(())
}

pub(crate) async fn an_edit_is_in_force_when_its_condition_says_so(world: &World) -> Outcome {
    world.step("an edit");
    let token = world.token().await?;
    for (require, status) in [(json!({"cel": "principal.subject == 'nobody'"}), 403), (Value::Null, 200)] {
        patch(world, &json!({"require": require}))?;
        world.until_condition("demo", "Programmed")?;
        // No waiting: the condition is the promise.
        assert_eq!(world.call().bearer(&token).http1().await?.status, status, "{require}");
    }
    Ok(())
}

pub(crate) async fn conditions_tell_the_truth(world: &World) -> Outcome {
    world.step("conditions");
    let token = world.token().await?;
    // Valid to the schema, not to the compiler.
    patch(world, &json!({"require": {"cel": "principal."}}))?;
    world.until_condition("demo", "Accepted=False")?;
    world.until_condition("demo", "Programmed=False")?;
    assert_eq!(world.condition("demo", "Programmed")?.0, "LastGoodInForce");
    assert_eq!(world.call().bearer(&token).http1().await?.status, 200, "what was in force before is");
    assert_eq!(world.call().http1().await?.status, 401);
    patch(world, &json!({"require": null}))?;
    world.until_condition("demo", "Programmed")?;
    world.until_condition("demo", "IssuersReachable")?;

    let key = json!({"algorithm": "HS256", "secretKeyRef": {"name": "not-there", "key": "jwt"}});
    world.apply(&json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "keyless"},
        "spec": {"externalHostnames": ["keyless.example.com"], "authenticators": [{"name": "app", "jwt": {"keys": [key]}}]}}))?;
    world.until_condition("keyless", "ResolvedRefs=False")?;
    assert_eq!(world.condition("keyless", "ResolvedRefs")?.0, "SecretMissing");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "not-there"},
        "stringData": {"jwt": "0123456789abcdef0123456789abcdef"}});
    world.apply(&secret)?;
    world.until_condition("keyless", "ResolvedRefs")?;
    world.until_condition("keyless", "Programmed")?;
    world.kubectl(&["delete", "authpolicy/keyless", "secret/not-there"]).map(drop)
}

pub(crate) async fn without_a_data_plane_nobody_enforces(world: &World) -> Outcome {
    world.step("no authz");
    let scale = |replicas: &str| {
        world.node.kubectl(&[
            "--namespace",
            SYSTEM,
            "scale",
            "deployment/gatewright-authz",
            &format!("--replicas={replicas}"),
        ])
    };
    scale("0")?;
    world.until_condition("demo", "Programmed=False")?;
    let last = wait::until("the last authz to be gone", LONG, || async {
        (world.condition("demo", "Programmed").ok()?.0 == "NoDataPlane").then_some(())
    });
    last.await?;
    scale("2")?;
    world.node.kubectl(&["--namespace", SYSTEM, "rollout", "status", "deployment/gatewright-authz", "--timeout=2m"])?;
    world.until_condition("demo", "Programmed")?;
    // Envoy has to connect anew.
    assert_eq!(settled(&world.call()).await?.status, 401);
    Ok(())
}
