//! The real operator and the real data plane before a real API server, with a proxy between that fails on demand.
//!
//! Each test has an API server of its own. None asserts a time, but that of a lease; what must not happen is looked for after
//! something later has happened. One file per concern.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helper fails the test that calls it; indexing a JSON value does not panic"
)]

mod accounts;
mod bundles;
mod canary;
mod converge;
mod crash;
mod definitions;
mod dials;
mod faults;
mod given;
mod leaders;
mod limits;
mod metrics;
mod permissions;
mod restore;
mod scope;
mod signing;
mod storms;
mod troubles;
mod uses;

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::{APPS, DataPlane, Operator, install},
    wait::{self, LONG},
};

/// What a test returns: an error of the surroundings is no assertion, but fails it too.
type Outcome = Result<(), PeerError>;

/// An API server, one operator that is ready, and one data plane. Dropped in this order.
struct World {
    plane: DataPlane,
    operator: Operator,
    api: ApiServer,
}

impl World {
    async fn start() -> Result<Self, PeerError> {
        Self::start_with(&[]).await
    }

    /// The same with more flags of the data plane.
    async fn start_with(flags: &[&str]) -> Result<Self, PeerError> {
        Self::start_as(&[], flags).await
    }

    /// The same with more flags of the operator too.
    async fn start_as(operator_flags: &[&str], flags: &[&str]) -> Result<Self, PeerError> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        let mut operator = Operator::prepare(&api, "operator-0").await?;
        operator.flags(operator_flags);
        operator.launch()?;
        operator.until_ready().await?;
        let plane = DataPlane::start_with(&api, &operator, "authz-0", flags).await?;
        wait::until("the data plane to be ready", LONG, || async { plane.is_ready().await.then_some(()) })
            .await
            .map_err(|late| PeerError::unreadable(late.to_string(), &plane.output()))?;
        Ok(Self { plane, operator, api })
    }
}

/// The path of a policy.
fn path(name: &str) -> String {
    format!("/apis/gatewright.dev/v1alpha1/namespaces/{APPS}/authpolicies/{name}")
}

/// The path of a Secret of the policies' namespace.
fn secret(name: &str) -> String {
    format!("/api/v1/namespaces/{APPS}/secrets/{name}")
}

/// `kubectl apply` of a policy with this spec.
async fn apply(api: &ApiServer, name: &str, spec: Value) -> Result<Value, PeerError> {
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": name}, "spec": spec});
    api.apply_text(&format!("{}?fieldManager=person&force=true", path(name)), &object.to_string()).await
}

/// `kubectl apply` of a Secret with one entry.
async fn apply_secret(api: &ApiServer, name: &str, key: &str, value: &str) -> Result<Value, PeerError> {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
    api.apply_text(&format!("{}?fieldManager=person&force=true", secret(name)), &object.to_string()).await
}

/// Everybody may pass.
fn open(host: &str) -> Value {
    json!({"externalHostnames": [host], "requireAuth": false})
}

/// Nobody may pass without a token that this Secret signs.
fn signed(host: &str, secret: &str) -> Value {
    let key = json!({"algorithm": "HS256", "secretKeyRef": {"name": secret, "key": "jwt"}});
    json!({"externalHostnames": [host], "authenticators": [{"name": "app", "jwt": {"keys": [key]}}]})
}

/// A token for [`signed`] under this key, good for an hour.
fn token(key: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let part = |value: Value| BASE64URL.encode(value.to_string());
    let text =
        format!("{}.{}", part(json!({"alg": "HS256"})), part(json!({"sub": "alice", "exp": now + 3600, "iat": now})));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
    format!("Bearer {text}.{}", BASE64URL.encode(aws_lc_rs::hmac::sign(&key, text.as_bytes())))
}

/// Valid to the schema, not to the compiler.
fn broken(host: &str) -> Value {
    json!({"externalHostnames": [host], "requireAuth": false, "require": {"cel": "principal."}})
}

/// A condition of an object: status, reason, message, and whether it is of the newest generation.
fn condition(object: &Value, kind: &str) -> Option<(String, String, String, bool)> {
    let all = object["status"]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["type"] == kind)?;
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    Some((
        text("status"),
        text("reason"),
        text("message"),
        one["observedGeneration"] == object["metadata"]["generation"],
    ))
}

/// Waits until a condition of the newest generation has this status and reason; the object.
async fn until_condition(
    api: &ApiServer,
    name: &str,
    kind: &str,
    status: &str,
    reason: &str,
) -> Result<Value, PeerError> {
    let path = path(name);
    let what = format!("{kind}={status} {reason} of {name}");
    let waited = wait::until(&what, LONG, || async {
        let object = api.get(&path).await.ok()?.body;
        let (is, why, _, newest) = condition(&object, kind)?;
        ((is.as_str(), why.as_str(), newest) == (status, reason, true)).then_some(object)
    });
    match waited.await {
        Ok(object) => Ok(object),
        Err(late) => Err(PeerError::unreadable(late.to_string(), &api.get(&path).await?.body["status"])),
    }
}

/// Makes a policy and waits until it is enforced and its status says so: what happened before has been seen by then.
async fn marker(world: &World, name: &str) -> Outcome {
    let host = format!("{name}.marker.test");
    apply(&world.api, name, open(&host)).await?;
    world.plane.until_answer(&host, 200).await?;
    until_condition(&world.api, name, "Programmed", "True", "Programmed").await.map(|_| ())
}
