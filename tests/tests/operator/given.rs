//! A CA that somebody else makes, as cert-manager does: waited for, used, and followed when it is renewed, without a restart.

use tests::{
    PeerError,
    apiserver::ApiServer,
    issued::Issued,
    operator::{DataPlane, HOME, Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, World, marker};

/// Puts a new one into the Secret.
async fn issue(api: &ApiServer, name: &str) -> Result<Issued, PeerError> {
    let issued = Issued::new(name)?;
    let path = format!("/api/v1/namespaces/{HOME}/secrets/issued?fieldManager=cert-manager&force=true");
    api.apply_text(&path, &issued.secret("issued").to_string()).await?;
    Ok(issued)
}

/// Waits until all these certificates are published, and so many in all.
async fn until_believed(api: &ApiServer, certificates: &[&Issued]) -> Outcome {
    let path = format!("/api/v1/namespaces/{HOME}/configmaps/gatewright-ca");
    wait::until("the CA certificates to be published", LONG, || async {
        let bundle = api.get(&path).await.ok()?.body["data"]["ca.crt"].as_str()?.to_owned();
        let all = certificates.iter().all(|one| one.is_in(&bundle));
        (all && bundle.matches("BEGIN").count() == certificates.len()).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_ca_of_somebody_else_is_waited_for_used_and_followed() -> Outcome {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let mut operator = Operator::prepare(&api, "operator-0").await?;
    operator.flags(&["--tls-secret", "issued"]);
    operator.launch()?;
    wait::until("the operator to say what it waits for", LONG, || async {
        operator.output().contains("Secret issued, from which the CA is to be taken").then_some(())
    })
    .await?;
    operator.must_run()?;
    assert_ne!(operator.admin("/readyz").await.0, 200, "without a CA nobody can be served");

    let first = issue(&api, "first").await?;
    operator.until_ready().await?;
    until_believed(&api, &[&first]).await?;
    let plane = DataPlane::start(&api, &operator, "authz-0").await?;
    wait::until("the data plane to be ready", LONG, || async { plane.is_ready().await.then_some(()) }).await?;
    let world = World { plane, operator, api };
    marker(&world, "before").await?;

    let second = issue(&world.api, "second").await?;
    until_believed(&world.api, &[&second, &first]).await?;
    marker(&world, "after").await?;
    // Gone: the one in use stays, and new data planes are served.
    world.api.delete(&format!("/api/v1/namespaces/{HOME}/secrets/issued")).await?;
    let other = DataPlane::start(&world.api, &world.operator, "authz-1").await?;
    wait::until("another data plane to be ready", LONG, || async { other.is_ready().await.then_some(()) }).await?;
    marker(&world, "without").await
}
