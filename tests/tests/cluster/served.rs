//! What the API server makes of the definitions: the status subresource, ownership of fields, columns, short names.

use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    wait::{self, LONG},
};

const POLICIES: &str = "/apis/gatewright.dev/v1alpha1/namespaces/default/authpolicies";

fn policy(hosts: &[&str]) -> Value {
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "it"},
           "spec": {"externalHostnames": hosts, "requireAuth": false}})
}

/// A condition as the operator writes it.
fn condition(name: &str, status: &str) -> Value {
    json!({"type": name, "status": status, "reason": name, "message": "said by a test", "observedGeneration": 1,
           "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn status(conditions: &[Value]) -> String {
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "it"},
           "status": {"conditions": conditions}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_served_as_the_operator_needs_them() {
    let server = ApiServer::start().await.unwrap();
    status_is_a_place_of_its_own(&server).await;
    two_managers_share_the_conditions(&server).await;
    people_see_columns(&server).await;
}

async fn status_is_a_place_of_its_own(server: &ApiServer) {
    let mut document = policy(&["a.example.com"]);
    document["status"] = json!({"conditions": [condition("Accepted", "True")]});
    let made = server.create(POLICIES, &document).await.unwrap();
    assert_eq!((made.status, &made.body["status"]), (201, &Value::Null), "{}", made.body);
    assert_eq!(made.body["metadata"]["generation"], 1);

    let path = format!("{POLICIES}/it/status?fieldManager=gatewright&force=true");
    let written = server.apply_text(&path, &status(&[condition("Accepted", "True")])).await.unwrap();
    assert_eq!(written["status"]["conditions"][0]["type"], "Accepted");
    assert_eq!(written["metadata"]["generation"], 1, "a status is no new generation");
    assert_eq!(written["spec"], document["spec"], "and leaves the spec alone");

    let edited = server.merge(&format!("{POLICIES}/it"), &json!({"spec": {"requireAuth": true}, "status": null})).await;
    let edited = edited.unwrap().body;
    assert_eq!(edited["metadata"]["generation"], 2);
    assert_eq!(edited["status"]["conditions"][0]["type"], "Accepted", "an edit leaves the status alone");

    let wrong = server.apply_text(&path, &status(&[json!({"status": "True"})])).await;
    assert!(wrong.is_err(), "a condition has a type, a reason and a message");
}

/// Conditions are merged by type: who writes one does not take another's away.
async fn two_managers_share_the_conditions(server: &ApiServer) {
    let path = |manager: &str| format!("{POLICIES}/it/status?fieldManager={manager}");
    server.apply_text(&path("somebody"), &status(&[condition("Seen", "True")])).await.unwrap();
    let both = server.apply_text(&path("gatewright"), &status(&[condition("Accepted", "False")])).await.unwrap();
    let types: Vec<_> = both["status"]["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert!(types.len() == 2 && types.contains(&&json!("Seen")) && types.contains(&&json!("Accepted")), "{types:?}");
    let refused = server.apply_text(&path("somebody"), &status(&[condition("Accepted", "True")])).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("conflict") && text.contains("gatewright"), "the owner is named: {text}");
}

async fn people_see_columns(server: &ApiServer) {
    let columns = ["Hosts", "Issuers", "Accepted", "Programmed", "Age"];
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/authpolicies.gatewright.dev";
    let taken = wait::until("the names to be taken", LONG, || async {
        let body = server.get(crd).await.ok()?.body;
        (body["status"]["acceptedNames"]["shortNames"] == json!(["authpol"])).then_some(body)
    })
    .await
    .unwrap();
    assert_eq!(taken["status"]["acceptedNames"]["categories"], json!(["gatewright"]));
    let conditions = taken["status"]["conditions"].as_array().unwrap();
    assert!(!conditions.iter().any(|one| one["type"] == "NonStructuralSchema"), "{conditions:?}");
    let shown = taken["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
    assert_eq!(shown.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), columns);
}
