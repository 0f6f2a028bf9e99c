//! A provider that can fail in every way the cache must survive. Speaks just enough HTTP/1.1, and counts what it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How requests for keys, and those for discovery, are answered.
#[derive(Debug, Clone)]
pub(in crate::jwks) enum Mode {
    /// With this status line, these header lines and this body.
    Answer { status: &'static str, headers: String, body: Vec<u8> },
    /// Not at all; the connection stays open.
    Hang,
    /// With the head of an answer and nothing more.
    HeadOnly,
    /// A byte every few milliseconds, without end.
    Drip,
    /// Chunks without end.
    Endless,
    /// The connection ends after half of the announced body.
    Cut,
}

/// What was asked so far, and how many clients gave up on an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::jwks) struct Hits {
    pub(in crate::jwks) discovery: usize,
    pub(in crate::jwks) keys: usize,
    pub(in crate::jwks) abandoned: usize,
    /// Requests for keys that wait for an answer now, and the most there ever were.
    pub(in crate::jwks) waiting: usize,
    pub(in crate::jwks) peak: usize,
}

struct State {
    keys: Mutex<Mode>,
    discovery: Mutex<Mode>,
    hits: watch::Sender<Hits>,
    /// Requests for keys are answered only while this is true.
    open: watch::Sender<bool>,
}

pub(in crate::jwks) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

impl Mode {
    pub(in crate::jwks) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::answer("200 OK", "content-type: application/json\r\n", body)
    }

    pub(in crate::jwks) fn answer(status: &'static str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status, headers: headers.to_owned(), body: body.into() }
    }

    pub(in crate::jwks) fn status(status: &'static str) -> Self {
        Self::answer(status, "content-type: application/json\r\n", r#"{"error":"stub"}"#)
    }
}

impl Provider {
    /// Listens on a free port of the loopback interface, with these keys and an honest discovery document.
    pub(in crate::jwks) async fn start(keys: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let document = format!(r#"{{"issuer":"http://{address}","jwks_uri":"http://{address}/keys"}}"#);
        let state = Arc::new(State {
            keys: Mutex::new(keys),
            discovery: Mutex::new(Mode::json(document)),
            hits: watch::Sender::new(Hits::default()),
            open: watch::Sender::new(true),
        });
        let listening = Some(tokio::spawn(accept(listener, state.clone())));
        Self { address, state, listening }
    }

    pub(in crate::jwks) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(in crate::jwks) fn keys_url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(in crate::jwks) fn serve_keys(&self, mode: Mode) {
        *self.state.keys.lock() = mode;
    }

    pub(in crate::jwks) fn serve_discovery(&self, mode: Mode) {
        *self.state.discovery.lock() = mode;
    }

    pub(in crate::jwks) fn discover(&self, issuer: &str, jwks_uri: &str) {
        self.serve_discovery(Mode::json(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{jwks_uri}"}}"#)));
    }

    /// Holds answers to requests for keys back, or lets them go.
    pub(in crate::jwks) fn set_open(&self, open: bool) {
        self.state.open.send_replace(open);
    }

    pub(in crate::jwks) fn hits(&self) -> Hits {
        *self.state.hits.borrow()
    }

    /// Waits until the counters satisfy a condition.
    pub(in crate::jwks) async fn until(&self, condition: impl FnMut(&Hits) -> bool) -> Hits {
        let mut hits = self.state.hits.subscribe();
        *within(hits.wait_for(condition)).await.unwrap()
    }

    /// Closes the port: connections are refused from now on.
    pub(in crate::jwks) async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Opens the same port again.
    pub(in crate::jwks) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listening = Some(tokio::spawn(accept(listener, self.state.clone())));
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// A condition that does not come true is a failed test, not one that hangs.
pub(in crate::jwks) async fn within<T>(condition: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), condition).await.expect("the condition never came true")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, state.clone()));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let discovery =
        String::from_utf8_lossy(&head).lines().next().unwrap().contains("/.well-known/openid-configuration ");
    let mode = if discovery { &state.discovery } else { &state.keys }.lock().clone();
    state.hits.send_modify(|hits| {
        if discovery {
            hits.discovery += 1;
        } else {
            (hits.keys, hits.waiting) = (hits.keys + 1, hits.waiting + 1);
            hits.peak = hits.peak.max(hits.waiting);
        }
    });
    let answered = async {
        if !discovery {
            // Time for a second request to show up, if there is one.
            tokio::task::yield_now().await;
            let _ = state.open.subscribe().wait_for(|open| *open).await;
            state.hits.send_modify(|hits| hits.waiting -= 1);
        }
        answer(&mut stream, mode).await
    };
    if answered.await.is_none() {
        state.hits.send_modify(|hits| hits.abandoned += 1);
    }
}

/// Answers; `None` once the client has given up.
async fn answer(stream: &mut TcpStream, mode: Mode) -> Option<()> {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    match mode {
        Mode::Answer { status, headers, body } => {
            let head =
                format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(&body).await.ok()
        }
        Mode::Hang => stream.read_u8().await.ok().map(drop),
        Mode::HeadOnly => {
            stream.write_all(format!("{json}content-length: 100\r\n\r\n").as_bytes()).await.ok()?;
            stream.read_u8().await.ok().map(drop)
        }
        Mode::Drip => {
            stream.write_all(format!("{json}content-length: 100000\r\n\r\n").as_bytes()).await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Mode::Endless => {
            stream.write_all(format!("{json}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.ok()?;
            let chunk = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk).await.ok()?;
            }
        }
        Mode::Cut => stream.write_all(format!("{json}content-length: 100\r\n\r\n{{\"keys\":").as_bytes()).await.ok(),
    }
}
