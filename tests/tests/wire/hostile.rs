//! Services that are slow, huge, elsewhere or wrong, behind a real Envoy: a refusal of ours in time, and nobody gets through.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tests::{Bench, PeerError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{Outcome, assert_refused};

const GOOD: &str = r#"{"active":true,"sub":"alice","authenticated":true,"claims":{"sub":"alice"}}"#;
const KINDS: [&str; 3] = ["introspection", "userinfo", "webhook"];

/// How a service answers.
#[derive(Clone)]
enum Mode {
    /// With these bytes.
    Bytes(Vec<u8>),
    /// Not at all.
    Hang,
    /// With these bytes again and again, a moment apart.
    Endless(&'static [u8], Duration),
}

struct Service {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    async fn start() -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a service"))?;
        let address = listener.local_addr().map_err(PeerError::io("a service"))?;
        let (mode, asked) = (watch::Sender::new(Mode::Hang), Arc::new(AtomicUsize::new(0)));
        let (modes, counted) = (mode.subscribe(), asked.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mode = modes.borrow().clone();
                tokio::spawn(answer(socket, mode));
            }
        });
        Ok(Self { address, mode, asked })
    }
}

/// Whoever is gone needs no answer.
async fn answer(mut socket: TcpStream, mode: Mode) -> Option<()> {
    let mut question = vec![0; 64 * 1024];
    let _ = socket.read(&mut question).await.ok()?;
    match mode {
        Mode::Bytes(bytes) => socket.write_all(&bytes).await.ok()?,
        Mode::Hang => while socket.read(&mut question).await.ok()? > 0 {},
        Mode::Endless(bytes, pause) => loop {
            socket.write_all(bytes).await.ok()?;
            tokio::time::sleep(pause).await;
        },
    }
    socket.shutdown().await.ok()
}

fn response(status: &str, headers: &str, body: &str) -> Mode {
    let length = body.len();
    Mode::Bytes(
        format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

fn json_body(body: &str) -> Mode {
    response("200 OK", "content-type: application/json\r\n", body)
}

async fn bench(service: &Service) -> Result<Bench, PeerError> {
    let url = format!("http://{}", service.address);
    let policy = |name: &str, kind: &str| {
        let spec = format!("{{externalHostnames: [{name}.example.com], authenticators: [{{name: svc, {kind}}}]}}");
        format!(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: demo}}\nspec: {spec}\n---\n"
        )
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"}, "stringData": {"k": "client-secret"}});
    let client = "client: {clientID: gw, clientSecretRef: {name: s, key: k}}";
    let documents = format!(
        "{}{}{}{secret}\n",
        policy("introspection", &format!("introspection: {{endpoint: '{url}/introspect', {client}}}")),
        policy("userinfo", &format!("userInfo: {{endpoint: '{url}/userinfo'}}")),
        policy("webhook", &format!("webhook: {{url: '{url}/verify'}}")),
    );
    Bench::with(|_| vec![("hostile.yaml".to_owned(), documents)]).await
}

#[tokio::test]
async fn a_hostile_service_lets_nobody_in_and_holds_nobody_up() -> Outcome {
    let (service, target) = (Service::start().await?, Service::start().await?);
    target.mode.send_replace(json_body(GOOD));
    let bench = bench(&service).await?;
    let elsewhere = format!("location: http://{}/\r\ncontent-type: application/json\r\n", target.address);
    let huge = format!("{{\"pad\":\"{}\",{}", "x".repeat(4 << 20), &GOOD[1..]);
    let drip: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let cases = [
        ("silence", Mode::Hang),
        ("a line at a time", Mode::Endless(drip, Duration::from_millis(20))),
        ("no end", Mode::Endless(&[b'x'; 8192], Duration::ZERO)),
        ("four megabytes", json_body(&huge)),
        ("a redirect", response("302 Found", &elsewhere, GOOD)),
        ("a redirect that keeps the method", response("307 Temporary Redirect", &elsewhere, GOOD)),
        ("a page", response("200 OK", "content-type: text/html\r\n", "<html>")),
        ("a server error", response("500 Internal Server Error", "content-type: application/json\r\n", GOOD)),
        ("a list", json_body(&format!("[{GOOD}]"))),
        (
            "a member twice",
            json_body(
                r#"{"active":false,"active":true,"authenticated":false,"authenticated":true,"sub":"a","sub":"b"}"#,
            ),
        ),
        ("nothing", Mode::Bytes(Vec::new())),
    ];
    for (number, (what, mode)) in cases.into_iter().enumerate() {
        service.mode.send_replace(mode);
        for kind in KINDS {
            let call = bench.call().host(&format!("{kind}.example.com")).bearer(&format!("opaque-{number}"));
            let answer = call.http1().await?;
            println!("{what} before {kind}: {} {}", answer.status, answer.code());
            assert_refused(&answer, 503, "unavailable");
        }
    }
    // Answers in JSON that say yes in no way that counts.
    for (number, (kind, body)) in [
        ("introspection", r#"{"active":"true","sub":"alice"}"#),
        ("introspection", r#"{"active":1,"sub":"alice"}"#),
        ("introspection", r#"{"active":null,"sub":"alice"}"#),
        ("introspection", r#"{"active":[true],"sub":"alice"}"#),
        ("introspection", r#"{"sub":"alice"}"#),
        ("introspection", r#"{"active":true,"sub":"alice","exp":"2099-01-01"}"#),
        ("webhook", r#"{"authenticated":"true","claims":{"sub":"alice"}}"#),
        ("webhook", r#"{"authenticated":1,"claims":{"sub":"alice"}}"#),
        ("webhook", r#"{"authenticated":true,"claims":[{"sub":"alice"}]}"#),
        ("webhook", r#"{"authenticated":true,"claims":"alice"}"#),
        ("webhook", r#"{"claims":{"sub":"alice"}}"#),
        ("userinfo", r#""alice""#),
        ("userinfo", "null"),
    ]
    .into_iter()
    .enumerate()
    {
        service.mode.send_replace(json_body(body));
        let call = bench.call().host(&format!("{kind}.example.com")).bearer(&format!("shape-{number}"));
        let answer = call.http1().await?;
        println!("{body} of {kind}: {}", answer.status);
        assert_refused(&answer, 503, "unavailable");
    }
    // Nobody in particular is not somebody.
    for (number, sub) in ["7", "true", "null", "\"\"", "[\"alice\"]", "{\"alice\":1}"].into_iter().enumerate() {
        for (kind, body) in [
            ("introspection", format!("{{\"active\":true,\"sub\":{sub}}}")),
            ("userinfo", format!("{{\"sub\":{sub}}}")),
            ("webhook", format!("{{\"authenticated\":true,\"claims\":{{\"sub\":{sub}}}}}")),
        ] {
            service.mode.send_replace(json_body(&body));
            let call = bench.call().host(&format!("{kind}.example.com")).bearer(&format!("nobody-{number}"));
            let answer = call.http1().await?;
            println!("{body} of {kind}: {} {}", answer.status, answer.code());
            assert!(matches!(answer.status, 401 | 503), "{kind} {body}: {answer:?}");
        }
    }
    assert!(bench.upstream.seen().is_empty(), "{:?}", bench.upstream.seen());
    assert_eq!(target.asked.load(Ordering::Relaxed), 0, "a redirect was followed");

    // And once it behaves, it counts again.
    service.mode.send_replace(json_body(GOOD));
    for kind in KINDS {
        let call = bench.call().host(&format!("{kind}.example.com")).bearer("opaque-good");
        let answer = call.http1().await?;
        assert_eq!(
            answer.seen().and_then(|seen| seen.header("x-auth-subject")).as_deref(),
            Some("alice"),
            "{answer:?}"
        );
    }
    Ok(())
}
