//! A Keycloak in a process of its own, with the realm `lab` of `tools/keycloak/realm.json`: the provider that most users have.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    PeerError,
    client::plain_client,
    process::{Process, free_port},
    tools, wait,
};

/// The first start on a busy machine; later ones take a fraction.
const START: Duration = Duration::from_mins(5);
const ADMIN: &str = "admin";
/// The key that signs after the rotation.
const ROTATED: &str = "rotated";

/// The running provider.
#[derive(Debug)]
pub struct Keycloak {
    /// Issuer of the realm, and the beginning of its endpoints.
    pub issuer: String,
    base: String,
    _process: Process,
}

impl Keycloak {
    /// Starts it; its log goes to `folder`. It needs a JDK from 17 on.
    pub async fn start(folder: &Path) -> Result<Self, PeerError> {
        let script = tools::installed("keycloak")?;
        let (port, management) = (free_port()?, free_port()?);
        let mut command = Command::new(script);
        command
            .args(["start-dev", "--db=dev-mem", "--cache=local", "--import-realm", "--http-host=127.0.0.1"])
            .args([format!("--http-port={port}"), format!("--http-management-port={management}")])
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .stdin(Stdio::null());
        let mut process = Process::start("keycloak", &mut command, folder.join("keycloak.log"))?;
        let base = format!("http://127.0.0.1:{port}");
        let issuer = format!("{base}/realms/lab");
        let discovery = format!("{issuer}/.well-known/openid-configuration");
        wait::until("Keycloak to serve its realm", START, || {
            let runs = process.must_run();
            let asked = plain_client().map(|client| client.get(&discovery).send());
            async move {
                match (runs, asked) {
                    (Err(error), _) | (_, Err(error)) => Some(Err(error)),
                    (Ok(()), Ok(asked)) => asked.await.ok().filter(|answer| answer.status() == 200).map(|_| Ok(())),
                }
            }
        })
        .await??;
        Ok(Self { issuer, base, _process: process })
    }

    /// An access token of alice for the client `gw`, with a session of its own.
    pub async fn alice(&self) -> Result<String, PeerError> {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        let form = "grant_type=password&username=alice&password=alice-password&scope=openid";
        let request = plain_client()?.post(url).basic_auth("gw", Some("gw%27s+secret%3A+100%25"));
        token(request, form).await
    }

    /// Ends all sessions of alice.
    pub async fn end_sessions(&self) -> Result<(), PeerError> {
        let users = self.admin(reqwest::Method::GET, "/users?username=alice", None).await?;
        let id = users[0]["id"].as_str().unwrap_or_default();
        self.admin(reqwest::Method::POST, &format!("/users/{id}/logout"), None).await.map(drop)
    }

    /// New tokens are signed by a new key; the old one stays published.
    pub async fn rotate(&self) -> Result<(), PeerError> {
        let key = json!({
            "name": ROTATED, "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"], "enabled": ["true"], "active": ["true"], "keySize": ["2048"], "algorithm": ["RS256"]},
        });
        self.admin(reqwest::Method::POST, "/components", Some(key)).await.map(drop)
    }

    /// The key that signed before the rotation is gone, and what it signed is worth nothing.
    pub async fn remove_old_key(&self) -> Result<(), PeerError> {
        let all = self.admin(reqwest::Method::GET, "/components?type=org.keycloak.keys.KeyProvider", None).await?;
        let mut removed = 0;
        for one in all.as_array().into_iter().flatten() {
            if one["providerId"] == "rsa-generated" && one["name"] != ROTATED {
                let id = one["id"].as_str().unwrap_or_default();
                self.admin(reqwest::Method::DELETE, &format!("/components/{id}"), None).await?;
                removed += 1;
            }
        }
        if removed == 0 { Err(PeerError::unreadable("Keycloak's keys", &all)) } else { Ok(()) }
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value, PeerError> {
        let url = format!("{}/realms/master/protocol/openid-connect/token", self.base);
        let form = format!("grant_type=password&client_id=admin-cli&username={ADMIN}&password={ADMIN}");
        let admin = token(plain_client()?.post(url), &form).await?;
        let mut request =
            plain_client()?.request(method, format!("{}/admin/realms/lab{path}", self.base)).bearer_auth(admin);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| unreadable(&error))?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|error| unreadable(&error))?);
        if !status.is_success() {
            return Err(PeerError::unreadable(format!("Keycloak at {path}"), &format!("{status} {text}")));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

async fn token(request: reqwest::RequestBuilder, form: &str) -> Result<String, PeerError> {
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
    let text =
        request.send().await.map_err(|error| unreadable(&error))?.text().await.map_err(|error| unreadable(&error))?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let token = answer["access_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| PeerError::unreadable("Keycloak's answer to a grant", &text))
}

fn unreadable(error: &reqwest::Error) -> PeerError {
    PeerError::unreadable("Keycloak", error)
}
