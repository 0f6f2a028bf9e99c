//! Qaynaq's roles, allow lists and MCP guard behind a real Envoy, with its bodies.

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use tests::{Bench, Call, PeerError, issuer::now, wait};

use crate::Outcome;

/// The page's policy, as it is there but for the issuer.
const EXAMPLE: &str = include_str!("../../../examples/qaynaq/policy.yaml");
/// Of 32 bytes, as Qaynaq wants it.
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "at_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const MISSING: &str =
    r#"{"error":"authentication required, provide token via Authorization header or ?token= query parameter"}"#;
const INVALID: &str = r#"{"error":"invalid or unauthorized token"}"#;
const FILE: &str = "qaynaq.yaml";
const GUARDED: &str = "access: Authenticated";

fn policy(issuer: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: qaynaq, namespace: qaynaq}}
spec:
  externalHostnames: [qaynaq.example.com]
  authenticators:
  - name: sso
    jwt: {{issuer: '{issuer}', audiences: [qaynaq]}}
    require: {{emails: [boss@partner.example], domains: [example.com]}}
  - name: api-tokens
    credentials: [{{header: Authorization, scheme: Bearer}}, {{query: token}}]
    apiKey: {{sha256: {{secretRef: {{name: tokens}}}}}}
    claims: {{subject: [name]}}
  authorization:
    roles:
      jmesPath: \"contains(groups || `[]`, 'ops') && 'Admin' || contains(groups || `[]`, 'bots') && 'MCP' || ''\"
      globs: {{admin: ['*.admin@example.com'], mcp: ['agent-?@example.com']}}
      otherwise: ''
  errors: {{profile: Qaynaq}}
  routes:
  - name: api
    paths: ['/api/{{**}}']
    authenticators: [sso]
    require: {{roles: [admin]}}
    errors: {{responses: {{forbidden: {{status: 307, location: /no-access, unlessAccept: application/json}}}}}}
  - name: mcp
    paths: [/mcp]
    {GUARDED}
    errors:
      responses:
        missing_credential: {{headers: {{content-type: application/json}}, body: '{MISSING}'}}
        invalid_token: {{headers: {{content-type: application/json}}, body: '{INVALID}'}}
  unmatched: NotFound
"
    )
}

/// One record, under the digest of its token.
fn tokens(all: &[&str]) -> String {
    let name = |token: &str| {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let records: serde_json::Map<String, Value> =
        all.iter().map(|token| (name(token), json!(r#"{"name":"CI"}"#))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens", "namespace": "qaynaq"}, "stringData": records})
        .to_string()
}

async fn bench() -> Result<Bench, PeerError> {
    Bench::with(|issuer| vec![(FILE.to_owned(), policy(&issuer.url())), ("tokens.yaml".to_owned(), tokens(&[TOKEN]))])
        .await
}

fn call(bench: &Bench, path: &str) -> Call {
    bench.call().host("qaynaq.example.com").path(path)
}

#[tokio::test]
async fn roles_and_lists_decide_who_uses_the_api() -> Outcome {
    let bench = bench().await?;
    for (what, claims, admin, role) in [
        ("by expression", json!({"groups": ["ops"]}), true, "admin"),
        ("by expression, the lesser one", json!({"groups": ["bots"]}), false, "mcp"),
        ("by glob", json!({"email": "eve.admin@example.com"}), true, "admin"),
        ("by glob, in any case", json!({"email": "EVE.Admin@Example.com"}), true, "admin"),
        ("by the other glob", json!({"email": "agent-7@example.com"}), false, "mcp"),
        ("the expression before the globs", json!({"groups": ["bots"], "email": "x.admin@example.com"}), false, "mcp"),
        ("none", json!({"groups": ["guests"]}), false, ""),
        ("groups that are no list", json!({"groups": {"ops": true}}), false, ""),
    ] {
        let claims = [json!({"aud": "qaynaq", "sub": "eve", "email": "eve@example.com"}), claims].into_iter().fold(
            json!({}),
            |mut all, one| {
                one.as_object().into_iter().flatten().for_each(|(name, value)| all[name] = value.clone());
                all
            },
        );
        let token = bench.issuer.token(&claims)?;
        let json = call(&bench, "/api/v0/x").bearer(&token).header("accept", "application/json").http1().await?;
        if admin {
            let roles = json.seen().and_then(|seen| seen.header("x-auth-roles"));
            assert_eq!((json.status, roles.as_deref()), (200, Some(role)), "{what}: {json:?}");
            continue;
        }
        assert_eq!((json.status, json.body.as_str()), (403, r#"{"error":"forbidden: role required"}"#), "{what}");
        assert_eq!(json.header("content-type").as_deref(), Some("application/json"), "{what}");
        let page = call(&bench, "/api/v0/x").bearer(&token).header("accept", "text/html").http1().await?;
        assert_eq!((page.status, page.header("location").as_deref()), (307, Some("/no-access")), "{what}");
        // The lesser role reaches what asks for none.
        assert_eq!(call(&bench, "/mcp").bearer(&token).http1().await?.status, 200, "{what}");
    }
    for (email, status) in [
        ("boss@partner.example", 200),
        ("BOSS@partner.example", 200),
        ("other@partner.example", 403),
        ("a@evil.example@example.com", 403),
        ("a@example.com.evil.example", 403),
    ] {
        let claims = json!({"aud": "qaynaq", "sub": "x", "email": email, "groups": ["ops"]});
        let call = call(&bench, "/api/v0/x").bearer(&bench.issuer.token(&claims)?).header("accept", "application/json");
        assert_eq!(call.http1().await?.status, status, "{email}");
    }
    let nobody = json!({"aud": "qaynaq", "sub": "x", "groups": ["ops"]});
    let nobody = call(&bench, "/api/v0/x").bearer(&bench.issuer.token(&nobody)?).header("accept", "application/json");
    assert_eq!(nobody.http1().await?.status, 403, "no address is on no list");
    Ok(())
}

#[tokio::test]
async fn the_guard_of_mcp_takes_tokens_in_two_places_and_can_be_switched() -> Outcome {
    let bench = bench().await?;
    for path in ["/mcp", "/mcp?x=1"] {
        let answer = call(&bench, path).http1().await?;
        assert_eq!((answer.status, answer.body.as_str()), (401, MISSING), "{answer:?}");
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{answer:?}");
    }
    for bad in [call(&bench, "/mcp").bearer("at_unknown"), call(&bench, "/mcp?token=at_unknown")] {
        let answer = bad.http1().await?;
        assert_eq!((answer.status, answer.body.as_str()), (401, INVALID), "{answer:?}");
    }
    let by_query = format!("/mcp?a=1&token={TOKEN}");
    for good in [call(&bench, "/mcp?a=1").bearer(TOKEN), call(&bench, &by_query)] {
        let answer = good.http1().await?;
        let seen = answer.seen().unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!((seen.path.as_str(), seen.header("authorization")), ("/mcp?a=1", None), "{seen:?}");
        assert_eq!(seen.header("x-auth-subject").as_deref(), Some("CI"));
    }
    // An API token is none of the dashboard's.
    let api = call(&bench, "/api/v0/x").bearer(TOKEN).header("accept", "application/json").http1().await?;
    assert_eq!((api.status, api.body.as_str()), (401, r#"{"error":"Unauthorized"}"#));

    let until = async |status: u16, call: Call| {
        wait::until(&format!("{status}"), wait::LONG, || async {
            (call.http1().await.ok()?.status == status).then_some(())
        })
        .await
    };
    // Off, and on again; a token that is deleted ends, one that is made begins.
    bench.product.edit(FILE, GUARDED, "access: Public")?;
    until(200, call(&bench, "/mcp")).await?;
    bench.product.edit(FILE, "access: Public", GUARDED)?;
    until(401, call(&bench, "/mcp")).await?;
    bench.product.write("tokens.yaml", &tokens(&["at_new"]))?;
    until(200, call(&bench, "/mcp").bearer("at_new")).await?;
    until(401, call(&bench, "/mcp").bearer(TOKEN)).await?;
    // What nobody can read is protected: nothing of it is believed, and what was before holds.
    bench.product.write(FILE, "kind: [")?;
    bench.product.write("tokens.yaml", &tokens(&["at_last"]))?;
    until(200, call(&bench, "/mcp").bearer("at_last")).await?;
    assert_eq!(call(&bench, "/mcp").http1().await?.status, 401);
    Ok(())
}

/// A page goes where it can ask for access; whoever names JSON is told in JSON, and a gRPC client by its status.
#[tokio::test]
async fn what_a_client_accepts_decides_between_a_page_and_json() -> Outcome {
    let bench = bench().await?;
    let token = bench.issuer.token(&json!({"aud": "qaynaq", "sub": "eve", "email": "eve@example.com"}))?;
    let ask = || call(&bench, "/api/v0/x").bearer(&token);
    ask().http1_when_available().await?;
    for (accept, is_json) in [
        (&[][..], false),
        (&["*/*"], false),
        (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false),
        (&["application/*"], false),
        (&["application/jsonp"], false),
        (&["application/json;q=0"], false),
        (&["application/json ; Q=0.0, text/html"], false),
        (&[""], false),
        (&["application/json"], true),
        (&["Application/JSON; charset=utf-8"], true),
        (&["text/html, application/json;q=0.1"], true),
        (&["application/json;q=1"], true),
        // Lines are one list.
        (&["text/html", "application/json"], true),
    ] {
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            let call = accept.iter().fold(ask().method(method), |call, value| call.header("accept", value));
            for answer in [call.http1().await?, call.http2().await?] {
                let what = format!("{method} {accept:?}: {answer:?}");
                let told = (answer.status, answer.header("location"), answer.header("content-type"));
                if is_json {
                    assert_eq!(told, (403, None, Some("application/json".to_owned())), "{what}");
                    let body = if method == "HEAD" { "" } else { r#"{"error":"forbidden: role required"}"# };
                    assert_eq!(answer.body, body, "{what}");
                } else {
                    assert_eq!(told, (307, Some("/no-access".to_owned()), None), "{what}");
                    assert_eq!(answer.body, "", "{what}");
                }
                assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{what}");
                assert_eq!(answer.header("www-authenticate"), None, "{what}");
            }
        }
    }
    for accept in ["text/html", "application/json"] {
        let rpc = ask().method("POST").header("content-type", "application/grpc+proto").header("te", "trailers");
        let rpc = rpc.header("accept", accept).http2().await?;
        assert_eq!((rpc.header("grpc-status").as_deref(), rpc.header("location")), (Some("7"), None), "{rpc:?}");
    }
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

/// Qaynaq's own default, where nothing is said about roles: everybody is an administrator.
#[tokio::test]
async fn without_any_rule_everybody_is_an_administrator() -> Outcome {
    let bench = Bench::with(|issuer| {
        let text = policy(&issuer.url());
        let (before, rules) = text.split_once("    roles:\n").expect("roles");
        let (_, after) = rules.split_once("      otherwise: ''\n").expect("what follows them");
        let text = format!("{before}    roles: {{otherwise: admin}}\n{after}");
        vec![(FILE.to_owned(), text), ("tokens.yaml".to_owned(), tokens(&[TOKEN]))]
    })
    .await?;
    for claims in [
        json!({"aud": "qaynaq", "sub": "x", "email": "x@example.com"}),
        json!({"aud": "qaynaq", "sub": "x", "email": "agent-7@example.com", "groups": ["bots"], "role": "MCP"}),
    ] {
        let answer = call(&bench, "/api/v0/x").bearer(&bench.issuer.token(&claims)?).http1_when_available().await?;
        let roles = answer.seen().and_then(|seen| seen.header("x-auth-roles"));
        assert_eq!((answer.status, roles.as_deref()), (200, Some("admin")), "{answer:?}");
    }
    // Who is on no list is nobody still, and so is who has no token.
    let other = json!({"aud": "qaynaq", "sub": "x", "email": "x@else.example"});
    let other = call(&bench, "/api/v0/x").bearer(&bench.issuer.token(&other)?).header("accept", "application/json");
    assert_eq!(other.http1().await?.status, 403);
    assert_eq!(call(&bench, "/api/v0/x").http1().await?.status, 401);
    Ok(())
}

/// A token under Qaynaq's secret, as its own sign-in makes one; null leaves a claim out.
fn session(algorithm: &str, change: &Value) -> String {
    let claims = json!({"user_id": "u-1", "email": "eve@example.com", "auth_type": "oauth2", "iss": "qaynaq",
        "claims": {"groups": ["qaynaq-admins"]}, "iat": now(), "exp": now() + 86_400});
    let mut claims = claims.as_object().cloned().unwrap_or_default();
    claims.extend(change.as_object().cloned().unwrap_or_default());
    claims.retain(|_, value| !value.is_null());
    let claims = Value::Object(claims);
    let header = json!({"alg": algorithm, "typ": "JWT"});
    let input = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
    let digest = if algorithm == "HS512" { hmac::HMAC_SHA512 } else { hmac::HMAC_SHA256 };
    let tag = hmac::sign(&hmac::Key::new(digest, SECRET_KEY.as_bytes()), input.as_bytes());
    format!("{input}.{}", BASE64URL.encode(tag))
}

/// One secret signs sessions and tokens for MCP there; here the one is never the other.
#[tokio::test]
async fn sessions_that_qaynaq_signed_go_on() -> Outcome {
    let bench = Bench::with(|issuer| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "qaynaq", "namespace": "qaynaq"},
            "stringData": {"secret-key": SECRET_KEY}});
        let named = tokens(&[TOKEN]).replace("\"tokens\"", "\"qaynaq-api-tokens\"");
        let policy = EXAMPLE.replace("https://sso.example.com", &issuer.url());
        vec![(FILE.to_owned(), policy), ("a.yaml".to_owned(), secret.to_string()), ("b.yaml".to_owned(), named)]
    })
    .await?;
    let api = |method: &str| call(&bench, "/api/v0/x").method(method).header("accept", "application/json");
    let by_header = |token: &str| api("GET").bearer(token);
    let by_cookie = |token: &str| api("GET").header("cookie", &format!("theme=dark; qaynaq_session={token}"));
    let guest = json!({"claims": {"groups": ["guests"]}});
    let mcp = json!({"aud": "qaynaq-mcp", "sub": "eve@example.com", "client_id": "mcp_1", "scope": "mcp", "user_id": null,
        "email": null, "auth_type": null, "claims": null});
    for (what, token, status) in [
        ("an administrator by the snapshot of his claims", session("HS256", &json!({})), 200),
        ("by his address", session("HS256", &json!({"email": "x.admin@example.com", "claims": {}})), 200),
        ("somebody else", session("HS256", &guest), 403),
        ("without a snapshot", session("HS256", &json!({"claims": null})), 403),
        ("a snapshot that is no object", session("HS256", &json!({"claims": "qaynaq-admins"})), 403),
        ("a token for MCP", session("HS256", &mcp), 401),
        ("of another issuer", session("HS256", &json!({"iss": "other"})), 401),
        ("that is over", session("HS256", &json!({"exp": now() - 1})), 401),
        ("without an end", session("HS256", &json!({"exp": null})), 401),
        ("by another algorithm of the same secret", session("HS512", &json!({})), 401),
    ] {
        for call in [by_header(&token), by_cookie(&token)] {
            let answer = call.http1().await?;
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            if status == 200 {
                let seen = answer.seen().unwrap_or_else(|| panic!("{what}: {answer:?}"));
                let told = ["x-auth-subject", "x-auth-authenticator", "x-auth-roles"].map(|name| seen.header(name));
                assert_eq!(told.map(Option::unwrap_or_default), ["u-1", "sessions", "admin"], "{what}");
                assert!(!format!("{seen:?}").contains(&token), "{what}: the session reached Qaynaq: {seen:?}");
            }
        }
    }
    // A page of somebody else's cannot use the cookie.
    let good = session("HS256", &json!({}));
    let foreign =
        api("POST").header("cookie", &format!("qaynaq_session={good}")).header("origin", "https://evil.example");
    assert_eq!(foreign.http1().await?.status, 403);
    // And neither opens /mcp, where API tokens and people of the identity provider go.
    for token in [good, session("HS256", &mcp)] {
        let answer = call(&bench, "/mcp").bearer(&token).http1().await?;
        assert_eq!((answer.status, answer.body.as_str()), (401, INVALID), "{answer:?}");
    }
    assert_eq!(call(&bench, "/mcp").bearer(TOKEN).http1().await?.status, 200);
    Ok(())
}
