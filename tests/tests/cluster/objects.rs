//! Documents of YAML and the paths of the API that they belong to.

use serde::Deserialize;
use serde_json::Value;

/// Every document of a stream that is not empty.
pub(crate) fn parse(stream: &str) -> Vec<Value> {
    let all = serde_yaml::Deserializer::from_str(stream).map(|one| Value::deserialize(one).unwrap());
    all.filter(|one| !one.is_null()).collect()
}

/// Kind to plural, and whether it lies in namespaces. A kind that is not here fails the test that needs it.
fn kind(name: &str) -> (&'static str, bool) {
    match name {
        "AuthPolicy" => ("authpolicies", true),
        "ClusterRole" => ("clusterroles", false),
        "ClusterRoleBinding" => ("clusterrolebindings", false),
        "ConfigMap" => ("configmaps", true),
        "CustomResourceDefinition" => ("customresourcedefinitions", false),
        "DataSource" => ("datasources", true),
        "Deployment" => ("deployments", true),
        "HorizontalPodAutoscaler" => ("horizontalpodautoscalers", true),
        "Namespace" => ("namespaces", false),
        "NetworkPolicy" => ("networkpolicies", true),
        "Pod" => ("pods", true),
        "PodDisruptionBudget" => ("poddisruptionbudgets", true),
        "Role" => ("roles", true),
        "RoleBinding" => ("rolebindings", true),
        "Secret" => ("secrets", true),
        "Service" => ("services", true),
        "ServiceAccount" => ("serviceaccounts", true),
        "ServiceMonitor" => ("servicemonitors", true),
        "SubjectAccessReview" => ("subjectaccessreviews", false),
        other => panic!("add {other} to this table"),
    }
}

/// The path of an object's collection.
pub(crate) fn collection(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { "apis" } else { "api" };
    let (plural, namespaced) = kind(object["kind"].as_str().unwrap());
    if namespaced {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        format!("/{root}/{version}/namespaces/{namespace}/{plural}")
    } else {
        format!("/{root}/{version}/{plural}")
    }
}

/// `kind/name`, for messages.
pub(crate) fn title(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// The path that creates an object as `kubectl apply` does, which refuses unknown fields; nothing is kept.
pub(crate) fn trial(object: &Value) -> String {
    format!("{}?dryRun=All&fieldValidation=Strict&fieldManager=tests", collection(object))
}
