//! The documents of real users, and documents that must be refused, through every check that needs no cluster.

#![cfg(test)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use crds::{
    schema::{Problem, ProblemKind},
    v1alpha1::{self, AuthPolicy, DataSource, check, crds, not_built, rules},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A row of `refused.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    name: String,
    kind: Option<String>,
    path: String,
    message: Option<String>,
    /// The API server drops the field instead, or refuses it, as the client asks.
    #[serde(default)]
    pruned: bool,
    spec: Value,
}

fn text(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

/// The documents of ours in a file of the contract.
fn documents(name: &str) -> Vec<Value> {
    let text = text(&format!("documents/{name}.yaml"));
    let all = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    all.filter(|document| document["apiVersion"] == v1alpha1::API_VERSION).collect()
}

fn refused() -> Vec<Refused> {
    serde_yaml::from_str(&text("refused.yaml")).unwrap()
}

fn document(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": v1alpha1::API_VERSION, "kind": kind, "metadata": {"name": "it", "namespace": "demo"}, "spec": spec})
}

#[test]
fn documents_of_this_build_are_taken_as_they_are() {
    for (file, count) in [("minimal", 1), ("aiq", 1), ("agentflow", 1), ("cq", 1)] {
        let read = documents(file);
        assert_eq!(read.len(), count, "{file}");
        for document in read {
            assert_eq!(check(&document), [], "{file}");
            let policy: AuthPolicy = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(&policy.spec).unwrap(), document["spec"], "{file} is kept word by word");
        }
    }
}

#[test]
fn examples_are_taken() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let policies = fs::read_dir(examples).unwrap().map(|folder| folder.unwrap().path().join("policy.yaml"));
    let mut count = 0;
    for file in policies {
        for document in serde_yaml::Deserializer::from_str(&fs::read_to_string(&file).unwrap()) {
            let document = Value::deserialize(document).unwrap();
            if document["apiVersion"] == v1alpha1::API_VERSION {
                assert_eq!(check(&document), [], "{}", file.display());
                count += 1;
            }
        }
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn every_field_is_taken_and_read() {
    let document: Value = serde_yaml::from_str(&text("every.yaml")).unwrap();
    assert_eq!(check(&document), []);
    let policy: AuthPolicy = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&policy.spec).unwrap(), document["spec"]);
    // Every property of the schema occurs in the document: a new field is a line there.
    let schema =
        serde_json::to_value(crds()[0].spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
            .unwrap();
    let mut missing = Vec::new();
    unused(&schema["properties"]["spec"], &[&document["spec"]], "spec", &mut missing);
    assert_eq!(missing, [""; 0]);
}

/// Properties of `schema` that none of `values` has.
fn unused(schema: &Value, values: &[&Value], path: &str, missing: &mut Vec<String>) {
    if schema["type"] == "array" {
        let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        return unused(&schema["items"], &items, &format!("{path}[]"), missing);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let members: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        let path = format!("{path}.{name}");
        // The shapes of forward, require, credentials, clients, bundles and prefilters repeat; once each is enough.
        let repeats = [
            "spec.forward.",
            "spec.require.",
            "spec.errors.message",
            "].credentials[].",
            ".headers[].",
            ".replaceCredential.clientCredentials.client.",
            ".replaceCredential.tokenExchange.client.",
            ".caBundleRef.",
            ".accepts.",
        ]
        .iter()
        .any(|part| path.contains(part));
        if members.is_empty() && !repeats {
            missing.push(path.clone());
        }
        unused(property, &members, &path, missing);
    }
}

#[test]
fn data_sources_are_taken_as_they_are() {
    let sources: Vec<Value> =
        documents("datasources").into_iter().filter(|document| document["kind"] == "DataSource").collect();
    assert_eq!(sources.len(), 2);
    for document in sources {
        assert_eq!(check(&document), []);
        let source: DataSource = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(&source.spec).unwrap(), document["spec"]);
    }
}

#[test]
fn documents_of_later_builds_lack_support_and_nothing_else() {
    let mut paths = BTreeSet::new();
    for file in ["datasources", "full"] {
        for document in documents(file).into_iter().filter(|document| document["kind"] == "AuthPolicy") {
            let problems = check(&document);
            // The ways to replace a credential are all built.
            let built = document["metadata"]["name"] == "replacements";
            assert_eq!(problems.is_empty(), built, "{file} is beyond this build");
            for problem in &problems {
                assert_eq!(problem.kind, ProblemKind::Unsupported, "{file}: {problem}");
                assert!(problem.message.starts_with("this build does not have `"), "{file}: {problem}");
            }
            paths.extend(problems.into_iter().map(|problem| problem.path));
        }
    }
    for path in ["spec.routes[2].preflight", "spec.targetRefs"] {
        assert!(paths.contains(path), "{path} is reported: {paths:?}");
    }
}

#[test]
fn refused_documents_have_one_problem_at_its_place() {
    for row in refused() {
        let problems = check(&document(row.kind.as_deref().unwrap_or("AuthPolicy"), &row.spec));
        let [problem] = problems.as_slice() else { panic!("{}: {problems:#?}", row.name) };
        assert_eq!(problem.path, row.path, "{}: {}", row.name, problem.message);
        assert_eq!(problem.kind, if row.pruned { ProblemKind::Unknown } else { ProblemKind::Invalid }, "{}", row.name);
        if let Some(message) = row.message {
            assert!(problem.message.ends_with(&message), "{}: {}", row.name, problem.message);
        }
    }
}

#[test]
fn every_rule_of_the_cluster_is_restated() {
    let rows = refused();
    for rule in rules::ALL.iter().filter(|rule| !rule.rule.contains("oldSelf")) {
        // The one rule that needs a document too long to be a row has its own test below.
        let shown =
            rows.iter().any(|row| row.message.as_deref() == Some(rule.message)) || rule.message.contains("1024 bytes");
        assert!(shown, "no document of refused.yaml breaks `{}`", rule.rule);
    }
}

#[test]
fn a_path_is_measured_in_bytes() {
    let path = |letter: &str| format!("/{}", letter.repeat(1023));
    let with = |path: String| check(&document("AuthPolicy", &json!({"routes": [{"name": "a", "paths": [path]}]})));
    assert_eq!(with(path("a")), []);
    let problems = with(path("ä"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("1024 bytes"), "{problems:?}");
}

#[test]
fn whatever_the_checks_take_the_types_read() {
    // Nulls are absent members, wherever they stand.
    let spec = json!({
        "externalHostnames": null, "routes": null, "internal": {"hostnames": null}, "forward": {"headers": null},
        "authenticators": [{"name": "sso", "claims": null, "jwt": {"issuer": "https://a.example", "audiences": ["a"], "algorithms": null, "jwks": null}}],
    });
    let document = document("AuthPolicy", &spec);
    assert_eq!(check(&document), []);
    let policy: AuthPolicy = serde_json::from_value(document).unwrap();
    assert!(policy.spec.routes.is_empty() && policy.spec.authenticators[0].jwt.as_ref().unwrap().jwks.is_none());
}

#[test]
fn what_is_not_built_is_not_in_the_types() {
    for path in ["spec.targetRefs", "spec.routes[].preflight", "spec.forward.connection"] {
        assert!(not_built(path), "{path}");
    }
    for path in ["spec", "spec.routes", "spec.authenticators[].jwt", "spec.limit", "limits", "spec.routes[].cors", ""] {
        assert!(!not_built(path), "{path}");
    }
    let kinds: Vec<String> = crds().into_iter().map(|definition| definition.spec.names.kind).collect();
    assert_eq!(kinds, [v1alpha1::AUTH_POLICY, v1alpha1::DATA_SOURCE]);
    // A data source has no gaps: the same word is a mistake there.
    let problems = check(&document("DataSource", &json!({"limits": {}})));
    assert!(matches!(problems.as_slice(), [Problem { kind: ProblemKind::Unknown, .. }]), "{problems:?}");
}

#[test]
fn a_document_of_another_kind_is_not_judged() {
    for other in [
        json!({}),
        json!(null),
        json!([1]),
        json!({"kind": "AuthPolicy", "apiVersion": "v1"}),
        document("Policy", &json!({})),
    ] {
        let problems = check(&other);
        assert!(problems.len() == 1 && problems[0].path == "kind", "{problems:?}");
    }
}
