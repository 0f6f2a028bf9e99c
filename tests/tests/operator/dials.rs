//! The operator dials its API server and its leader, and nothing that a policy or a data source names.

use std::{io, net::TcpListener};

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{APPS, DataPlane, Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, apply, apply_secret, open, until_condition};

/// Whether anybody has connected since the last look.
fn was_dialled(listener: &TcpListener) -> Result<bool, PeerError> {
    match listener.accept() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(PeerError::io("the listener")(error)),
    }
}

/// A policy that names `url` wherever one can be named.
fn everywhere(url: &str) -> Value {
    let client = json!({"clientID": "me", "clientSecretRef": {"name": "key", "key": "jwt"}});
    let introspection = json!({"endpoint": format!("{url}/introspect"), "client": client});
    json!({
        "externalHostnames": ["named.test"],
        "authenticators": [
            {"name": "found", "jwt": {"issuer": url, "audiences": ["api"]}},
            {"name": "told", "jwt": {"issuer": format!("{url}/told"), "jwksURI": format!("{url}/keys"), "audiences": ["api"]}},
            {"name": "asked", "introspection": introspection},
            {"name": "hook", "webhook": {"url": format!("{url}/verify"), "accepts": {"prefix": "hook_"}}},
        ],
    })
}

#[tokio::test]
async fn nothing_that_a_policy_names_is_dialled() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a listener"))?;
    listener.set_nonblocking(true).map_err(PeerError::io("a listener"))?;
    let url = format!("http://{}", listener.local_addr().map_err(PeerError::io("a listener"))?);
    let api = ApiServer::start().await?;
    install(&api).await?;
    let mut operator = Operator::start(&api, "operator-0").await?;
    operator.until_ready().await?;
    apply_secret(&api, "key", "jwt", "0123456789abcdef0123456789abcdef").await?;
    let source = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "DataSource", "metadata": {"name": "named"},
        "spec": {"displayName": "Named", "requiresAuth": false, "mcpServer": {"url": url, "transport": "StreamableHTTP"}}});
    let at = format!("/apis/gatewright.dev/v1alpha1/namespaces/{APPS}/datasources/named?fieldManager=person");
    api.apply_text(&at, &source.to_string()).await?;
    apply(&api, "named", everywhere(&url)).await?;
    until_condition(&api, "named", "Accepted", "True", "Accepted").await?;
    until_condition(&api, "named", "ResolvedRefs", "True", "ResolvedRefs").await?;
    // Nobody enforces it, so whoever dials is the operator. What comes later has all been done by then.
    until_condition(&api, "named", "Programmed", "False", "NoDataPlane").await?;
    apply(&api, "later", open("later.test")).await?;
    until_condition(&api, "later", "Programmed", "False", "NoDataPlane").await?;
    assert!(!was_dialled(&listener)?, "the operator dials what a policy names");
    // The address is one that can be dialled.
    let _plane = DataPlane::start(&api, &operator, "authz-0").await?;
    wait::until("the data plane to dial it", LONG, || async { was_dialled(&listener).ok().filter(|dialled| *dialled) })
        .await
        .map(drop)
}
