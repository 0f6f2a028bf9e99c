//! AgentFlow itself, alone and behind Gatewright: the same requests to both, and the same answers.
//!
//! What differs on purpose is a table of its own: it is also what `docs/applications/agentflow.md` says.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helper fails the test that calls it")]

mod tokens;

use serde_json::{Value, json};
use tests::{
    Answer, Call, PeerError, Product,
    agentflow::AgentFlow,
    envoy::{Envoy, Options},
};

use self::tokens::{credentials, good, signed, token};

type Outcome = Result<(), PeerError>;

/// The example, as it is there.
const POLICY: &str = include_str!("../../../examples/agentflow/policy.yaml");
const SECRET: &str = "0123456789abcdef0123456789abcdef-new";
const OLD: &str = "0123456789abcdef0123456789abcdef-old";
/// SHA-256 of `demo-key-1`.
const KEY: &str = "0b2c109e25ac7d47cc0c56f999832031c7391890ee1893f299b5df9a9256f1d1";
const PAGE: &str = "https://ui.example.com";

struct Setting {
    envoy: Envoy,
    _product: Product,
    agentflow: AgentFlow,
    _home: tempfile::TempDir,
}

async fn set_up(policy: &str, settings: &Value) -> Result<Setting, PeerError> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let secret = |name: &str, labels: &Value, data: &Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {"name": name, "namespace": "agents", "labels": labels}})
        .to_string()
    };
    let user = json!({"user_id": "user-1", "roles": ["viewer"]}).to_string();
    let documents = [
        ("policy.yaml".to_owned(), policy.to_owned()),
        ("auth.yaml".to_owned(), secret("agentflow-auth", &json!({}), &json!({"jwt-new": SECRET, "jwt-old": OLD}))),
        ("keys.yaml".to_owned(), secret("keys", &json!({"gatewright.dev/api-keys": "agentflow"}), &json!({KEY: user}))),
    ];
    let agentflow = AgentFlow::start(SECRET, settings, home.path()).await?;
    let product = Product::start(&documents).await?;
    let envoy = Envoy::start(&product.addresses.authz, agentflow.address, &Options::default(), home.path()).await?;
    Ok(Setting { envoy, _product: product, agentflow, _home: home })
}

impl Setting {
    /// The same request to AgentFlow alone and through Gatewright.
    async fn both(&self, request: impl Fn(Call) -> Call) -> Result<[Answer; 2], PeerError> {
        let to = |address| request(Call::to(address).host("agentflow.example.com"));
        let (alone, behind) = (to(self.agentflow.address).http1().await?, to(self.envoy.hardened).http1().await?);
        Ok([alone, behind])
    }

    async fn assert_alike(&self, what: &str, request: impl Fn(Call) -> Call) -> Outcome {
        let [alone, behind] = self.both(request).await?;
        assert_eq!(shape(&alone), shape(&behind), "{what}: alone {alone:?}, behind {behind:?}");
        if alone.status == 401 {
            assert!(alone.header("www-authenticate").is_some() && behind.header("www-authenticate").is_some());
        }
        Ok(())
    }
}

/// What must be equal: status, media type, and the body without what is new in each answer.
fn shape(answer: &Answer) -> (u16, Option<String>, Value) {
    let mut body = serde_json::from_str(&answer.body).unwrap_or_else(|_| json!(answer.body));
    if answer.status >= 400 && answer.status != 404 {
        for name in ["request_id", "timestamp"] {
            assert!(body["metadata"][name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {answer:?}");
        }
    }
    forget(&mut body);
    (answer.status, answer.header("content-type"), body)
}

/// Times and identifiers that were made for this answer.
fn forget(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if matches!(name.as_str(), "request_id" | "timestamp") {
                    *member = Value::Null;
                }
                forget(member);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        Value::String(text) if is_uuid(text) => *value = json!("a UUID"),
        _ => {}
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.chars().enumerate().all(|(at, c)| c.is_ascii_hexdigit() || c == '-' && (8..=23).contains(&at))
}

#[tokio::test]
async fn credentials_are_judged_alike() -> Outcome {
    // One address sends many bad credentials here.
    let setting =
        set_up(&POLICY.replace("{rate: 10, window: 60s, by: IP}", "{rate: 1000, window: 60s, by: IP}"), &json!({}))
            .await?;
    for (what, headers) in credentials() {
        let with = |call: Call| headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        setting.assert_alike(what, |call| with(call).path("/v1/graph")).await?;
    }
    setting
        .assert_alike("in the query of a plain request", |call| call.path(&format!("/v1/graph?token={}", good())))
        .await?;
    setting.assert_alike("the open route", |call| call.path("/ping")).await?;
    setting.assert_alike("the open route and a bad token", |call| call.path("/ping").bearer("bad")).await
}

/// Every operation that AgentFlow describes, with a value for each parameter, its sockets aside: those are not described.
async fn operations(agentflow: &AgentFlow) -> Result<Vec<(String, String)>, PeerError> {
    let answer = Call::to(agentflow.address).path("/openapi.json").http1().await?;
    let described: Value =
        serde_json::from_str(&answer.body).map_err(|error| PeerError::unreadable("its OpenAPI", &error))?;
    let mut operations = Vec::new();
    for (path, methods) in described["paths"].as_object().into_iter().flatten() {
        let path =
            path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect::<Vec<_>>().join("/");
        for method in methods.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
            operations.push((method, path.clone()));
        }
    }
    assert!(operations.len() > 25, "{operations:?}");
    Ok(operations)
}

#[tokio::test]
async fn every_operation_needs_the_scope_that_it_needs_there() -> Outcome {
    let setting = set_up(POLICY, &json!({})).await?;
    let mut compared = 0;
    for (method, path) in operations(&setting.agentflow).await? {
        if path == "/ping" || path.starts_with("/v1/evals/") {
            continue;
        }
        let ask = |call: Call| call.method(&method).path(&path).header("content-type", "application/json").body("{}");
        setting.assert_alike(&format!("{method} {path} without credential"), ask).await?;
        let nothing = token(&json!({"user_id": format!("{method} {path}"), "scopes": []}));
        let [alone, behind] = setting.both(|call| ask(call).bearer(&nothing)).await?;
        assert!(alone.status == 403 && alone.body.contains("Missing required scope: "), "{method} {path}: {alone:?}");
        assert_eq!(shape(&alone), shape(&behind), "{method} {path}");
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    Ok(())
}

#[tokio::test]
async fn what_passes_is_answered_alike() -> Outcome {
    let setting = set_up(POLICY, &json!({"authorization": "ownership"})).await?;
    let run = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    let posted = |call: Call, path: &str, body: &Value| {
        call.method("POST").path(path).header("content-type", "application/json").body(&body.to_string())
    };
    for path in [
        "/v1/graph",
        "/v1/graph/tools",
        "/v1/graph:StateSchema",
        "/v1/threads",
        "/v1/threads/new",
        "/v1/threads/new/state",
        "/v1/threads/new/messages",
        "/v1/observability/new",
        "/v1/config/multimodal",
        "/v1/files/none",
        "/v1/evals/runs",
    ] {
        setting.assert_alike(path, |call| call.path(path).bearer(&good())).await?;
    }
    setting.assert_alike("no body", |call| posted(call, "/v1/graph/invoke", &json!({})).bearer(&good())).await?;
    setting
        .assert_alike("no JSON", |call| {
            call.method("POST")
                .path("/v1/graph/invoke")
                .header("content-type", "application/json")
                .body("{")
                .bearer(&good())
        })
        .await?;
    setting
        .assert_alike("no store", |call| posted(call, "/v1/store/search", &json!({"query": "x"})).bearer(&good()))
        .await?;

    // A run of alice's with a thread of her own; bob may not read it, and AgentFlow says so to him through us as well.
    let mut run_on = run.clone();
    run_on["config"] = json!({"thread_id": "1"});
    let [_, behind] = setting.both(|call| posted(call, "/v1/graph/invoke", &run_on).bearer(&good())).await?;
    let body: Value = serde_json::from_str(&behind.body).unwrap_or_default();
    assert_eq!(body["data"]["messages"][1]["content"][0]["text"], "hello alice", "{behind:?}");
    let bob = token(&json!({"user_id": "bob"}));
    let stored = json!({"state": {"note": 1}});
    setting
        .assert_alike("a thread is written", |call| {
            call.method("PUT")
                .path("/v1/threads/2/state")
                .header("content-type", "application/json")
                .body(&stored.to_string())
                .bearer(&good())
        })
        .await?;
    setting.assert_alike("and read by another", |call| call.path("/v1/threads/2/state").bearer(&bob)).await?;
    setting.assert_alike("and read by its owner", |call| call.path("/v1/threads/2/state").bearer(&good())).await
}

#[tokio::test]
async fn limits_are_told_alike() -> Outcome {
    let settings =
        json!({"rate_limit": {"enabled": true, "backend": "memory", "requests": 2, "window": 60, "by": "user"}});
    let limited = POLICY.replace("{rate: 100, window: 60s, by: Principal}", "{rate: 2, window: 60s, by: Principal}");
    assert_ne!(limited, POLICY);
    // Each limits by itself: AgentFlow counts what we let through as well, and one more.
    let setting = set_up(&limited, &settings).await?;
    let to = |address, user: &str| {
        let token = token(&json!({"user_id": user}));
        Call::to(address).host("agentflow.example.com").path("/v1/graph").bearer(&token)
    };
    let mut told = Vec::new();
    for (address, user) in [(setting.agentflow.address, "alone"), (setting.envoy.hardened, "behind")] {
        let mut last = to(address, user).http1().await?;
        for status in [200, 200, 429] {
            assert_eq!(last.status, status, "{last:?}");
            for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-reset-after"] {
                assert!(last.header(name).is_some_and(|value| value.parse::<u64>().is_ok()), "{name}: {last:?}");
            }
            if status == 429 {
                break;
            }
            last = to(address, user).http1().await?;
        }
        let mut body: Value = serde_json::from_str(&last.body).expect("JSON");
        let seconds = body["error"]["retry_after_seconds"].take();
        assert!(seconds.as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{last:?}");
        assert_eq!(last.header("retry-after"), Some(seconds.to_string()));
        let text = body["error"]["message"].take();
        assert_eq!(text, json!(format!("Too many requests. Limit: 2 per 60s. Retry after {seconds}s.")));
        assert!(body["metadata"]["request_id"].take().as_str().is_some_and(|id| !id.is_empty()), "{last:?}");
        told.push((
            last.header("content-type"),
            last.header("x-ratelimit-limit"),
            last.header("x-ratelimit-remaining"),
            body,
        ));
    }
    assert_eq!(told[0], told[1]);
    Ok(())
}

#[tokio::test]
async fn a_socket_is_opened_alike() -> Outcome {
    let setting = set_up(POLICY, &json!({})).await?;
    let socket = |call: Call| call.path("/v1/graph/ws").websocket();
    let offered = format!("agentflow-bearer, {}", good());
    for (what, [alone, behind]) in [
        ("protocol", setting.both(|call| socket(call).header("sec-websocket-protocol", &offered)).await?),
        ("header", setting.both(|call| socket(call).bearer(&good())).await?),
        ("query", setting.both(|call| socket(call).path(&format!("/v1/graph/ws?token={}", good()))).await?),
        ("both", setting.both(|call| socket(call).bearer(&good()).header("sec-websocket-protocol", &offered)).await?),
    ] {
        assert_eq!((alone.status, behind.status), (101, 101), "{what}: {alone:?} {behind:?}");
        let chosen = |answer: &Answer| answer.header("sec-websocket-protocol");
        assert_eq!(chosen(&alone), chosen(&behind), "{what}");
    }
    // A refused handshake has a reason here; uvicorn gives none.
    for (what, status, [alone, behind]) in [
        ("no token", 401, setting.both(socket).await?),
        (
            "a bad token",
            401,
            setting.both(|call| socket(call).header("sec-websocket-protocol", "agentflow-bearer, x")).await?,
        ),
        (
            "another protocol",
            401,
            setting.both(|call| socket(call).header("sec-websocket-protocol", &format!("chat, {}", good()))).await?,
        ),
        ("no scope", 403, setting.both(|call| socket(call).bearer(&token(&json!({"scopes": ["graph:read"]})))).await?),
    ] {
        assert_eq!((alone.status, behind.status), (403, status), "{what}: {alone:?} {behind:?}");
    }
    Ok(())
}

/// What is better, or stricter, with Gatewright: the request, what AgentFlow says alone, and what it is behind us.
#[tokio::test]
async fn differences_are_those_of_the_page() -> Outcome {
    let setting = set_up(POLICY, &json!({})).await?;
    let claims = r#"{"user_id":"alice","exp":9999999999}"#;
    let old = signed(OLD, r#"{"alg":"HS256","typ":"JWT"}"#, claims);
    let (number, empty) = (token(&json!({"user_id": 7})), token(&json!({"user_id": ""})));
    let (every, audience) = (token(&json!({"scopes": ["*"]})), token(&json!({"aud": "agentflow-api"})));
    let numbered = token(&json!({"jti": 7}));
    let offered = format!("agentflow-bearer, {}", good());
    let graph = |call: Call| call.path("/v1/graph");
    for (what, alone_status, behind_status, [alone, behind]) in [
        ("a token of the secret before", 401, 200, setting.both(|call| graph(call).bearer(&old)).await?),
        ("an API key", 401, 200, setting.both(|call| graph(call).header("x-api-key", "demo-key-1")).await?),
        ("an API key as bearer value", 401, 200, setting.both(|call| graph(call).bearer("demo-key-1")).await?),
        ("a token for an audience", 401, 200, setting.both(|call| graph(call).bearer(&audience)).await?),
        // Where there is a list of denied identifiers, it is refused.
        ("an identifier that is a number", 401, 200, setting.both(|call| graph(call).bearer(&numbered)).await?),
        ("a user that is a number", 200, 401, setting.both(|call| graph(call).bearer(&number)).await?),
        ("a user without a name", 403, 401, setting.both(|call| graph(call).bearer(&empty)).await?),
        (
            "the protocol on a plain request",
            200,
            401,
            setting.both(|call| graph(call).header("sec-websocket-protocol", &offered)).await?,
        ),
        ("two credentials", 200, 400, setting.both(|call| graph(call).bearer(&good()).bearer("other")).await?),
        ("reports of evaluations", 200, 401, setting.both(|call| call.path("/v1/evals/runs")).await?),
        ("the description", 200, 403, setting.both(|call| call.path("/openapi.json").bearer(&every)).await?),
        ("HEAD", 405, 403, setting.both(|call| graph(call).method("HEAD").bearer(&every)).await?),
        ("another method", 405, 403, setting.both(|call| graph(call).method("PATCH").bearer(&every)).await?),
        ("a slash too many", 307, 403, setting.both(|call| call.path("/v1/graph/").bearer(&every)).await?),
        ("an unknown path", 404, 403, setting.both(|call| call.path("/v1/other").bearer(&every)).await?),
        ("a preflight of a listed page", 200, 204, setting.both(|call| preflight(call, PAGE)).await?),
        (
            "a preflight of another page",
            200,
            403,
            setting.both(|call| preflight(call, "https://evil.example.net")).await?,
        ),
    ] {
        assert_eq!((alone.status, behind.status), (alone_status, behind_status), "{what}: {alone:?} {behind:?}");
    }
    Ok(())
}

fn preflight(call: Call, page: &str) -> Call {
    let call =
        call.method("OPTIONS").path("/v1/graph").header("origin", page).header("access-control-request-method", "GET");
    call.header("access-control-request-headers", "authorization")
}

#[tokio::test]
async fn the_page_works_as_written() -> Outcome {
    tests::page::follow("agentflow").await
}
