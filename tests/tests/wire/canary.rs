//! No secret is seen anywhere: not in a log at its loudest, a metric, the live state, an answer, the audit log, a trace or a file.
//!
//! Every policy here is made of secrets, every kind of credential is sent, good and bad, and then everything that anybody can read is
//! searched for all of them. What Envoy and the application are given is theirs.

use std::{fs, net::SocketAddr};

use aws_lc_rs::{digest, hmac};
use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use tests::{
    Answer, Bench, Call, Issuer, PeerError,
    bench::Setup,
    collector::Collector,
    issuer::now,
    product,
    secrets::{self, hex},
    wait,
};
use tokio::net::TcpListener;

use crate::Outcome;

/// Long and of every alphabet, so that each encoding of it differs.
fn canary(name: &str) -> String {
    let text = format!("canary-of-{name}-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    secrets::note(&text);
    text
}

/// A token under the static key.
fn signed(key: &str, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes());
    let token = format!("{text}.{}", BASE64URL.encode(tag));
    secrets::note(&token);
    token
}

/// An authorization server and a webhook. Every failure of theirs quotes what they were sent, as real ones do.
async fn services() -> Result<SocketAddr, PeerError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for services"))?;
    let address = listener.local_addr().map_err(PeerError::io("the address of services"))?;
    let answer = async |Path(path): Path<String>, body: String| -> Response {
        let answer = match path.as_str() {
            "introspect" => json!({"active": body.contains("opaque"), "client_id": "svc", "sub": "svc"}),
            "verify" => json!({"authenticated": true, "claims": {"sub": "hooked"}}),
            "token" => json!({"access_token": canary("issued"), "token_type": "Bearer", "expires_in": 300}),
            _ => return (StatusCode::INTERNAL_SERVER_ERROR, [("x-echo", canary("echo"))], body).into_response(),
        };
        ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
    };
    let router = Router::new().route("/{path}", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// A key of the form `cqa.v1`, and its record.
fn agent_key(pepper: &str) -> (String, String, String) {
    let (id, secret) =
        ("00ca9a5900ca9a5900ca9a5900ca9a59", "canaryofanagentkeyabcdefghijklmnopqrstuvwxyz23456722".to_owned());
    secrets::note(&secret);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pepper.as_bytes()), secret.as_bytes());
    let record = json!({"hash": hex(tag.as_ref()), "user": "agent", "expires_at": null, "revoked_at": null});
    (format!("cqa.v1.{id}.{secret}"), id.to_owned(), record.to_string())
}

fn secret(name: &str, entries: &Value) -> String {
    let labels = json!({"keys": name});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "demo", "labels": labels}, "stringData": entries})
        .to_string()
}

/// Every place in which a policy names a secret, on a host of its own each.
fn documents(issuer: &str, services: SocketAddr, agent: (&str, &str)) -> Vec<(String, String)> {
    let digest = hex(digest::digest(&digest::SHA256, canary("api-key").as_bytes()).as_ref());
    let totp = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let own = json!({
        "hs": canary("hs256-key"), "pepper": canary("pepper"), "client": canary("client-secret"), "static": canary("static"),
        "hmac": canary("hmac-key"), "extra": canary("extra-header"),
    });
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: demo}}\nspec:\n  externalHostnames: [{name}.example.com]\n{spec}"
        )
    };
    let client = "client: {clientID: gate, clientSecretRef: {name: own, key: client}}";
    let grant = format!("tokenURL: 'http://{services}/token', {client}");
    let by_key = "jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: own, key: hs}}]}";
    let all = [
        secret("own", &own),
        secret("digests", &json!({digest: json!({"sub": "key-holder"}).to_string()})),
        secret("agents", &json!({agent.0: agent.1})),
        secret("codes", &json!({"alice": totp})),
        policy(
            "tokens",
            &format!(
                "  credentials: [{{header: Authorization, scheme: Bearer}}, {{cookie: sid}}, {{query: access_token}}]
  authenticators:
  - {{name: sso, jwt: {{issuer: '{issuer}', audiences: [api]}}}}
  - {{name: own, {by_key}}}
  forward:
    claimsHeader: x-auth-claims
    headers: [{{name: x-user-tag, hmacSHA256: {{secretKeyRef: {{name: own, key: hmac}}, cel: principal.subject}}}}]
  routes:
  - {{name: minted, paths: [/minted], forward: {{replaceCredential: {{signedJWT: {{algorithm: HS256, secretKeyRef: {{name: own, key: hs}}, lifetime: 60s, claims: {{sub: principal.subject}}}}}}}}}}
  - {{name: own-key, paths: [/own-key], forward: {{replaceCredential: {{signedJWT: {{algorithm: ES256, lifetime: 60s, claims: {{sub: principal.subject}}}}}}}}}}
  - {{name: static, paths: [/static], forward: {{replaceCredential: {{static: {{header: x-api-key, secretKeyRef: {{name: own, key: static}}}}}}}}}}
  - {{name: client, paths: [/client], forward: {{replaceCredential: {{clientCredentials: {{{grant}, extraHeader: {{name: x-service, secretKeyRef: {{name: own, key: extra}}}}}}}}}}}}
  - {{name: exchange, paths: [/exchange], forward: {{replaceCredential: {{tokenExchange: {{{grant}, audience: other}}}}}}}}
  - {{name: broken, paths: [/broken], forward: {{replaceCredential: {{tokenExchange: {{tokenURL: 'http://{services}/fail', {client}, audience: other}}}}}}}}
  - {{name: copied, paths: [/copied], forward: {{headers: [{{name: x-caller-token, cel: \"request.headers['authorization']\"}}]}}}}
  - {{name: staff, paths: [/staff], require: {{cel: \"principal.claims.tenant == 'x'\"}}}}
"
            ),
        ),
        policy(
            "keys",
            "  authenticators:
  - {name: digests, credentials: [{header: X-API-Key}], apiKey: {sha256: {secretRef: {name: digests}}}}
  - {name: agents, apiKey: {cqaV1: {peppers: [{secretKeyRef: {name: own, key: pepper}}], keys: {secretSelector: {matchLabels: {keys: agents}}}}}}
",
        ),
        policy(
            "services",
            &format!(
                "  authenticators:
  - {{name: opaque, introspection: {{endpoint: 'http://{services}/introspect', {client}, accepts: {{prefix: opaque_}}}}}}
  - {{name: hook, webhook: {{url: 'http://{services}/verify', forwardHeaders: [x-tenant], accepts: {{prefix: hook_}}}}}}
  - {{name: failing, webhook: {{url: 'http://{services}/fail', accepts: {{prefix: fail_}}}}}}
  - {{name: gone, webhook: {{url: 'http://127.0.0.1:9/verify', accepts: {{prefix: gone_}}}}}}
"
            ),
        ),
        policy(
            "codes",
            &format!("  authenticators: [{{name: two, {by_key}, totp: {{secretsRef: {{name: codes}}}}}}]\n  errors: {{profile: FastAPIDetail}}\n"),
        ),
    ];
    vec![("all.yaml".to_owned(), all.join("\n---\n"))]
}

/// Every kind of credential, good and bad, in every place.
fn calls(bench: &Bench, agent_key: &str) -> Result<Vec<Call>, PeerError> {
    let token = |claims: &Value| bench.issuer.token(claims);
    let call = |host: &str| bench.call().host(&format!("{host}.example.com"));
    let (hs, exp) = (canary("hs256-key"), now() + 300);
    let alice = token(&json!({"aud": "api", "sub": "alice", "tenant": "canary-claim"}))?;
    let own = signed(&hs, &json!({"sub": "alice", "exp": exp}));
    let tokens = [
        alice.clone(),
        own.clone(),
        token(&json!({"aud": "other", "sub": "alice"}))?,
        token(&json!({"aud": "api", "sub": "alice", "exp": 1}))?,
        token(&json!({"aud": "api", "sub": "line\nbreak"}))?,
        token(&json!({"aud": "api"}))?,
        bench.issuer.token_by("rsa-of-nobody", &json!({"aud": "api", "sub": "alice"}))?,
        signed(&canary("another-key"), &json!({"sub": "alice", "exp": exp})),
        canary("garbage"),
        format!("{}.{}.{}", canary("header"), canary("payload"), canary("signature")),
    ];
    let paths = ["/", "/minted", "/own-key", "/static", "/client", "/exchange", "/broken", "/staff"];
    let mut calls = Vec::new();
    for token in &tokens {
        secrets::note(token);
        calls.extend(paths.map(|path| call("tokens").path(path).bearer(token)));
        calls.push(call("tokens").header("cookie", &format!("sid={token}; other={}", canary("cookie"))));
        calls.push(call("tokens").path(&format!("/?access_token={token}&x={}", canary("query"))));
        calls.push(call("codes").bearer(&format!("{token}:123456")));
        calls.push(call("tokens").header("authorization", &format!("Basic {token}")));
        calls.push(call("tokens").header("x-forwarded-authorization", token).header("tracestate", &canary("state")));
        calls.push(call("nobody").bearer(token));
        // Ambiguous, and not for us at all.
        calls.push(call("tokens").bearer(token).bearer(&alice));
        calls.push(call("tokens").path("/a/../b").bearer(token));
    }
    calls.push(call("codes").bearer(&own));
    for key in [canary("api-key"), canary("wrong-api-key")] {
        calls.push(call("keys").header("x-api-key", &key));
    }
    for key in [agent_key.to_owned(), format!("{agent_key}x"), agent_key.replace("0123", "4567")] {
        secrets::note(&key);
        calls.push(call("keys").bearer(&key));
    }
    for kind in ["opaque", "hook", "fail", "gone", "unknown"] {
        let key = format!("{kind}_{}", canary("credential"));
        calls.push(call("services").bearer(&key).header("x-tenant", &canary("tenant")));
    }
    Ok(calls)
}

#[tokio::test]
async fn no_secret_is_seen_anywhere() -> Outcome {
    let (collector, services) = (Collector::start().await?, services().await?);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("audit.jsonl").display().to_string();
    let endpoint = collector.url();
    let flags = ["--log-level=trace", "--audit-log", &log, "--audit-subject=clear", "--otlp-endpoint", &endpoint];
    let flags = flags.into_iter().chain(["--trace-ratio=1"]).map(str::to_owned).collect();
    let (key, id, record) = agent_key(&canary("pepper"));
    let documents = |issuer: &Issuer| documents(&issuer.url(), services, (&id, &record));
    let setup = Setup { flags, ..Setup::default() };
    let mut bench = Bench::set_up(Issuer::start().await?, documents, &setup).await?;

    let config = bench.product.config().display().to_string();
    let checked = product::command(&["check", &config]).await?;
    assert_eq!(checked.code, Some(0), "{}", checked.output);

    let mut shown = vec![("the verdicts".to_owned(), checked.output)];
    let header = format!("--header=authorization: Bearer {}", bench.alice()?);
    for path in ["--path=/minted", "--path=/copied"] {
        for output in ["text", "json"] {
            let explain =
                ["explain", "--config", &config, "--host=tokens.example.com", path, &header, "--output", output];
            let explained = product::command(&explain).await?.output;
            let sets = if path == "--path=/minted" { "authorization" } else { "x-caller-token" };
            assert!(explained.contains(sets) && explained.contains("alice"), "{explained}");
            // Claims are what the token says, and no token: nobody is let in by them.
            let rest = explained.lines().filter(|line| !line.contains("x-auth-claims")).collect::<Vec<_>>();
            shown.push((format!("explain {path}"), rest.join("\n")));
        }
    }
    let (mut allowed, mut refused) = (0, 0);
    for (number, call) in calls(&bench, &key)?.into_iter().enumerate() {
        let answers: [Answer; 2] = [call.http1().await?, call.http2().await?];
        for answer in answers {
            if answer.status == 200 {
                // What the application was given is its own, and it echoes that.
                allowed += 1;
            } else {
                refused += 1;
                shown.push((format!("answer {number}"), format!("{answer:?}")));
            }
        }
    }
    assert!(allowed > 20 && refused > 100, "both kinds are among them: {allowed}, {refused}");
    // An edit, a rejected one, and one that cannot be parsed: what is wrong with a Secret is said without it.
    let weak = secret("own", &json!({"hs": "canary-too-weak"}));
    bench.product.write("weak.yaml", &weak)?;
    bench.product.write("bad.yaml", &format!("kind: Secret\nstringData: {{a: {}, b: [}}", canary("syntax-error")))?;
    wait::until("the unreadable document to be told", wait::LONG, || async {
        bench.product.output().contains("bad.yaml").then_some(())
    })
    .await?;

    for path in ["/metrics", "/config_dump", "/readyz", "/nothing"] {
        shown.push((path.to_owned(), bench.product.admin(path).await.1));
    }
    for arguments in [vec!["check", &config], vec!["check", &config, "-o", "json"]] {
        shown.push((arguments.join(" "), product::command(&arguments).await?.output));
    }
    assert_eq!(bench.product.stop().await?.code, Some(0));
    shown.push(("the log".to_owned(), bench.product.output()));
    shown.push(("the traces".to_owned(), collector.text()));
    shown.push(("the audit log".to_owned(), fs::read_to_string(&log).unwrap_or_default()));
    shown.extend(product::texts_below(&bench.product.data()));

    let long = |name: &str| shown.iter().any(|(own, text)| own == name && text.len() > 5_000);
    assert!(
        ["the log", "the traces", "the audit log", "/metrics"].into_iter().all(long),
        "there is something to search"
    );
    for (name, text) in &shown {
        if let Some(secret) = secrets::shown_in(text) {
            let line = text.lines().find(|line| secrets::shown_in(line).is_some()).unwrap_or_default();
            panic!("{secret} is in {name}: {line}");
        }
    }
    // The search does find: this is what all of it began with.
    assert!(product::texts_below(&bench.product.config()).iter().any(|(_, text)| secrets::shown_in(text).is_some()));
    Ok(())
}
