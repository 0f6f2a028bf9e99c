//! What `tests/node/demo` puts on a node: both charts, and a namespace with Envoy, a provider and an application.
//! Owns: the steps of the README, and tokens of that provider. Never: what anybody expects of them.

use std::net::SocketAddr;

use serde_json::Value;

use crate::{Call, PeerError, client::plain_client, node::Node};

/// The namespace of the charts.
pub const SYSTEM: &str = "gatewright-system";
/// The namespace of Envoy, the provider and the application.
pub const DEMO: &str = "demo";
/// The host of the demo's policy.
pub const HOST: &str = "demo.example.com";

/// The steps of the README, in its order. `say` is told each command before it runs.
pub fn install(node: &Node, mut say: impl FnMut(&str) -> Result<(), PeerError>) -> Result<(), PeerError> {
    let mut step = |program: &str, arguments: &[&str]| {
        say(&format!("$ {program} {}", arguments.join(" ")))?;
        if program == "helm" { node.helm(arguments) } else { node.kubectl(arguments) }
    };
    step("kubectl", &["apply", "-f", "tests/node/demo/demo.yaml"])?;
    let system = ["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=3m"];
    step("helm", &[["install", "gatewright-crds", "charts/gatewright-crds"].as_slice(), &system].concat())?;
    let values = ["-f", "tests/node/demo/values.yaml"];
    step("helm", &[["install", "gatewright", "charts/gatewright"].as_slice(), &system, &values].concat())?;
    step("kubectl", &["rollout", "status", "--namespace", DEMO, "--timeout=2m", "deployment/envoy"])?;
    step("kubectl", &["apply", "-f", "tests/node/demo/policy.yaml"])?;
    let programmed = ["wait", "--for=condition=Programmed", "authpolicy/demo", "--namespace", DEMO, "--timeout=1m"];
    step("kubectl", &programmed)?;
    step("helm", &["test", "gatewright", "--namespace", SYSTEM, "--timeout=2m"])?;
    Ok(())
}

/// Where Envoy listens.
pub fn envoy(node: &Node) -> Result<SocketAddr, PeerError> {
    node.service(DEMO, "envoy", 8080)
}

/// A request for the demo's host through Envoy.
pub fn call(envoy: SocketAddr) -> Call {
    Call::to(envoy).host(HOST).path("/hello")
}

/// A token of the provider in the cluster, by the client-credentials grant; good for two minutes.
pub async fn token(node: &Node, resource: &str) -> Result<String, PeerError> {
    let provider = node.service(DEMO, "oidc-provider", 8080)?;
    let form = format!("grant_type=client_credentials&scope=tools%3Acall&resource=https%3A%2F%2F{resource}");
    let request = plain_client()?
        .post(format!("http://{provider}/token"))
        .basic_auth("m2m", Some("m2m-secret"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let unreadable = |error: reqwest::Error| PeerError::unreadable("oidc-provider", &error);
    let text = request.send().await.map_err(unreadable)?.text().await.map_err(unreadable)?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| PeerError::unreadable("oidc-provider", &error))?;
    match answer.get("access_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None => Err(PeerError::unreadable("the answer to the client-credentials grant", &answer)),
    }
}
