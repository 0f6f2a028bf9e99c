//! A service that can answer in every way a caller must survive. Speaks just enough HTTP/1.1, and remembers what it was asked.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How a question is answered.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    /// With this status line, these header lines and this body.
    Answer { status: &'static str, headers: String, body: Vec<u8> },
    /// Not at all; the connection stays open.
    Hang,
    /// A byte every few milliseconds, without end.
    Drip,
    /// Chunks without end.
    Endless,
    /// The connection ends after half of the announced body.
    Cut,
    /// What is no HTTP.
    Garbage,
}

/// One question.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
}

pub(super) struct Service {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

struct State {
    mode: Mutex<Mode>,
    seen: watch::Sender<Vec<Seen>>,
    open: watch::Sender<bool>,
}

// === impl Mode ===

impl Mode {
    /// 200 and JSON.
    pub(super) fn json(body: &str) -> Self {
        Self::answer("200 OK", "content-type: application/json\r\n", body.as_bytes())
    }

    pub(super) fn answer(status: &'static str, headers: &str, body: &[u8]) -> Self {
        Self::Answer { status, headers: headers.to_owned(), body: body.to_vec() }
    }
}

// === impl Seen ===

impl Seen {
    /// The value of a header, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

// === impl Service ===

impl Service {
    pub(super) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            mode: Mutex::new(mode),
            seen: watch::Sender::new(Vec::new()),
            open: watch::Sender::new(true),
        });
        let shared = state.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state, listening }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn set(&self, mode: Mode) {
        *self.state.mode.lock() = mode;
    }

    /// Holds answers back, or lets them go.
    pub(super) fn set_open(&self, open: bool) {
        self.state.open.send_replace(open);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    /// Waits until so many questions have come.
    pub(super) async fn until(&self, count: usize) {
        let mut seen = self.state.seen.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(30), seen.wait_for(|seen| seen.len() >= count)).await;
        waited.expect("the questions never came").unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    while let Some(seen) = read(&mut stream).await {
        state.seen.send_modify(|all| all.push(seen));
        let _ = state.open.subscribe().wait_for(|open| *open).await;
        let mode = state.mode.lock().clone();
        if answer(&mut stream, mode).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut seen = Seen { head: String::from_utf8(head).unwrap(), body: String::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

/// Answers; `None` once the connection is of no more use.
async fn answer(stream: &mut TcpStream, mode: Mode) -> Option<()> {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    match mode {
        Mode::Answer { status, headers, body } => {
            let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(&body).await.ok()
        }
        Mode::Hang => stream.read_u8().await.ok().map(drop),
        Mode::Drip => {
            stream.write_all(format!("{json}content-length: 50000\r\n\r\n").as_bytes()).await.ok()?;
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
        Mode::Cut => {
            stream.write_all(format!("{json}content-length: 100\r\n\r\n{{\"active\":").as_bytes()).await.ok()?;
            None
        }
        Mode::Garbage => {
            stream.write_all(b"220 mail.test ESMTP\r\n\r\n").await.ok()?;
            None
        }
    }
}
