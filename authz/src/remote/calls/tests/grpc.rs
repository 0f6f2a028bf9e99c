//! Webhooks by gRPC: what a server sees, what its answers mean, and servers that say yes by accident.

use std::{io, net::SocketAddr};

use axum::{Router, serve::Listener};
use envoy_types::pb::{
    envoy::service::auth::v3::{
        CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
        authorization_server::{Authorization, AuthorizationServer},
        check_response::HttpResponse,
    },
    google::{
        protobuf::{ListValue, Struct, Value, value::Kind},
        rpc::Status as Verdict,
    },
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{Code, Request, Response, Status};

use super::{
    server::{Mode, Service},
    tls::{Authority, config, document},
    *,
};

/// Answers everything alike, and remembers what it was asked.
#[derive(Clone)]
struct Server {
    answer: Arc<Mutex<Result<CheckResponse, Code>>>,
    seen: Arc<Mutex<Vec<CheckRequest>>>,
}

#[tonic::async_trait]
impl Authorization for Server {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.seen.lock().push(request.into_inner());
        let answer = self.answer.lock().clone();
        match answer {
            // Nobody who waits for this gets anything.
            Err(Code::Cancelled) => std::future::pending().await,
            answer => answer.map(Response::new).map_err(|code| Status::new(code, "no")),
        }
    }
}

impl Server {
    fn new() -> Self {
        Self { answer: Arc::new(Mutex::new(Ok(CheckResponse::default()))), seen: Arc::default() }
    }

    fn router(&self) -> Router {
        Router::new().fallback_service(AuthorizationServer::new(self.clone()))
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

/// Connections over TLS.
struct Secure(TcpListener, TlsAcceptor);

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Connections to a server. The first one is as if to a machine that has gone, from when this is true: open, and silent.
async fn relay(server: SocketAddr, gone: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = Some(gone);
        while let Ok((mut outside, _)) = listener.accept().await {
            let mut inside = TcpStream::connect(server).await.unwrap();
            let mut gone = first.take().unwrap_or_else(|| watch::channel(false).1);
            tokio::spawn(async move {
                let gone = async { gone.wait_for(|gone| *gone).await.is_ok() };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut outside, &mut inside) => {}
                    true = gone => std::future::pending::<()>().await,
                }
            });
        }
    });
    address
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn claims(more: Vec<(&str, Value)>) -> Struct {
    let all = [vec![("sub", text("alice"))], more].concat();
    Struct { fields: all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

fn verdict(code: i32) -> Verdict {
    Verdict { code, ..Verdict::default() }
}

fn yes(more: Vec<(&str, Value)>) -> CheckResponse {
    CheckResponse { status: Some(verdict(0)), dynamic_metadata: Some(claims(more)), http_response: None }
}

fn authenticator_at(address: SocketAddr) -> Arc<Authenticator> {
    authenticator(&format!("webhook: {{url: 'grpc://{address}', timeout: 500ms}}"), "")
}

#[tokio::test]
async fn a_server_is_asked_and_its_metadata_are_claims() {
    let server = Server::new();
    let address = server.start().await;
    let list = Value { kind: Some(Kind::ListValue(ListValue { values: vec![text("a"), text("b")] })) };
    let number = Value { kind: Some(Kind::NumberValue(4_102_444_800.0)) };
    *server.answer.lock() = Ok(yes(vec![("roles", list), ("exp", number)]));
    let body = webhook::credential_question("n/p", "svc", "key one", &[("x-tenant", "t1".to_owned())]);
    let authenticator = authenticator_at(address);
    let id = AskId::of(&[body.expose()]);
    let question = Arc::new(Ask { id, what: What::Credential(authenticator, body), fresh: false });
    let answer = reply(&cache(), &question).await;
    let Reply::Good(good) = answer else { panic!("{answer:?}") };
    assert_eq!(
        serde_json::Value::Object(good.claims),
        json!({"sub": "alice", "roles": ["a", "b"], "exp": 4_102_444_800_u64})
    );
    assert_eq!(good.ends_ms, Some(4_102_444_800_000));
    let seen = server.seen.lock().remove(0).attributes.unwrap();
    let extension = |name: &str| seen.context_extensions.get(name).map(String::as_str);
    assert_eq!(
        (extension("credential"), extension("policy"), extension("authenticator")),
        (Some("key one"), Some("n/p"), Some("svc"))
    );
    assert_eq!(
        seen.request.unwrap().http.unwrap().headers.into_iter().collect::<Vec<_>>(),
        [("x-tenant".to_owned(), "t1".to_owned())]
    );
}

#[tokio::test]
async fn answers_by_accident_are_none() {
    let server = Server::new();
    let question = credential(&authenticator_at(server.start().await), "opaque");
    let answered =
        |code, response| CheckResponse { status: Some(verdict(code)), http_response: response, ..yes(vec![]) };
    let denied = || Some(HttpResponse::DeniedResponse(DeniedHttpResponse::default()));
    let ok = || Some(HttpResponse::OkResponse(OkHttpResponse::default()));
    let deep =
        (0..64).fold(text("x"), |inner, _| Value { kind: Some(Kind::ListValue(ListValue { values: vec![inner] })) });
    let nan = Value { kind: Some(Kind::NumberValue(f64::NAN)) };
    for (what, response, expected) in [
        ("yes", Ok(answered(0, None)), Some(true)),
        ("yes, with an answer", Ok(answered(0, ok())), Some(true)),
        ("no", Ok(answered(16, denied())), Some(false)),
        ("no, for another reason", Ok(answered(7, denied())), Some(false)),
        ("no, in short", Ok(answered(16, None)), Some(false)),
        ("nothing at all", Ok(CheckResponse::default()), None),
        ("no status", Ok(CheckResponse { status: None, ..answered(0, ok()) }), None),
        ("yes and no", Ok(answered(0, denied())), None),
        ("yes and an error", Ok(answered(0, Some(HttpResponse::ErrorResponse(DeniedHttpResponse::default())))), None),
        ("no and yes", Ok(answered(16, ok())), None),
        ("another status", Ok(answered(14, denied())), None),
        ("no known status", Ok(answered(99, None)), None),
        ("a value of no kind", Ok(yes(vec![("a", Value { kind: None })])), None),
        ("a number that is none", Ok(yes(vec![("a", nan)])), None),
        ("a date that is none", Ok(yes(vec![("exp", text("soon"))])), None),
        ("too deep", Ok(yes(vec![("a", deep)])), None),
        ("too large", Ok(yes(vec![("a", text(&"a".repeat(1 << 17)))])), None),
        ("a failure", Err(Code::Unavailable), None),
        ("unauthenticated", Err(Code::Unauthenticated), None),
        ("silence", Err(Code::Cancelled), None),
    ] {
        *server.answer.lock() = response;
        let answer = reply(&cache(), &question).await;
        let said = match &answer {
            Reply::Good(_) => Some(true),
            Reply::Refused(_) => Some(false),
            Reply::Failed(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(said, expected, "{what}: {answer:?}");
    }
    // A server that knows no gRPC, a closed port, and a place that may not be reached.
    let plain = Service::start(Mode::Garbage).await;
    failed(&reply(&cache(), &credential(&authenticator_at(plain.address), "opaque")).await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = reply(&cache(), &credential(&authenticator_at(closed), "opaque")).await;
    assert_eq!(failed(&answer), "the service refuses connections");
    let strict = Options { networks: Networks::without_proxy(vec![]), ..Options::default() };
    let strict = RemoteCache::new(strict, &mut Registry::default(), Handle::current());
    assert!(failed(&reply(&strict, &question).await).contains("--allow-network"));
}

/// All questions to a server share one connection, which lasts while it is used: also one that leads nowhere any more.
#[tokio::test]
async fn a_connection_to_a_machine_that_has_gone_is_given_up() {
    let server = Server::new();
    *server.answer.lock() = Ok(yes(vec![]));
    let (gone, goes) = watch::channel(false);
    let authenticator = authenticator_at(relay(server.start().await, goes).await);
    let cache = cache();
    let asked = async |nth: usize| reply(&cache, &credential(&authenticator, &format!("key {nth}"))).await;
    assert_eq!(subject(&asked(0).await), Some("alice"));
    gone.send_replace(true);
    // Each takes half a second, and the silence is noticed after some four.
    let mut failures = 0;
    while subject(&asked(failures + 1).await).is_none() {
        failures += 1;
        assert!(failures < 30, "every question is asked over the connection that leads nowhere");
    }
    assert!(failures > 0, "the first one is silent");
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let (own, clients) = (Authority::new(), Authority::new());
    let mut settings = config(&own, "127.0.0.1", Some(&clients));
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let server = Server::new();
    *server.answer.lock() = Ok(yes(vec![]));
    let listener = Secure(TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(settings)));
    let (address, router) = (listener.local_addr().unwrap(), server.router());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (certificate, key) = clients.issue("gateway.test");
    let documents = document("ConfigMap", "own", &json!({"ca.crt": own.pem()}))
        + &document("Secret", "client", &json!({"tls.crt": certificate, "tls.key": key}));
    let bundle = "caBundleRef: {configMapKeyRef: {name: own, key: ca.crt}}";
    for (more, expected) in [
        (format!("{bundle}, clientCertificateRef: {{name: client}}"), true),
        (bundle.to_owned(), false),
        ("clientCertificateRef: {name: client}".to_owned(), false),
    ] {
        let kind = format!("webhook: {{url: 'grpcs://{address}', {more}}}");
        let answer = reply(&cache(), &credential(&authenticator(&kind, &documents), "opaque")).await;
        assert_eq!(subject(&answer).is_some(), expected, "{more}: {answer:?}");
    }
}
