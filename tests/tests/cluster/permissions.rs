//! What the charts let the operator do, by the API server's own judgement.

use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    helm::{NAMESPACE, template},
    operator::PERMISSIONS,
};

use crate::objects::{collection, parse, title};

/// What the operator must not do, whatever was chosen: group, resource, verb.
const NEVER: [(&str, &str, &str); 12] = [
    ("", "pods", "create"),
    ("", "pods/exec", "create"),
    ("", "secrets", "delete"),
    ("", "serviceaccounts/token", "create"),
    ("", "users", "impersonate"),
    ("apps", "deployments", "patch"),
    ("gatewright.dev", "authpolicies", "patch"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("gatewright.dev", "authpolicies", "get"),
    ("", "namespaces", "watch"),
    ("coordination.k8s.io", "leases", "patch"),
    ("coordination.k8s.io", "leases", "delete"),
];

async fn install(server: &ApiServer, arguments: &[&str]) {
    for name in [NAMESPACE, "team-a", "team-b"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        server.create(&collection(&namespace), &namespace).await.unwrap();
    }
    let printed = template("gatewright", arguments).unwrap();
    assert!(printed.good, "{}", printed.err);
    for object in parse(&printed.out) {
        let kind = object["kind"].as_str().unwrap();
        if kind.contains("Role") || kind == "ServiceAccount" {
            let reply = server.create(&collection(&object), &object).await.unwrap();
            assert_eq!(reply.status, 201, "{}: {}", title(&object), reply.body);
        }
    }
}

async fn may(server: &ApiServer, namespace: &str, right: (&str, &str, &str), name: &str) -> bool {
    may_as(server, "gatewright-operator", namespace, right, name).await
}

async fn may_as(
    server: &ApiServer,
    account: &str,
    namespace: &str,
    (group, resource, verb): (&str, &str, &str),
    name: &str,
) -> bool {
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": format!("system:serviceaccount:{NAMESPACE}:{account}"),
        "resourceAttributes": {"group": group, "resource": resource, "subresource": sub, "verb": verb,
                               "namespace": namespace, "name": name}}});
    let reply = server.create(&collection(&review), &review).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["status"]["allowed"] == Value::Bool(true)
}

/// The object of its own that a permission is about, where the charts bound it by name.
fn own(resource: &str, verb: &str) -> &'static str {
    match (resource, verb) {
        (_, "create") => "",
        ("leases" | "clusterroles", _) => "gatewright-operator",
        ("secrets", "update") => "gatewright-last-good-15",
        ("secrets", "patch") => "gatewright-client-tls",
        ("configmaps", "patch") => "gatewright-ca",
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_what_it_needs_and_no_more() {
    let server = ApiServer::start().await.unwrap();
    install(&server, &["--set", "rbac.namespaces={team-a}"]).await;
    for (group, resource, verbs) in PERMISSIONS {
        for verb in verbs {
            let right = (group, resource, *verb);
            assert!(may(&server, NAMESPACE, right, own(resource, verb)).await, "{right:?} in its own namespace");
        }
    }
    for right in NEVER {
        for namespace in [NAMESPACE, "team-a", "team-b"] {
            assert!(!may(&server, namespace, right, "any").await, "{right:?} in {namespace}");
        }
    }
    for verb in ["get", "list", "watch"] {
        let policies = ("gatewright.dev", "authpolicies", verb);
        assert_eq!(may(&server, "team-b", policies, "").await, verb != "get", "policies count everywhere: {verb}");
        assert!(may(&server, "team-a", ("", "secrets", verb), "token-key").await, "Secrets where that was chosen");
        assert!(!may(&server, "team-b", ("", "secrets", verb), "token-key").await, "and nowhere else");
    }
    for (name, verbs) in [("gatewright-client-tls", "patch"), ("gatewright-last-used-15", "update"), ("token-key", "")]
    {
        for verb in ["patch", "update"] {
            let may = may(&server, "team-a", ("", "secrets", verb), name).await;
            assert_eq!(may, verbs == verb, "it changes what it made, and nothing else: {verb} {name}");
        }
    }
    assert!(!may(&server, NAMESPACE, ("coordination.k8s.io", "leases", "update"), "another").await);
    for own in ["gatewright-ca", "gatewright-seal", "gatewright-signing-keys"] {
        assert!(may(&server, NAMESPACE, ("", "secrets", "update"), own).await, "{own}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authz_asks_about_tokens_only_where_that_is_chosen() {
    for (value, reviews) in [("None", false), ("Local", false), ("TokenReview", true)] {
        let server = ApiServer::start().await.unwrap();
        install(&server, &["--set", &format!("authz.kubernetesTokens={value}")]).await;
        let right = ("authentication.k8s.io", "tokenreviews", "create");
        assert_eq!(may_as(&server, "gatewright-authz", NAMESPACE, right, "").await, reviews, "{value}");
        for right in [("", "secrets", "get"), ("authorization.k8s.io", "subjectaccessreviews", "create")] {
            assert!(!may_as(&server, "gatewright-authz", NAMESPACE, right, "any").await, "{value} {right:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_namespaces_are_two_namespaces() {
    let server = ApiServer::start().await.unwrap();
    install(&server, &["--set", "operator.watchNamespaces={team-a}"]).await;
    let policies = ("gatewright.dev", "authpolicies", "list");
    assert!(may(&server, "team-a", policies, "").await);
    assert!(may(&server, NAMESPACE, policies, "").await, "its own is watched too: the fallback lives there");
    assert!(!may(&server, "team-b", policies, "").await);
    assert!(!may(&server, "team-b", ("", "configmaps", "get"), "any").await);
    assert!(may(&server, "team-a", ("", "configmaps", "get"), "any").await);
}
