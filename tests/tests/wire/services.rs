//! Services that are asked, behind a real Envoy: a provider that others wrote, and the example of `examples/webhook`.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Bench, Issuer, PeerError, bench::Setup, oidc_provider::OidcProvider, process::Process, product, wait};

use crate::{Outcome, assert_allowed, assert_refused};

const OPAQUE: &str = "https://opaque.example.com";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/webhook");

/// A policy of one kind of credential, and a Secret.
fn policy(kind: &str, secret: &Value) -> Vec<(String, String)> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "client", "namespace": "demo"}, "stringData": secret});
    let text = format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: api, namespace: demo}}
spec:
  externalHostnames: [api.example.com]
  authenticators:
  - name: opaque
    {kind}
    # A token of a client alone has no sub there.
    claims: {{subject: [client_id], stableID: client_id}}
---
{secret}
"
    );
    vec![("policy.yaml".to_owned(), text)]
}

#[tokio::test]
async fn opaque_tokens_of_a_real_provider_by_every_way_to_be_its_client() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = OidcProvider::start(folder.path()).await?;
    let issuer = provider.issuer.clone();
    let secret = json!({"secret": "gateway's secret: 100%", "key": provider.private_key, "wrong": "gateway"});
    let by_secret = |id: &str, method: &str, key: &str| {
        format!("client: {{clientID: {id}, method: {method}, clientSecretRef: {{name: client, key: {key}}}}}")
    };
    let by_key = format!(
        "client: {{clientID: key, method: PrivateKeyJWT, privateKeyRef: {{name: client, key: key}}, assertionAudience: '{issuer}'}}"
    );
    let introspection = |client: &str, more: &str| {
        format!(
            "introspection: {{endpoint: '{issuer}/token/introspection', issuer: '{issuer}', cacheDuration: 1s, {client}{more}}}"
        )
    };
    let audience = format!(", audiences: ['{OPAQUE}']");
    let basic = by_secret("basic", "ClientSecretBasic", "secret");
    let documents = |_: &Issuer| policy(&introspection(&basic, &audience), &secret);
    let bench = Bench::set_up(Issuer::start().await?, documents, &Setup::default()).await?;
    let token = provider.access_token(OPAQUE).await?;
    assert!(!token.contains('.'), "the token is opaque");
    let good = bench.call().bearer(&token);
    let answer = good.http1_when_available().await?;
    let seen = answer.seen().unwrap_or_else(|| panic!("{answer:?} {}", bench.product.output()));
    assert_eq!(seen.header("x-auth-type").as_deref(), Some("introspection"));
    assert_eq!(seen.header("x-auth-issuer").as_deref(), Some(issuer.as_str()));
    assert_eq!(seen.header("x-auth-scopes").as_deref(), Some("tools:call"));
    assert_allowed(&answer, "m2m");
    assert_refused(&bench.call().bearer("0123456789").http1().await?, 401, "invalid_token");

    // The same token by every other client; then by one that is none, for another audience, and after its end.
    let change = |documents: Vec<(String, String)>| -> Outcome {
        documents.iter().try_for_each(|(name, text)| bench.product.write(name, text))
    };
    let until = |what: &'static str, status: u16| {
        let good = &good;
        async move {
            wait::until(what, wait::LONG, || async {
                let answer = good.http1().await.ok()?;
                (answer.status == status).then_some(())
            })
            .await
        }
    };
    let wrong = by_secret("basic", "ClientSecretBasic", "wrong");
    for (what, client, more, status) in [
        ("a wrong secret", wrong.as_str(), audience.as_str(), 503),
        ("the secret in the body", &by_secret("post", "ClientSecretPost", "secret"), &audience, 200),
        ("another audience", &basic, ", audiences: [other]", 401),
        ("an assertion", &by_key, &audience, 200),
    ] {
        change(policy(&introspection(client, more), &secret))?;
        until(what, status).await?;
    }
    provider.revoke(&token).await?;
    until("the end of a revoked token", 401).await
}

#[tokio::test]
async fn a_person_known_to_a_real_user_info_endpoint() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = OidcProvider::start(folder.path()).await?;
    let endpoint = format!("{}/me", provider.issuer);
    let text = format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: api, namespace: demo}}
spec:
  externalHostnames: [api.example.com]
  authenticators:
  - name: profile
    userInfo: {{endpoint: '{endpoint}'}}
    require: {{verifiedEmail: true, domains: [example.com]}}
"
    );
    let documents = |_: &Issuer| vec![("policy.yaml".to_owned(), text)];
    let bench = Bench::set_up(Issuer::start().await?, documents, &Setup::default()).await?;
    let answer = bench.call().bearer(&provider.sign_in().await?).http1_when_available().await?;
    assert_allowed(&answer, "alice");
    let seen = answer.seen().expect("the application answered");
    for (name, value) in [("x-auth-type", "userinfo"), ("x-auth-email", "alice@example.com"), ("x-auth-name", "Alice")]
    {
        assert_eq!(seen.header(name).as_deref(), Some(value), "{name}");
    }
    // A token of no person, one of another kind, and none of this provider.
    for token in
        [provider.access_token(OPAQUE).await?, provider.access_token("https://api.example.com").await?, "x".to_owned()]
    {
        assert_refused(&bench.call().bearer(&token).http1_when_available().await?, 401, "invalid_token");
    }
    Ok(())
}

/// The example, running.
struct Example {
    url: String,
    process: Process,
}

impl Example {
    async fn start(folder: &std::path::Path) -> Result<Self, PeerError> {
        let mut command = Command::new("python3");
        command.arg(format!("{EXAMPLE}/server.py")).args(["--port", "0"]).stdin(Stdio::null());
        let mut process = Process::start("examples/webhook/server.py", &mut command, folder.join("webhook.log"))?;
        let url = wait::until("the example to listen", wait::LONG, || {
            let line = process.must_run().map(|()| {
                let output = process.output();
                let line = output.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())?;
                line.get("url")?.as_str().map(str::to_owned)
            });
            async move { line.transpose() }
        })
        .await??;
        Ok(Self { url, process })
    }

    /// Its policy, on its real port.
    fn documents(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(format!("{EXAMPLE}/policy.yaml")).expect("the example has a policy");
        vec![("policy.yaml".to_owned(), text.replace("http://127.0.0.1:9100", &self.url))]
    }
}

#[tokio::test]
async fn the_example_of_webhooks() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut example = Example::start(folder.path()).await?;
    let bench = Bench::set_up(Issuer::start().await?, |_| example.documents(), &Setup::default()).await?;
    let call = |path: &str, key: &str| bench.call().path(path).bearer(key);

    let answer = call("/", "demo_alice").http1().await?;
    assert_allowed(&answer, "alice");
    let seen = answer.seen().expect("the application answered");
    assert_eq!(seen.header("x-auth-type").as_deref(), Some("webhook"));
    assert_eq!(seen.header("x-auth-roles").as_deref(), Some("admin"));
    assert_eq!(seen.header("x-auth-email").as_deref(), Some("alice@example.com"));
    assert_refused(&call("/", "demo_nobody").http1().await?, 401, "invalid_token");
    assert_refused(&call("/", "demo_old").http1().await?, 401, "expired_token");
    assert_refused(&call("/", "other_alice").http1().await?, 401, "invalid_token");
    assert_refused(&call("/", "demo_carol").http1().await?, 403, "forbidden");
    assert_refused(&call("/", "demo_alice").header("x-tenant", "two").http1().await?, 401, "invalid_token");
    assert_allowed(&call("/", "demo_alice").header("x-tenant", "one").http1().await?, "alice");
    assert_allowed(&call("/admin/x", "demo_alice").http1().await?, "alice");
    assert_refused(&call("/admin/x", "demo_bob").http1().await?, 403, "forbidden");
    for (path, alice, bob) in
        [("/v1/threads/t1", 200, 404), ("/v1/threads/t2/messages", 404, 200), ("/v1/threads/new", 200, 200)]
    {
        assert_eq!(call(path, "demo_alice").http1().await?.status, alice, "alice at {path}");
        assert_eq!(call(path, "demo_bob").http1().await?.status, bob, "bob at {path}");
    }

    // `explain` asks the same service and says the same.
    let config = bench.product.config().display().to_string();
    for (key, code, word) in [("demo_alice", 0, "allow"), ("demo_carol", 1, "deny"), ("demo_nobody", 1, "deny")] {
        let header = format!("--header=authorization: Bearer {key}");
        let host = "--host=api.example.com";
        let finished = product::command(&["explain", "--config", &config, host, &header, "-o", "json"]).await?;
        assert_eq!(finished.code, Some(code), "{key}: {}", finished.output);
        let report: Value = serde_json::from_str(&finished.output).expect("a report in JSON");
        assert_eq!(report["decision"], word, "{report}");
        assert!(!finished.output.contains(key), "a credential is shown: {}", finished.output);
    }

    // Gone: who is kept is let in for a moment, everybody else gets 503 and nobody 401.
    example.process.signal("TERM")?;
    example.process.finish().await?;
    assert_refused(&call("/", "demo_unseen").http1().await?, 503, "unavailable");
    wait::until("the end of what is kept", wait::LONG, || async {
        (call("/", "demo_alice").http1().await.ok()?.status == 503).then_some(())
    })
    .await?;
    let (status, metrics) = bench.product.admin("/metrics").await;
    assert!(
        status == 200 && metrics.contains("gatewright_service_calls_total{kind=\"webhook\",outcome=\"yes\"}"),
        "{metrics}"
    );
    let output = bench.product.output();
    assert!(!output.contains("demo_alice") && output.contains("a service could not be asked"), "{output}");
    Ok(())
}
