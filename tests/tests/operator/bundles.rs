//! What proxies need is put where it is asked for, and never over what somebody else made.

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, permissions, troubles::event};

const EDGE: &str = "edge";
const PIECES: [(&str, &str, &str); 2] =
    [("ConfigMap", "configmaps", "gatewright-ca"), ("Secret", "secrets", "gatewright-client-tls")];

fn at(plural: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{EDGE}/{plural}/{name}")
}

fn managers(object: &Value) -> Vec<&str> {
    let entries = object["metadata"]["managedFields"].as_array();
    entries.into_iter().flatten().filter_map(|entry| entry["manager"].as_str()).collect()
}

/// Waits until the operator's own stands there.
async fn until_ours(api: &ApiServer, plural: &str, name: &str) -> Result<Value, PeerError> {
    wait::until(&format!("the operator's {name}"), LONG, || async {
        let found = api.get(&at(plural, name)).await.ok()?.body;
        found["data"]["ca.crt"].is_string().then_some(found)
    })
    .await
}

/// An API server with a namespace that asks for both, and has something else of these names.
async fn in_the_way() -> Result<ApiServer, PeerError> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let asks = json!({"gatewright.dev/gateway": "true", "gatewright.dev/inject-ca": "true"});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": EDGE, "labels": asks}});
    api.create("/api/v1/namespaces", &namespace).await?;
    let label = json!({"app.kubernetes.io/managed-by": "gatewright-operator"});
    for (kind, plural, name) in PIECES {
        let theirs = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": label}, "data": {"theirs": "eA=="}});
        let path = format!("{}?fieldManager=person", at(plural, name));
        api.apply_text(&path, &theirs.to_string()).await?;
    }
    Ok(api)
}

#[tokio::test]
async fn an_object_that_only_bears_our_label_is_somebody_elses() -> Outcome {
    let api = in_the_way().await?;
    let mut operator = Operator::start(&api, "operator-0").await?;
    operator.until_ready().await?;
    let (_, note) = event(&api, EDGE, "NotOurs").await?;
    assert!(note.contains("somebody else"), "{note}");
    wait::until("both to be complained about", LONG, || async {
        let output = operator.output();
        PIECES.iter().all(|(kind, _, name)| output.contains(&format!("{kind} {EDGE}/{name} was made by"))).then_some(())
    })
    .await?;
    for (_, plural, name) in PIECES {
        let found = api.get(&at(plural, name)).await?.body;
        assert_eq!(found["data"], json!({"theirs": "eA=="}), "{name}");
        assert_eq!(managers(&found), ["person"], "{name}");
        api.delete(&at(plural, name)).await?;
    }
    for (_, plural, name) in PIECES {
        until_ours(&api, plural, name).await?;
        // Who edits what is ours does not make it his.
        let reply = api.merge(&at(plural, name), &json!({"data": {"ca.crt": "eA=="}})).await?;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(managers(&reply.body).contains(&"gatewright-operator"), "{}", reply.body);
    }
    Ok(())
}

/// Certificates are published where no policies are, and the chart's roles say so.
#[tokio::test]
async fn in_a_namespace_without_policies_everything_is_permitted() -> Outcome {
    let api = in_the_way().await?;
    let token = permissions::account(&api).await?;
    let grants = permissions::grants(&["operator.watchNamespaces={apps}", "rbac.namespaces={edge}"])?;
    permissions::grant(&api, &grants, None).await?;
    let mut operator = Operator::prepare_as(&api, "operator-0", &token, "gatewright-operator").await?;
    operator.flags(&["--watch-namespace", "gatewright,apps", "--values-namespace", "gatewright,apps,edge"]);
    operator.launch()?;
    operator.until_ready().await?;
    event(&api, EDGE, "NotOurs").await?;
    for (_, plural, name) in PIECES {
        api.delete(&at(plural, name)).await?;
        until_ours(&api, plural, name).await?;
    }
    let page = operator.admin("/metrics").await.1;
    let denied =
        page.lines().filter(|line| line.starts_with("gatewright_api_calls_denied_total") && !line.ends_with(" 0"));
    assert_eq!(denied.collect::<Vec<_>>(), Vec::<&str>::new());
    Ok(())
}
