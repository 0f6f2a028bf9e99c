//! `explain` and enforcement are one function: for every case, both say the same, down to the headers that change.

use serde_json::{Value, json};
use tests::{Answer, Bench, Call, Issuer, PeerError, product};

use crate::Outcome;

fn documents(issuer: &Issuer) -> Vec<(String, String)> {
    let url = issuer.url();
    let text = format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: api, namespace: demo}}
spec:
  externalHostnames: [api.example.com]
  credentials: [{{header: Authorization, scheme: Bearer}}, {{cookie: sid}}]
  authenticators:
  - name: sso
    jwt: {{issuer: '{url}', audiences: [api]}}
  internal: {{access: Optional}}
  routes:
  - {{name: open, paths: [/open], access: Public}}
  - {{name: optional, paths: [/optional], access: Optional, invalidCredential: Ignore}}
  - {{name: write, paths: ['/docs/{{id}}'], methods: [PUT], require: {{scopes: [doc:write]}}}}
  - {{name: staff, paths: ['/staff/{{**}}'], require: {{cel: \"principal.email.endsWith('@corp.test')\"}}}}
  - {{name: app, paths: [/, '/app/{{**}}']}}
  unmatched: NotFound
  forward:
    headers:
    - {{name: x-team, claim: team}}
    - {{name: x-caller, cel: \"principal.type + ':' + principal.subject\"}}
"
    );
    vec![("policy.yaml".to_owned(), text)]
}

/// What `explain` says about a call.
async fn explained(bench: &Bench, call: &Call) -> Result<Value, PeerError> {
    let config = bench.product.config().display().to_string();
    let mut arguments = vec![
        "explain".to_owned(),
        "--config".to_owned(),
        config,
        "--scheme=http".to_owned(),
        "-o".to_owned(),
        "json".to_owned(),
    ];
    arguments.extend(call.as_flags());
    let finished = product::command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let report: Value =
        serde_json::from_str(&finished.output).unwrap_or_else(|error| panic!("{error}: {}", finished.output));
    assert_eq!(
        finished.code,
        Some(i32::from(report.pointer("/decision").is_some_and(|word| word == "deny"))),
        "{report}"
    );
    Ok(report)
}

fn compare(name: &str, report: &Value, answer: &Answer) {
    let Some(seen) = answer.seen().filter(|_| answer.status == 200) else {
        assert_eq!(
            (report["status"].as_u64(), report["code"].as_str()),
            (Some(answer.status.into()), Some(&*answer.code())),
            "{name}"
        );
        return;
    };
    assert_eq!((report["decision"].as_str(), report["code"].as_str()), (Some("allow"), Some("")), "{name}: {report}");
    for (header, value) in report.pointer("/headers/set").and_then(Value::as_object).expect("an object") {
        if header != "cookie" {
            assert_eq!(seen.header(header).as_deref(), value.as_str(), "{name}: {header}");
        }
    }
    for header in report.pointer("/headers/removed").and_then(Value::as_array).expect("a list") {
        let header = header.as_str().expect("text");
        assert_eq!(seen.header(header), None, "{name}: {header}");
    }
}

#[tokio::test]
async fn explain_says_what_happens() -> Outcome {
    let bench = Bench::with(documents).await?;
    let token = |claims: Value| bench.issuer.token(&claims);
    let alice = token(
        json!({"aud": "api", "sub": "alice", "team": "blue", "email": "a@corp.test", "roles": ["x,y"], "scope": "doc:write"}),
    )?;
    let bob = token(json!({"aud": "api", "sub": "Jörg", "email": "b@other.test"}))?;
    let call = || bench.call();
    let cookie = format!("sid={alice}; theme=dark");
    let cases = [
        ("nothing", call()),
        ("alice", call().bearer(&alice)),
        ("a subject outside ASCII", call().path("/app/x?y=1").bearer(&bob)),
        ("another audience", call().bearer(&token(json!({"aud": "other", "sub": "a"}))?)),
        ("expired", call().bearer(&token(json!({"aud": "api", "sub": "a", "exp": 1}))?)),
        ("no subject", call().bearer(&token(json!({"aud": "api"}))?)),
        ("a name that cannot be carried", call().bearer(&token(json!({"aud": "api", "sub": "a\nb"}))?)),
        ("garbage", call().bearer("garbage")),
        ("the cookie", call().header("cookie", &cookie)),
        (
            "the cookie from elsewhere",
            call().method("POST").header("cookie", &cookie).header("origin", "https://evil.test"),
        ),
        ("a forged cookie beside the header", call().bearer(&alice).header("cookie", "sid=forged; a=b")),
        ("open", call().path("/open").bearer("garbage").header("x-auth-subject", "mallory")),
        ("optional and bad", call().path("/optional").bearer("garbage")),
        ("optional and nothing", call().path("/optional")),
        ("a scope that is there", call().method("PUT").path("/docs/1").bearer(&alice)),
        ("a scope that is missing", call().method("PUT").path("/docs/1").bearer(&bob)),
        ("another method", call().path("/docs/1").bearer(&alice)),
        ("a condition that holds", call().path("/staff/x").bearer(&alice)),
        ("a condition that does not", call().path("/staff/x").bearer(&bob)),
        ("no route", call().path("/nowhere").bearer(&alice)),
        ("internal", call().host("api.demo.svc").path("/anything")),
        (
            "spoofed",
            call().bearer(&alice).header("x-auth-roles", "admin").header("x-team", "red").header("x.auth.user", "m"),
        ),
    ];
    let (mut allowed, mut refused) = (0, 0);
    for (name, call) in cases {
        let (answer, report) = (call.http1().await?, explained(&bench, &call).await?);
        compare(name, &report, &answer);
        *if report["decision"] == "allow" { &mut allowed } else { &mut refused } += 1;
        for part in [&alice, &bob].into_iter().flat_map(|token| token.split('.')) {
            assert!(!report.to_string().contains(part), "{name}: explain shows a piece of a token");
        }
    }
    assert_eq!((allowed, refused), (11, 11), "both kinds are among the cases");
    Ok(())
}
