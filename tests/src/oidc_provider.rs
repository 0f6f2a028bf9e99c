//! A certified OpenID provider (npm `oidc-provider`) in a process of its own: what we think a provider does is
//! checked against one that others wrote.

use std::{
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

use serde_json::Value;

use crate::{
    PeerError,
    client::plain_client,
    process::Process,
    tools,
    wait::{self, LONG},
};

/// The running provider, with one machine client.
#[derive(Debug)]
pub struct OidcProvider {
    /// Its identifier.
    pub issuer: String,
    /// PKCS#8 in PEM: what its client `key` signs assertions with.
    pub private_key: String,
    _process: Process,
    // The script ends when this closes, also when the test is killed.
    _lifeline: Option<ChildStdin>,
}

impl OidcProvider {
    /// Starts it; its log goes to `folder`. It needs Node.js 20 or newer.
    pub async fn start(folder: &Path) -> Result<Self, PeerError> {
        let script = tools::installed("oidc-provider")?;
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped());
        let mut process = Process::start("oidc-provider", &mut command, folder.join("oidc-provider.log"))?;
        let lifeline = process.take_stdin();
        let (issuer, private_key) = wait::until("oidc-provider to listen", LONG, || {
            let line = process.must_run().map(|()| announced(&process.output()));
            async move { line.transpose() }
        })
        .await??;
        Ok(Self { issuer, private_key, _process: process, _lifeline: lifeline })
    }

    /// An access token for `resource` by the client-credentials grant (RFC 6749, 4.4; RFC 8707).
    pub async fn access_token(&self, resource: &str) -> Result<String, PeerError> {
        let discovery = format!("{}/.well-known/openid-configuration", self.issuer);
        let endpoint = self.fetch(plain_client()?.get(discovery)).await?;
        let endpoint = endpoint["token_endpoint"].as_str().unwrap_or_default().to_owned();
        let form =
            format!("grant_type=client_credentials&scope=tools%3Acall&resource={}", resource.replace(':', "%3A"));
        let request = plain_client()?
            .post(endpoint)
            .basic_auth("m2m", Some("m2m-secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = self.fetch(request).await?;
        match answer["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(PeerError::unreadable("the answer to the client-credentials grant", &answer)),
        }
    }

    /// An opaque access token of alice with the scopes `openid`, `profile` and `email`.
    pub async fn sign_in(&self) -> Result<String, PeerError> {
        let answer = self.fetch(plain_client()?.post(format!("{}/sign-in", self.issuer))).await?;
        let token = answer["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| PeerError::unreadable("the answer to the sign-in", &answer))
    }

    /// Ends a token of a client (RFC 7009).
    pub async fn revoke(&self, token: &str) -> Result<(), PeerError> {
        let request = plain_client()?
            .post(format!("{}/token/revocation", self.issuer))
            .basic_auth("m2m", Some("m2m-secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        self.fetch(request).await.map(drop)
    }

    /// New tokens are signed by a new key; the old one stays published.
    pub async fn rotate(&self) -> Result<(), PeerError> {
        self.fetch(plain_client()?.post(format!("{}/rotate", self.issuer))).await.map(drop)
    }

    async fn fetch(&self, request: reqwest::RequestBuilder) -> Result<Value, PeerError> {
        let unreadable = |error: reqwest::Error| PeerError::unreadable("oidc-provider", &error);
        let text = request.send().await.map_err(unreadable)?.text().await.map_err(unreadable)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| PeerError::unreadable(format!("oidc-provider said {text}"), &error))
    }
}

/// Issuer and key from the script's one line of JSON; the library prints warnings around it.
fn announced(output: &str) -> Option<(String, String)> {
    let line = output.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    Some((text("issuer")?, text("privateKey")?))
}
