//! A policy that hands out a secret: to Envoy with its certificate, to nobody else, and its status says which of both happened.

use serde_json::{Value, json};
use tests::{
    PeerError,
    demo::HOST,
    wait::{self, LONG},
};

use crate::{Outcome, World};

const SECRETIVE: &str = "secretive.example.com";

fn documents() -> Vec<Value> {
    let issuer = "http://oidc-provider.demo.svc.cluster.local:8080";
    let jwt = json!({"issuer": issuer, "audiences": [format!("https://{HOST}")]});
    let given = json!({"static": {"header": "x-api-key", "secretKeyRef": {"name": "upstream", "key": "key"}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "upstream"}, "stringData": {"key": "for-the-upstream"}}),
        json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "secretive"},
            "spec": {"externalHostnames": [SECRETIVE], "authenticators": [{"name": "sso", "jwt": jwt}],
                "forward": {"replaceCredential": given}}}),
    ]
}

/// A pod that asks authz as Envoy does, with a good token, but without a certificate.
fn stranger(token: &str) -> Value {
    let flags = [
        "probe".to_owned(),
        "--authz=https://gatewright-authz.gatewright-system.svc:9001".to_owned(),
        "--ca=/ca/ca.crt".to_owned(),
        format!("--host={SECRETIVE}"),
        format!("--header=authorization: Bearer {token}"),
        "--expect=deny".to_owned(),
    ];
    let container = json!({"name": "probe", "image": "localhost/gatewright:test", "imagePullPolicy": "Never", "args": flags,
        "volumeMounts": [{"name": "ca", "mountPath": "/ca"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"},
        "spec": {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": false,
            "volumes": [{"name": "ca", "configMap": {"name": "gatewright-ca"}}]}})
}

pub(crate) async fn secrets_go_to_proxies_that_proved_themselves(world: &World) -> Outcome {
    world.step("a secret for the upstream");
    for document in documents() {
        world.apply(&document)?;
    }
    world.until_condition("secretive", "Programmed")?;
    let token = world.token().await?;
    let given = || async { world.call().host(SECRETIVE).bearer(&token).http1().await };
    let answer = given().await?;
    let seen = answer.seen().ok_or_else(|| PeerError::unreadable("the application's answer", &answer.body))?;
    assert_eq!(seen.header("x-api-key").as_deref(), Some("for-the-upstream"));

    world.step("a proxy that did not prove itself");
    world.apply(&stranger(&token))?;
    world.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/stranger", "--timeout=1m"])?;
    let address = world.node.get("demo", "pod/stranger")?["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    world.until_condition("secretive", "Programmed=False")?;
    let told = wait::until("the stranger's address in the status", LONG, || async {
        let (reason, message) = world.condition("secretive", "Programmed").ok()?;
        message.contains(&address).then_some(reason)
    });
    assert_eq!(told.await?, "Lagging");
    assert!(world.kubectl(&["logs", "stranger"])?.contains("refused"), "it got no secret");
    assert_eq!(given().await?.status, 200, "Envoy has its certificate");
    world.kubectl(&["delete", "pod/stranger", "authpolicy/secretive", "secret/upstream"]).map(drop)
}
