//! `kubectl apply` and `gatewright check` agree: on the documents of users, on those that must be refused, on every field.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tests::{apiserver::ApiServer, helm, product};

use crate::objects::{collection, parse, title, trial};

/// A row of `crds/tests/refused.yaml`.
#[derive(Deserialize)]
struct Refused {
    name: String,
    kind: Option<String>,
    path: String,
    message: Option<String>,
    #[serde(default)]
    pruned: bool,
    spec: Value,
}

const NAMESPACES: [&str; 6] = ["demo", "research", "agentflow", "cq", "aiq", "tools"];

fn folder() -> PathBuf {
    helm::root().join("crds/tests")
}

fn policy(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "demo"}, "spec": spec})
}

async fn make_namespaces(server: &ApiServer, names: impl IntoIterator<Item = String>) {
    for name in names {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let reply = server.create(&collection(&namespace), &namespace).await.unwrap();
        assert!(matches!(reply.status, 201 | 409), "namespace {name}: {}", reply.body);
    }
}

/// The text of a refusal, in which a path such as `spec.routes[0]` is written as we write it.
fn message(body: &Value) -> String {
    body["message"].as_str().unwrap_or_default().to_owned()
}

/// Whether the API server blames the place that `check` names, or one around it: a rule is reported where it stands in the
/// schema, and `check` says which of the fields under it has to change.
fn blames(body: &Value, path: &str) -> bool {
    // A member of a map is `['key']` to us, `[key]` or `.key` to the server.
    let plain = |text: &str| text.replace("['", ".").replace('[', ".").replace(['\'', ']'], "");
    let causes = body["details"]["causes"].as_array().into_iter().flatten();
    let mut fields = causes.filter_map(|cause| cause["field"].as_str()).map(plain);
    fields.any(|field| plain(path).starts_with(&field) || field.starts_with(&plain(path)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_and_check_agree() {
    let server = ApiServer::start().await.unwrap();
    make_namespaces(&server, NAMESPACES.map(str::to_owned)).await;
    refused_documents_are_refused(&server).await;
    every_field_is_taken(&server).await;
    users_documents_are_taken_as_check_says(&server).await;
}

async fn refused_documents_are_refused(server: &ApiServer) {
    let rows: Vec<Refused> = serde_yaml::from_str(&fs::read_to_string(folder().join("refused.yaml")).unwrap()).unwrap();
    assert!(rows.len() > 50, "only {} rows", rows.len());
    for row in rows {
        let document = policy(row.kind.as_deref().unwrap_or("AuthPolicy"), "it", &row.spec);
        let reply = server.create(&trial(&document), &document).await.unwrap();
        let text = message(&reply.body);
        if row.pruned {
            assert!(reply.status == 400 && text.contains("unknown field"), "{}: {} {text}", row.name, reply.status);
            // Without validation on the server's side the field is dropped, and never kept.
            let lenient = format!("{}?dryRun=All", collection(&document));
            let reply = server.create(&lenient, &document).await.unwrap();
            assert_eq!(reply.status, 201, "{}: {}", row.name, reply.body);
            assert_ne!(reply.body["spec"], document["spec"], "{}: the field is gone", row.name);
            continue;
        }
        assert_eq!(reply.status, 422, "{}: {text}", row.name);
        assert!(blames(&reply.body, &row.path), "{}: {} is blamed in: {}", row.name, row.path, reply.body);
        if let Some(expected) = row.message {
            assert!(text.contains(&expected), "{}: the text of `check` is in: {text}", row.name);
        }
    }
}

async fn every_field_is_taken(server: &ApiServer) {
    let documents = parse(&fs::read_to_string(folder().join("every.yaml")).unwrap());
    let [document] = documents.as_slice() else { panic!("one document") };
    let mut document = document.clone();
    document["metadata"]["namespace"] = json!("demo");
    let reply = server.create(&trial(&document), &document).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.body);
    assert_eq!(reply.body["spec"], document["spec"], "nothing is dropped and nothing added");
}

/// `check` says of each object whether this build has every field; the server's schema is that build's.
async fn users_documents_are_taken_as_check_says(server: &ApiServer) {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder().join("documents")).unwrap() {
        let path = entry.unwrap().path();
        let documents = parse(&fs::read_to_string(&path).unwrap());
        let namespaces = documents.iter().filter_map(|one| one["metadata"]["namespace"].as_str().map(str::to_owned));
        make_namespaces(server, namespaces.collect::<BTreeSet<_>>()).await;
        let checked = product::command(&["check", "-o", "json", &path.display().to_string()]).await.unwrap();
        let start = checked.output.find('[').unwrap_or_default();
        let verdicts: Vec<Value> = serde_json::from_str(&checked.output[start..]).unwrap();
        for document in documents {
            let reply = server.create(&trial(&document), &document).await.unwrap();
            let name = format!("{} of {}", title(&document), path.display());
            if document["apiVersion"] == "gatewright.dev/v1alpha1" {
                seen.insert(name.clone());
                assert_eq!(reply.status == 201, is_known(&verdicts, &document), "{name}: {}", reply.body);
                assert!(
                    reply.status == 201 || message(&reply.body).contains("unknown field"),
                    "{name}: {}",
                    reply.body
                );
            } else {
                assert_eq!(reply.status, 201, "{name}: {}", reply.body);
            }
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

/// Whether `check` misses no field of this object.
fn is_known(verdicts: &[Value], document: &Value) -> bool {
    let namespace = document["metadata"]["namespace"].as_str().unwrap_or("default");
    let name = format!("{namespace}/{}", document["metadata"]["name"].as_str().unwrap());
    let verdict = verdicts.iter().find(|one| one["kind"] == document["kind"] && one["name"] == name.as_str());
    let conditions =
        verdict.unwrap_or_else(|| panic!("check has a verdict on {name}"))["conditions"].as_array().unwrap();
    !conditions.iter().any(|one| one["message"].as_str().unwrap_or_default().contains("this build does not have `"))
}
