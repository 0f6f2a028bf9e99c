//! Refusals to the byte, in the words of every application, before every kind of client.

use serde_json::{Value, json};
use tests::{Answer, Bench, Call, PeerError, issuer::now};

use crate::Outcome;

/// A profile with the path of its host, and what it answers to each mistake of [`calls`], in their order. `ID` and `TIME` are those of the
/// answer; an empty text is not compared.
type Profile = (&'static str, [(u16, &'static str); 8]);

/// The words of AgentFlow, whose two generations differ in the status alone.
const FLOW: [&str; 8] = [
    r#"{"error":{"code":"REVOKED_TOKEN","message":"Invalid token, please login again","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Invalid token, please login again"}}"#,
    r#"{"error":{"code":"INVALID_TOKEN","message":"Invalid token, please login again","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Invalid token, please login again"}}"#,
    r#"{"error":{"code":"EXPIRED_TOKEN","message":"Token has expired, please login again","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Token has expired, please login again"}}"#,
    r#"{"error":{"code":"INVALID_TOKEN","message":"Invalid token, user_id missing","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Invalid token, user_id missing"}}"#,
    r#"{"error":{"code":"HTTPException","message":"Missing required scope: graph:read","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Missing required scope: graph:read"}}"#,
    r#"{"error":{"code":"HTTPException","message":"Not authorized to access this resource","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Not authorized to access this resource"}}"#,
    r#"{"error":{"code":"HTTPException","message":"Not Found","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"Not Found"}}"#,
    r#"{"error":{"code":"JWT_SETTINGS_NOT_CONFIGURED","message":"JWT settings are not configured","details":[]},"metadata":{"request_id":"ID","timestamp":"TIME","message":"JWT settings are not configured"}}"#,
];

const PROFILES: [Profile; 7] = [
    ("Standard", [(401, ""), (401, ""), (401, ""), (401, ""), (403, ""), (403, ""), (404, ""), (503, "")]),
    (
        "AIQ",
        [
            (401, r#"{"detail":"Missing auth token","error":"token_missing"}"#),
            (401, r#"{"detail":"Invalid auth token","error":"token_invalid"}"#),
            (401, r#"{"detail":"Token has expired","error":"token_expired"}"#),
            (401, r#"{"detail":"Authentication failed","error":"claim_missing"}"#),
            (403, r#"{"detail":"Authentication failed","error":"insufficient_scope"}"#),
            (403, r#"{"detail":"Authentication failed","error":"forbidden"}"#),
            (404, r#"{"detail":"Not found"}"#),
            (503, r#"{"detail":"Authentication failed","error":"auth_unavailable"}"#),
        ],
    ),
    ("AgentFlow", agentflow(401)),
    ("AgentFlow403", agentflow(403)),
    (
        "FastAPIDetail",
        [
            (401, r#"{"detail":"Not authenticated"}"#),
            (401, r#"{"detail":"Could not validate credentials"}"#),
            (401, r#"{"detail":"Token has expired"}"#),
            (401, r#"{"detail":"Could not validate credentials"}"#),
            (403, r#"{"detail":"Missing required scope: graph:read"}"#),
            (403, r#"{"detail":"Forbidden"}"#),
            (404, r#"{"detail":"Not Found"}"#),
            (503, r#"{"detail":"Service Unavailable"}"#),
        ],
    ),
    (
        "Qaynaq",
        [
            (401, r#"{"error":"Unauthorized"}"#),
            (401, r#"{"error":"Unauthorized"}"#),
            (401, r#"{"error":"Unauthorized"}"#),
            (401, r#"{"error":"Unauthorized"}"#),
            (403, r#"{"error":"forbidden: role required"}"#),
            (403, r#"{"error":"forbidden: role required"}"#),
            (404, r#"{"error":"not found"}"#),
            (503, r#"{"error":"service unavailable"}"#),
        ],
    ),
    (
        "CQ",
        [
            (401, r#"{"detail":"Missing or invalid authorization header"}"#),
            (401, r#"{"detail":"Invalid or expired token"}"#),
            (401, r#"{"detail":"Invalid or expired token"}"#),
            (401, r#"{"detail":"Invalid or expired token"}"#),
            (403, r#"{"detail":"Missing required scope: graph:read"}"#),
            (403, r#"{"detail":"Forbidden"}"#),
            (404, r#"{"detail":"Not Found"}"#),
            (503, r#"{"detail":"Service Unavailable"}"#),
        ],
    ),
];

/// What a gRPC client is told about each of them: unauthenticated, permission denied, not found, unavailable.
const GRPC: [&str; 8] = ["16", "16", "16", "16", "7", "7", "5", "14"];

const fn agentflow(unknown: u16) -> [(u16, &'static str); 8] {
    let [missing, invalid, expired, claim, scope, role, found, down] = FLOW;
    [
        (unknown, missing),
        (unknown, invalid),
        (unknown, expired),
        (unknown, claim),
        (403, scope),
        (403, role),
        (404, found),
        (503, down),
    ]
}

fn policy(profile: &str, issuer: &str) -> String {
    let name = profile.to_lowercase();
    format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: {name}, namespace: demo}}
spec:
  externalHostnames: [{name}.example.com]
  authenticators:
  - name: sso
    jwt: {{issuer: '{issuer}', audiences: [api], requiredClaims: [user_id]}}
  - name: away
    jwt: {{keys: [{{algorithm: HS256, secretKeyRef: {{name: away, key: jwt}}}}, {{algorithm: HS384, secretKeyRef: {{name: here, key: jwt}}}}]}}
  errors: {{profile: {profile}}}
  routes:
  - {{name: scope, paths: [/scope], require: {{scopes: ['graph:read']}}}}
  - {{name: role, paths: [/role], require: {{roles: [admin]}}}}
  - {{name: all, paths: [/all]}}
  unmatched: NotFound
"
    )
}

async fn bench() -> Result<Bench, PeerError> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "here", "namespace": "demo"},
        "stringData": {"jwt": "a secret of forty-eight bytes...................."}});
    let all = |issuer: &tests::Issuer| {
        let policies = PROFILES.map(|(profile, _)| (format!("{profile}.yaml"), policy(profile, &issuer.url())));
        policies.into_iter().chain([("secret.yaml".to_owned(), secret.to_string())]).collect()
    };
    Bench::with(all).await
}

/// One call for each mistake.
fn calls(bench: &Bench) -> Result<[(&'static str, Call); 8], PeerError> {
    let token = |claims: Value| bench.issuer.token(&claims);
    let good = token(json!({"aud": "api", "sub": "a", "user_id": "u"}))?;
    let late = token(json!({"aud": "api", "sub": "a", "user_id": "u", "exp": now() - 60}))?;
    let nameless = token(json!({"aud": "api", "sub": "a"}))?;
    // {"alg":"HS256"}, {}: of the key that is away, for all that anybody knows.
    let unknown = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
    let at = |path: &str| bench.call().path(path);
    Ok([
        ("nothing", at("/all")),
        ("nonsense", at("/all").bearer("nonsense")),
        ("late", at("/all").bearer(&late)),
        ("no user_id", at("/all").bearer(&nameless)),
        ("no scope", at("/scope").bearer(&good)),
        ("no role", at("/role").bearer(&good)),
        ("nowhere", at("/nowhere").bearer(&good)),
        ("nobody knows", at("/all").bearer(unknown)),
    ])
}

/// The body with the answer's own id and time in place of theirs.
fn words(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let of = |name: &str| {
        let own = body.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
        own.filter(|text| !text.is_empty()).unwrap_or("?").to_owned()
    };
    answer.body.replace(&of("request_id"), "ID").replace(&of("timestamp"), "TIME")
}

#[track_caller]
fn assert_whole(what: &str, answer: &Answer, profile: &str, (status, body): (u16, &str), method: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let media = if profile == "Standard" { "application/problem+json" } else { "application/json" };
    assert_eq!(answer.header("content-type").as_deref(), Some(media), "{what}: {answer:?}");
    match (method, body) {
        ("HEAD", _) => assert_eq!(answer.body, "", "{what}"),
        (_, "") => assert!(answer.body.contains(&format!("\"status\":{status}")), "{what}: {answer:?}"),
        _ => assert_eq!(words(answer), body, "{what}"),
    }
    let challenges = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").count();
    let scope = answer.header("www-authenticate").is_some_and(|value| value.contains("insufficient_scope"));
    assert_eq!(challenges, usize::from(status == 401 || scope), "{what}: {answer:?}");
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{what}");
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{what}: {answer:?}");
    assert_eq!(answer.header("grpc-status"), None, "{what}");
}

#[tokio::test]
async fn every_profile_says_its_words_to_every_client() -> Outcome {
    let bench = bench().await?;
    let calls = calls(&bench)?;
    // The first token may wait too long for the issuer's keys.
    let [.., (_, scoped), _, _, _] = &calls;
    scoped.clone().host("aiq.example.com").http1_when_available().await?;
    for (profile, expected) in PROFILES {
        let host = format!("{}.example.com", profile.to_lowercase());
        for (((what, call), expected), grpc) in calls.iter().zip(expected).zip(GRPC) {
            let call = call.clone().host(&host);
            for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE"] {
                let shown = format!("{profile}, {what}, {method}");
                let call = call.clone().method(method);
                assert_whole(&shown, &call.http1().await?, profile, expected, method);
                assert_whole(&shown, &call.http2().await?, profile, expected, method);
            }
            // A gRPC client reads a status and no body: HTTP 200, whatever the profile says (the answer has headers alone).
            let call = call.method("POST").header("content-type", "application/grpc").header("te", "trailers");
            let answer = call.http2().await?;
            assert_eq!(
                (answer.status, answer.header("grpc-status").as_deref(), answer.body.as_str()),
                (200, Some(grpc), ""),
                "{profile}, {what}, gRPC: {answer:?}"
            );
        }
    }
    assert!(bench.upstream.seen().is_empty(), "{:?}", bench.upstream.seen());
    Ok(())
}
