//! ServiceAccount tokens that a real API server makes, before a real data plane.

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{APPS, HOME},
    product, wait,
};

use crate::{Outcome, World, apply};

/// Accepts tokens of accounts, for the audience `app`.
fn accounts(host: &str, review: &str) -> Value {
    json!({"externalHostnames": [host], "authenticators": [{"name": "pods", "serviceAccount": {"audiences": ["app"], "review": review}}]})
}

async fn account(api: &ApiServer, name: &str) -> Outcome {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    let reply = api.create(&format!("/api/v1/namespaces/{APPS}/serviceaccounts"), &account).await?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    Ok(())
}

/// Waits until a token is answered so; a reviewed one holds for a few seconds, here and at the API server.
async fn until(world: &World, host: &str, token: &str, status: u16) -> Outcome {
    let bearer = format!("Bearer {token}");
    let what = format!("{status} for a token at {host}");
    wait::until(&what, wait::LONG * 2, || async {
        (world.plane.answer_with(host, &[("authorization", &bearer)]).await == status).then_some(())
    })
    .await
    .map_err(|late| {
        let output = world.plane.output();
        let told: Vec<&str> = output.lines().filter(|line| line.contains("WARN")).collect();
        PeerError::unreadable(late.to_string(), &told.join("\n"))
    })
}

/// What the chart grants with `authz.kubernetesTokens: TokenReview`.
async fn let_review(api: &ApiServer) -> Outcome {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]});
    let role = json!({"metadata": {"name": "reviews"}, "rules": [rule]});
    api.create(&format!("{rbac}/clusterroles"), &role).await?;
    let subject = json!({"kind": "ServiceAccount", "name": "gatewright-authz", "namespace": HOME});
    let binding = json!({"metadata": {"name": "reviews"}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reviews"}});
    let reply = api.create(&format!("{rbac}/clusterrolebindings"), &binding).await?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    Ok(())
}

#[tokio::test]
async fn tokens_of_accounts_are_taken_and_end() -> Outcome {
    let mut world = World::start().await?;
    for (name, review) in [("local", "Local"), ("reviewed", "TokenReview")] {
        apply(&world.api, name, accounts(&format!("{name}.test"), review)).await?;
        world.plane.until_answer(&format!("{name}.test"), 401).await?;
    }
    for name in ["builder", "keeper"] {
        account(&world.api, name).await?;
    }
    let token = world.api.account_token(APPS, "builder", &["app", "more"], &Value::Null).await?;
    until(&world, "local.test", &token, 200).await?;
    for audiences in [&[][..], &["other"]] {
        let other = world.api.account_token(APPS, "builder", audiences, &Value::Null).await?;
        until(&world, "local.test", &other, 401).await?;
        until(&world, "reviewed.test", &other, 401).await?;
    }
    let forged = format!("{}AAAA", &token.get(..token.len() - 4).unwrap_or_default());
    until(&world, "local.test", &forged, 401).await?;

    // Whom the API server does not answer cannot say yes.
    until(&world, "reviewed.test", &token, 503).await?;
    let_review(&world.api).await?;
    until(&world, "reviewed.test", &token, 200).await?;

    let path = format!("/api/v1/namespaces/{APPS}/serviceaccounts/builder");
    world.api.delete(&path).await?;
    until(&world, "reviewed.test", &token, 401).await?;
    until(&world, "local.test", &token, 200).await?;

    let kept = world.api.account_token(APPS, "keeper", &["app"], &Value::Null).await?;
    world.api.stop_apiserver();
    until(&world, "local.test", &kept, 200).await?;
    until(&world, "reviewed.test", &kept, 503).await?;
    world.api.start_apiserver().await?;
    until(&world, "reviewed.test", &kept, 200).await
}

/// No API server makes a token that ends within ten minutes, so that time is skipped.
#[tokio::test]
async fn a_token_that_is_over_is_expired() -> Outcome {
    let api = ApiServer::start().await?;
    tests::operator::install(&api).await?;
    let files = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).map_err(PeerError::io(name)).map(|()| path.display().to_string())
    };
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy",
        "metadata": {"name": "pods", "namespace": APPS}, "spec": accounts("pods.test", "Local")});
    let config = write("policy.yaml", &object.to_string())?;
    let token_file = write("token", &api.account_token(HOME, "gatewright-authz", &[], &Value::Null).await?)?;
    account(&api, "builder").await?;
    let token = api.account_token(APPS, "builder", &["app"], &Value::Null).await?;
    let (header, ca) = (format!("authorization: Bearer {token}"), api.ca_file().display().to_string());
    let common = ["explain", "-o", "json", "--config", &config, "--host", "pods.test", "--header", &header];
    let named = ["--kube-api-server", &api.url, "--kube-ca-file", &ca, "--kube-token-file", &token_file];
    for (more, code) in [
        (&named[..], ""),
        (&[&named[..], &["--now", "2100-01-01T00:00:00Z"]].concat(), "expired_token"),
        // Outside of a cluster, and nobody said where one is.
        (&[], "unavailable"),
    ] {
        let explained = product::command(&[&common[..], more].concat()).await?;
        let report: Value = serde_json::from_str(&explained.output)
            .map_err(|error| PeerError::unreadable(error.to_string(), &explained.output))?;
        assert_eq!(report["code"], code, "{report}");
    }
    Ok(())
}
