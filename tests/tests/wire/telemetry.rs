//! Traces at a real collector, and the audit log, behind a real Envoy.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    routing::post,
};
use serde_json::{Value, json};
use tests::{
    Answer, Bench, Call, Issuer, PeerError,
    bench::Setup,
    collector::{Collector, Span},
    wait,
};
use tokio::net::TcpListener;

use crate::{Outcome, assert_allowed, assert_refused};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319";
const PARENT: &str = "b7ad6b7169203331";

/// One of sixteen traces.
fn trace(number: u8) -> String {
    format!("{TRACE}{number:x}")
}

fn traceparent(number: u8, flags: &str) -> String {
    format!("00-{}-{PARENT}-{flags}", trace(number))
}

/// A service that says yes, and keeps what it was sent.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<HeaderMap>>>);

impl Service {
    async fn start(&self) -> Result<SocketAddr, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the service"))?;
        let address = listener.local_addr().map_err(PeerError::io("the service's address"))?;
        let answer = async |State(service): State<Self>, headers: HeaderMap| {
            service.0.lock().expect("nobody panicked").push(headers);
            let answer = json!({"authenticated": true, "claims": {"sub": "service-subject"}});
            ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
        };
        let router = Router::new().route("/verify", post(answer)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    /// The header of the newest question.
    fn asked_with(&self, name: &str) -> Option<String> {
        let asked = self.0.lock().expect("nobody panicked");
        Some(asked.last()?.get(name)?.to_str().ok()?.to_owned())
    }
}

/// Tokens of the issuer, and keys that the service knows.
fn documents(issuer: &Issuer, service: SocketAddr) -> Vec<(String, String)> {
    let text = format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: api, namespace: demo}}
spec:
  externalHostnames: [api.example.com]
  authenticators:
  - name: sso
    jwt: {{issuer: '{}', audiences: [api]}}
  - name: custom
    webhook: {{url: 'http://{service}/verify', accepts: {{prefix: demo_}}}}
  routes:
  - {{name: special, paths: [/special]}}
",
        issuer.url()
    );
    vec![("policy.yaml".to_owned(), text)]
}

fn flags(flags: &[&str]) -> Setup {
    Setup { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), ..Setup::default() }
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    let [one] = named.as_slice() else { panic!("one span {name} is expected: {spans:#?}") };
    one
}

fn says(span: &Span, expected: &[(&str, &str)]) {
    let own = |text: &&str| (*text).to_owned();
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(name, value)| (format!("gatewright.{name}"), own(value))).collect();
    assert_eq!(span.attributes, expected);
}

#[tokio::test]
async fn the_trace_of_a_request_holds_its_check_and_what_that_waited_for() -> Outcome {
    let (collector, service) = (Collector::start().await?, Service::default());
    let address = service.start().await?;
    let setup = flags(&["--otlp-endpoint", &collector.url(), "--otlp-service-name=gate", "--trace-ratio=0"]);
    let mut bench = Bench::set_up(Issuer::start().await?, |issuer| documents(issuer, address), &setup).await?;
    let token = bench.alice()?;
    let call = |number: u8, flags: &str| bench.call().header("traceparent", &traceparent(number, flags));

    // Verified, and remembered: two checks of one trace each.
    for number in [1, 2] {
        assert_allowed(&call(number, "01").path("/special").bearer(&token).http1().await?, "alice");
    }
    assert_refused(&call(3, "01").bearer("x").http1().await?, 401, "invalid_token");
    // A key of nobody: the key set is asked for.
    let unknown = bench.issuer.token_by("rsa-of-nobody", &json!({"aud": "api", "sub": "alice"}))?;
    assert_refused(&call(4, "01").bearer(&unknown).http1().await?, 401, "invalid_token");
    let asked = call(5, "01").header("tracestate", "vendor=secret-state").bearer("demo_key").http1().await?;
    assert_allowed(&asked, "service-subject");
    let handed_on = service.asked_with("traceparent");
    assert_eq!(service.asked_with("tracestate"), None, "a text of the client's is not handed on");
    // Not recorded, and yet handed on; and what is no traceparent at all.
    assert_allowed(&call(6, "00").bearer("demo_other").http1().await?, "service-subject");
    let unrecorded = service.asked_with("traceparent").unwrap_or_default();
    assert!(unrecorded.starts_with(&format!("00-{}-", trace(6))) && unrecorded.ends_with("-00"), "{unrecorded}");
    for bad in ["", "00-1-1-01", "00-xyz", &"f".repeat(5000), &format!("{0},{0}", traceparent(7, "01"))] {
        assert_allowed(&bench.call().header("traceparent", bad).bearer(&token).http1().await?, "alice");
    }

    for (number, cached) in [(1, "false"), (2, "true")] {
        let spans = collector.until(&trace(number), 1).await?;
        let check = only(&spans, "check");
        assert_eq!((check.parent.as_str(), check.service.as_str(), check.failed), (PARENT, "gate", false));
        let expected = [("policy", "demo/api"), ("route", "special"), ("decision", "allow"), ("code", "")];
        says(check, &[&expected[..], &[("traffic", "external"), ("kind", "jwt"), ("cached", cached)]].concat());
    }
    let refused = collector.until(&trace(3), 1).await?;
    let expected = [("decision", "deny"), ("code", "invalid_token"), ("policy", "demo/api"), ("traffic", "external")];
    says(only(&refused, "check"), &[&expected[..], &[("kind", ""), ("cached", "false")]].concat());
    let fetched = collector.until(&trace(4), 2).await?;
    let keys = only(&fetched, "keys");
    assert_eq!(keys.parent, only(&fetched, "check").id);
    says(keys, &[("issuer", &bench.issuer.url()), ("outcome", "ok")]);
    let asked = collector.until(&trace(5), 2).await?;
    let question = only(&asked, "webhook");
    assert_eq!(question.parent, only(&asked, "check").id);
    says(question, &[("service", "custom"), ("outcome", "yes")]);
    assert_eq!(handed_on.as_deref(), Some(format!("00-{}-{}-01", trace(5), question.id).as_str()));

    // What is left is sent at the end.
    assert_eq!(bench.product.stop().await?.code, Some(0));
    let traces: Vec<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert!(traces.iter().all(|own| (1..=5).any(|number| *own == trace(number))), "{traces:?}");
    let text = collector.text();
    let parts = token.split('.').map(str::to_owned);
    for secret in parts.skip(1).chain(["demo_key", "alice", "service-subject", "secret-state"].map(str::to_owned)) {
        assert!(!text.contains(&secret), "{secret} is in {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_gone_or_hangs_is_nobody_elses_business() -> Outcome {
    let hanging = Collector::hanging().await?;
    // A port that nobody listens on.
    let gone = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr());
    let gone = format!("http://{}", gone.map_err(PeerError::io("a port"))?);
    for (endpoint, outcome) in [(gone, Some("failed")), (hanging.url(), None)] {
        let setup = flags(&["--otlp-endpoint", &endpoint, "--trace-ratio=1"]);
        let documents = |issuer: &Issuer| documents(issuer, SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut bench = Bench::set_up(Issuer::start().await?, documents, &setup).await?;
        let good = bench.good()?;
        for _ in 0..50 {
            assert_allowed(&good.http1().await?, "alice");
        }
        match outcome {
            Some(outcome) => until_counted(&bench, "gatewright_trace_spans_total", outcome).await?,
            None => drop(
                wait::until("the hanging collector to be sent something", wait::LONG, || async {
                    (!hanging.spans().is_empty()).then_some(())
                })
                .await?,
            ),
        }
        assert_allowed(&good.http1().await?, "alice");
        assert_eq!(bench.product.stop().await?.code, Some(0), "the end does not wait for it for ever");
    }
    let (folder, data) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let [config, data] = [folder.path(), data.path()].map(|path| path.display().to_string());
    let run = ["run", "--config", &config, "--data-dir", &data, "--otlp-endpoint", "collector"];
    let refused = tests::product::command(&run).await?;
    assert_eq!(refused.code, Some(2), "{}", refused.output);
    assert!(refused.output.contains("OTLP endpoint"), "for its own sake: {}", refused.output);
    Ok(())
}

/// Waits until a counter of this outcome is above zero.
async fn until_counted(bench: &Bench, name: &str, outcome: &str) -> Outcome {
    let line = format!("{name}{{outcome=\"{outcome}\"}} ");
    wait::until(&line, wait::LONG, || async {
        let (_, page) = bench.product.admin("/metrics").await;
        page.lines().find_map(|own| own.strip_prefix(&line)).filter(|count| *count != "0").map(|_| ())
    })
    .await
}

/// The lines of an audit log, each of which must be JSON in printable ASCII.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    text.lines().map(line).collect()
}

async fn until_lines(path: &Path, count: usize) -> Result<Vec<Value>, PeerError> {
    let what = format!("{count} lines in the audit log");
    wait::until(&what, wait::LONG, || async { Some(lines(path)).filter(|lines| lines.len() >= count) }).await
}

#[tokio::test]
async fn every_decision_is_one_line_of_the_audit_log() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("audit.jsonl");
    let setup = flags(&["--audit-log", &log.display().to_string(), "--audit-subject=clear"]);
    let bench = Bench::set_up(Issuer::start().await?, tests::bench::minimal, &setup).await?;
    let good = bench.good()?;
    let id = "7f3c2e10-0000-4000-8000-000000000001";
    let traced = good.clone().path("/a/b?access_token=hidden").header("traceparent", &traceparent(1, "01"));
    assert_allowed(&traced.http1().await?, "alice");
    assert_refused(&bench.call().method("POST").path("/c").bearer("x.y.z").http1().await?, 401, "invalid_token");

    let written = until_lines(&log, 2).await?;
    let (allowed, refused) = (&written[0], &written[1]);
    for (member, value) in [
        ("decision", "allow"),
        ("policy", "demo/api"),
        ("traffic", "external"),
        ("method", "GET"),
        ("host", "api.example.com"),
        ("path", "/a/b"),
        ("peer", "127.0.0.1"),
        ("kind", "jwt"),
        ("authenticator", "sso"),
        ("issuer", &bench.issuer.url()),
        ("subject", "alice"),
        ("trace_id", &trace(1)),
    ] {
        assert_eq!(allowed[member], value, "{member} of {allowed}");
    }
    assert_eq!(allowed["user"].as_str().map(str::len), Some(32));
    assert!(allowed["request_id"].as_str().is_some_and(|own| own.len() == id.len()), "Envoy's: {allowed}");
    assert!(allowed["time"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')));
    for (member, value) in [("decision", "deny"), ("code", "invalid_token"), ("method", "POST"), ("path", "/c")] {
        assert_eq!(refused[member], value, "{member} of {refused}");
    }
    assert_eq!((&refused["subject"], &refused["user"]), (&Value::Null, &Value::Null));

    // What a client sends does not leave its member, wherever Envoy lets it through.
    let plain = |path: &str| Call::to(bench.envoy.plain).path(path);
    let hostile: [Answer; 4] = [
        plain("/a\"},{\"decision\":\"allow\"").http1().await?,
        plain("/\u{1b}[31mred").http1().await?,
        plain("/%0a{\"decision\":\"allow\"}%1b[31m").http1().await?,
        plain("/\u{202e}\u{2028}\u{9b}").header("user-agent", "\u{1b}[31m\"}").http1().await?,
    ];
    let reached = hostile.iter().filter(|answer| !answer.code().is_empty()).count();
    assert!(reached > 0, "some reach us: {hostile:?}");
    let written = until_lines(&log, 2 + reached).await?;
    assert!(written.iter().skip(2).all(|line| line["decision"] == "deny"), "{written:?}");
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("hidden") && !text.contains("x.y.z"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_audit_log_on_standard_output_is_written_while_it_serves() -> Outcome {
    let bench = Bench::set_up(Issuer::start().await?, tests::bench::minimal, &flags(&["--audit-log=-"])).await?;
    assert_refused(&bench.call().path("/told").http1().await?, 401, "missing_credential");
    wait::until("its line", wait::LONG, || async {
        bench.product.output().contains("\"path\":\"/told\"").then_some(())
    })
    .await
}

#[tokio::test]
async fn an_audit_log_on_a_full_disk_costs_lines_only() -> Outcome {
    let setup = flags(&["--audit-log=/dev/full", "--audit-allowed=0"]);
    let bench = Bench::set_up(Issuer::start().await?, tests::bench::minimal, &setup).await?;
    for _ in 0..20 {
        assert_refused(&bench.call().http1().await?, 401, "missing_credential");
        assert_allowed(&bench.good()?.http1().await?, "alice");
    }
    until_counted(&bench, "gatewright_audit_lines_total", "failed").await?;
    let (_, page) = bench.product.admin("/metrics").await;
    assert!(page.contains("gatewright_audit_lines_total{outcome=\"written\"} 0"), "{page}");
    assert!(bench.product.output().contains("lines of the audit log are lost"), "{}", bench.product.output());
    let missing = "/proc/no-such-folder/audit.jsonl";
    let config = bench.product.config().display().to_string();
    let refused = tests::product::command(&["run", "--config", &config, "--audit-log", missing]).await?;
    assert!(refused.code == Some(1) && refused.output.contains(missing), "{}", refused.output);
    Ok(())
}
