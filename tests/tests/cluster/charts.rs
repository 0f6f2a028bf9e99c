//! The charts: what Helm makes of each `ci/*-values.yaml`, whether the API server takes it, and what the charts refuse.
//!
//! Renders are committed beside the values, as `ci/golden/*.yaml`: a change of a template is seen in review. To renew them,
//! and the definitions: `make charts`.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    helm::{self, NAMESPACE, helm, template},
    product::{self, texts_below},
};

use crate::objects::{collection, parse, title, trial};

const SENTENCES: [(&[&str], &str); 6] = [
    (&["broker.enabled=true"], "this version of Gatewright has no broker"),
    (&["authz.autoscaling.enabled=true", "authz.autoscaling.minReplicas=20"], "minReplicas is over maxReplicas"),
    (&["authz.drainSeconds=60"], "terminationGracePeriodSeconds is less than"),
    (&["rbac.secrets=Cluster", "rbac.namespaces={demo}"], "rbac.namespaces goes with rbac.secrets: Namespaces"),
    (&["metrics.serviceMonitor.enabled=true"], "the NetworkPolicy lets nobody scrape"),
    (&["operator.watchNamespaces={a}", "operator.grants.b={b.example.com}"], "operator.grants names the namespace b"),
];

/// Names of the value files, such as `default`.
fn cases() -> Vec<String> {
    let files = fs::read_dir(helm::chart("gatewright").join("ci")).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix("-values.yaml")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
}

fn render(case: &str) -> String {
    let values = helm::chart("gatewright").join(format!("ci/{case}-values.yaml"));
    let printed = template("gatewright", &["-f", values.to_str().unwrap()]).unwrap();
    assert!(printed.good, "{case}: {}", printed.err);
    printed.out
}

/// Compares a file with what it should be; renews it when asked to.
fn compare(file: &PathBuf, wanted: &str) {
    if env::var_os("GATEWRIGHT_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, wanted).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(committed == wanted, "{} is stale: run `make charts` and read the difference", file.display());
}

fn objects(case: &str) -> Vec<Value> {
    parse(&render(case))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn renders_are_as_committed() {
    for case in cases() {
        compare(&helm::chart("gatewright").join(format!("ci/golden/{case}.yaml")), &render(&case));
    }
}

#[tokio::test]
async fn definitions_are_those_of_the_product() {
    let printed = product::command(&["crds"]).await.unwrap().output;
    let mut seen = 0;
    for text in printed.split("---\n").filter(|text| text.contains("kind: CustomResourceDefinition")) {
        assert!(!text.contains("{{"), "Helm would read this as its own");
        let plural = text.lines().find_map(|line| line.trim().strip_prefix("plural: ")).unwrap();
        let keep = "metadata:\n  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n";
        let body = text.replacen("metadata:\n", keep, 1);
        let wanted = format!("{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n");
        compare(&helm::chart("gatewright-crds").join(format!("templates/{plural}.yaml")), &wanted);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// Deleting the definitions deletes every policy: what decides over it must not change unseen.
#[test]
fn definitions_stay_unless_told_otherwise() {
    let render = |arguments: &[&str]| {
        let printed = template("gatewright-crds", arguments).unwrap();
        assert!(printed.good, "{}", printed.err);
        parse(&printed.out)
    };
    let kept = render(&[]);
    assert_eq!(kept.len(), 2);
    for definition in &kept {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{}", title(definition));
    }
    let loose = render(&["--set", "crds.keep=false"]);
    assert!(loose.len() == 2 && loose.iter().all(|one| one["metadata"]["annotations"].is_null()));
    assert_eq!(render(&["--set", "crds.install=false"]), [Value::Null; 0]);
}

#[test]
fn lint_finds_nothing() {
    for chart in ["gatewright-crds", "gatewright"] {
        let printed = helm(&["lint", "--strict", helm::chart(chart).to_str().unwrap()]).unwrap();
        assert!(printed.good, "{chart}: {}{}", printed.out, printed.err);
    }
}

#[test]
fn values_that_do_not_exist_are_refused_wherever_they_stand() {
    let values: Value =
        serde_yaml::from_str(&fs::read_to_string(helm::chart("gatewright").join("values.yaml")).unwrap()).unwrap();
    // Where names are the user's own, or another API's, anything goes.
    let free = ["labels", "annotations", "grants", "nodeSelector", "affinity", "resources", "requests", "limits"];
    let mut places = vec![String::new()];
    let mut queue = vec![(String::new(), values)];
    while let Some((path, value)) = queue.pop() {
        for (name, member) in value.as_object().into_iter().flatten() {
            let is_free = free.iter().any(|word| name.to_lowercase().ends_with(&word.to_lowercase()));
            if member.is_object() && !is_free {
                places.push(format!("{path}{name}."));
                queue.push((format!("{path}{name}."), member.clone()));
            }
        }
    }
    assert!(places.len() > 15, "{places:?}");
    for place in places {
        let printed = template("gatewright", &["--set", &format!("{place}typo=1")]).unwrap();
        assert!(!printed.good && printed.err.contains("typo"), "{place}typo: {}", printed.err);
    }
    let printed = template("gatewright-crds", &["--set", "crds.typo=1"]).unwrap();
    assert!(!printed.good && printed.err.contains("typo"), "{}", printed.err);
}

#[test]
fn values_that_do_not_go_together_are_refused_with_a_sentence() {
    for (settings, sentence) in SENTENCES {
        let mut arguments = Vec::new();
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let printed = template("gatewright", &arguments).unwrap();
        assert!(!printed.good && printed.err.contains(sentence), "{settings:?}: {}", printed.err);
    }
}

#[test]
fn every_value_is_explained_and_used() {
    let text = fs::read_to_string(helm::chart("gatewright").join("values.yaml")).unwrap();
    let mut previous = "";
    for line in text.lines() {
        let is_leaf = line.trim_end().split_once(": ").is_some_and(|(key, _)| !key.contains('#'));
        if is_leaf && !line.trim_start().starts_with(['#', '-']) {
            // Members of a default that is a map of the user's are not values of ours.
            let is_default =
                ["requests", "limits", "grafana_dashboard"].iter().any(|name| line.trim_start().starts_with(name));
            assert!(is_default || previous.trim_start().starts_with('#'), "`{line}` has a comment before it");
        }
        previous = line;
    }
    let values: Value = serde_yaml::from_str(&text).unwrap();
    let templates = templates();
    for leaf in leaves("", &values) {
        let words: Vec<&str> = leaf.split('.').collect();
        // As a whole; or what holds it is handed on, and its own name is asked for there.
        let is_used = (1..=words.len()).any(|known| {
            let (place, rest) = words.split_at(known);
            let rest = format!(".{}", rest.join("."));
            is_asked(&templates, &format!(".Values.{}", place.join(".")))
                && (rest == "." || place.ends_with(&["resources"]) || is_asked(&templates, &rest))
        });
        assert!(is_used || leaf.starts_with("metrics.dashboard.labels."), "no template asks for {leaf}");
    }
}

fn templates() -> String {
    let folder = helm::chart("gatewright").join("templates");
    let texts = texts_below(&folder).into_iter().map(|(_, text)| text);
    texts.collect()
}

/// Paths to the values of a document that are no maps.
fn leaves(path: &str, value: &Value) -> Vec<String> {
    match value.as_object() {
        Some(members) if !members.is_empty() => {
            let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            members.iter().flat_map(|(name, value)| leaves(&below(name), value)).collect()
        }
        _ => vec![path.to_owned()],
    }
}

/// Whether this path ends there.
fn is_asked(templates: &str, path: &str) -> bool {
    templates
        .split(path)
        .skip(1)
        .any(|rest| !rest.starts_with(|next: char| next == '.' || next == '_' || next.is_ascii_alphanumeric()))
}

#[test]
fn pods_are_restricted_and_hold_no_token_that_they_do_not_need() {
    for case in cases() {
        let all = objects(&case);
        let templates =
            of_kind(&all, "Deployment").into_iter().map(|one| (title(one), &one["spec"]["template"]["spec"]));
        let pods = of_kind(&all, "Pod").into_iter().map(|one| (title(one), &one["spec"]));
        let specs: Vec<_> = templates.chain(pods).collect();
        assert!(specs.len() >= 2, "{case}");
        for (name, spec) in specs {
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{case} {name}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{case} {name}");
            assert_eq!(spec["automountServiceAccountToken"], false, "{case} {name}");
            for container in spec["containers"].as_array().unwrap() {
                let wanted = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
                assert_eq!(container["securityContext"], wanted, "{case} {name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{case} {name} has a bound");
            }
            for volume in spec["volumes"].as_array().unwrap() {
                for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
                    let token = &source["serviceAccountToken"];
                    assert!(
                        token.is_null() || token["expirationSeconds"].as_u64().is_some_and(|life| life <= 86_400),
                        "{case} {name}"
                    );
                    let for_api = name == "Deployment/gatewright-operator" || case == "service-accounts";
                    assert!(token.is_null() || for_api || token["audience"] == "gatewright-operator", "{case} {name}");
                }
            }
        }
    }
}

#[test]
fn roles_name_what_they_allow() {
    for case in cases() {
        for role in objects(&case).iter().filter(|one| matches!(one["kind"].as_str(), Some("Role" | "ClusterRole"))) {
            for rule in role["rules"].as_array().unwrap() {
                let text = rule.to_string();
                assert!(!text.contains('*'), "{case} {}: {text}", title(role));
                for verb in ["escalate", "bind", "impersonate", "pods/exec", "pods/attach"] {
                    assert!(!text.contains(&format!("\"{verb}\"")), "{case} {}: {text}", title(role));
                }
            }
        }
        let everywhere = objects(&case).into_iter().filter(|one| one["kind"] == "ClusterRoleBinding");
        let names: BTreeSet<String> =
            everywhere.map(|one| one["roleRef"]["name"].as_str().unwrap().to_owned()).collect();
        let reads_secrets = names.contains("gatewright-operator-values");
        assert_eq!(reads_secrets, case == "cluster-secrets", "{case}: Secrets everywhere only where that is chosen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_render() {
    let server = ApiServer::start().await.unwrap();
    let monitors = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "selector": {"type": "object", "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}}},
                    "endpoints": {"type": "array", "items": {"type": "object", "properties": {
                        "port": {"type": "string"}, "path": {"type": "string"},
                        "interval": {"type": "string"}, "scrapeTimeout": {"type": "string"}}}}}}}}}}]}});
    let made = server.create(&collection(&monitors), &monitors).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.body);
    tests::wait::until("ServiceMonitors to be served", tests::wait::LONG, || async {
        let reply = server.get("/apis/monitoring.coreos.com/v1/servicemonitors").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await
    .unwrap();
    for name in [NAMESPACE, "team-a", "team-b"] {
        // Pods that are not restricted are refused here, not only warned about.
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let reply = server.create(&collection(&namespace), &namespace).await.unwrap();
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    for case in cases() {
        for object in objects(&case) {
            take(&server, &case, &object).await;
            if object["kind"] == "Deployment" {
                let mut metadata = object["spec"]["template"]["metadata"].clone();
                metadata["name"] = json!("one");
                metadata["namespace"] = json!(NAMESPACE);
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": object["spec"]["template"]["spec"]});
                take(&server, &case, &pod).await;
            }
        }
    }
}

async fn take(server: &ApiServer, case: &str, object: &Value) {
    let reply = server.create(&trial(object), object).await.unwrap();
    assert_eq!(reply.status, 201, "{case} {}: {}", title(object), reply.body);
}
