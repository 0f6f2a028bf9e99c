//! The client before Envoy: requests built field by field over HTTP/1 and HTTP/2, and exact bytes.
//! Never repairs a request: what a test asks for is what is sent.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    PeerError, secrets,
    upstream::Seen,
    wait::{self, LONG},
};

/// One request, to be sent over either protocol.
#[derive(Clone, Debug)]
pub struct Call {
    address: SocketAddr,
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Every header line, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Call {
    /// A `GET /` for `api.example.com` to that listener.
    pub fn to(address: SocketAddr) -> Self {
        let (method, host, path) = ("GET".into(), "api.example.com".into(), "/".into());
        Self { address, method, host, path, headers: Vec::new(), body: String::new() }
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another `Host` or `:authority`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Another path with query.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// One more header line; names may repeat.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        secrets::note(token);
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// A body with its length.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// What makes it the call of a gRPC client.
    #[must_use]
    pub fn grpc(self) -> Self {
        self.method("POST")
            .path("/pkg.Service/Call")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    /// What makes it a WebSocket handshake (RFC 6455, 4.1).
    #[must_use]
    pub fn websocket(self) -> Self {
        self.header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// The same request as flags of `gatewright explain`.
    pub fn as_flags(&self) -> Vec<String> {
        let Self { method, host, path, .. } = self;
        let mut flags = vec![format!("--method={method}"), format!("--host={host}"), format!("--path={path}")];
        flags.extend(self.headers.iter().map(|(name, value)| format!("--header={name}: {value}")));
        flags
    }

    /// Sends it over HTTP/1.1 on a connection of its own.
    pub async fn http1(&self) -> Result<Answer, PeerError> {
        exact(self.address, self.text().as_bytes()).await
    }

    /// Sends it until the answer is no longer 503: the first request that needs a token or a key of its own waits 150 ms for it at
    /// most, which a busy machine may exceed.
    pub async fn http1_when_available(&self) -> Result<Answer, PeerError> {
        wait::until("an answer other than 503", LONG, async || match self.http1().await {
            Ok(answer) if answer.status == 503 => None,
            sent => Some(sent),
        })
        .await?
    }

    /// Where it goes.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request as HTTP/1.1 writes it.
    pub(crate) fn text(&self) -> String {
        let Self { method, host, path, body, .. } = self;
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), format!("host: {host}")];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if !body.is_empty() {
            lines.push(format!("content-length: {}", body.len()));
        }
        format!("{}\r\n\r\n{body}", lines.join("\r\n"))
    }

    /// Sends it over HTTP/2 without TLS. The authority carries the listener's port, as a client's does.
    pub async fn http2(&self) -> Result<Answer, PeerError> {
        let unreadable = |error: reqwest::Error| PeerError::unreadable("a request over HTTP/2", &error);
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(LONG);
        let client = client.http2_prior_knowledge().resolve(&self.host, self.address).build().map_err(unreadable)?;
        let method = reqwest::Method::from_bytes(self.method.as_bytes())
            .map_err(|error| PeerError::unreadable(format!("method {}", self.method), &error))?;
        let url = format!("http://{}:{}{}", self.host, self.address.port(), self.path);
        let request = self.headers.iter().fold(client.request(method, url), |r, (name, value)| r.header(name, value));
        let answer = request.body(self.body.clone()).send().await.map_err(unreadable)?;
        let headers = answer.headers().iter();
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
                .collect(),
            body: answer.text().await.map_err(unreadable)?,
        })
    }
}

impl Answer {
    /// The value of a header, several lines joined by `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The member `code` of a problem document (RFC 9457); empty when there is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What the application saw, when it was the one that answered.
    pub fn seen(&self) -> Option<Seen> {
        serde_json::from_str(&self.body).ok()
    }
}

/// A client that takes no proxy and follows nothing, for talking to the peers themselves.
pub fn plain_client() -> Result<reqwest::Client, PeerError> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(LONG);
    client.build().map_err(|error| PeerError::unreadable("the HTTP client", &error))
}

/// Sends these bytes as they are and reads one answer.
pub async fn exact(address: SocketAddr, bytes: &[u8]) -> Result<Answer, PeerError> {
    let what = || format!("a request to {address}");
    let mut stream = TcpStream::connect(address).await.map_err(PeerError::io(what()))?;
    // The other side may answer and close before it has read everything: what counts is the answer.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let read = timeout(LONG, async {
        loop {
            if let Some(answer) = parse(&received, bytes.starts_with(b"HEAD "), false) {
                return Ok(answer);
            }
            if stream.read_buf(&mut received).await.map_err(PeerError::io(what()))? == 0 {
                let shown = String::from_utf8_lossy(&received).into_owned();
                return parse(&received, true, true).ok_or_else(|| PeerError::unreadable(what(), &shown));
            }
        }
    });
    read.await.map_err(|_| PeerError::Late { what: what(), waited: LONG })?
}

/// The answer, once it is complete: by its length, or because the connection has ended.
fn parse(received: &[u8], bodiless: bool, ended: bool) -> Option<Answer> {
    let text = String::from_utf8_lossy(received);
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let answer = Answer { status, headers, body: rest.to_owned() };
    let length: Option<usize> = answer.header("content-length").and_then(|length| length.parse().ok());
    let complete =
        ended || bodiless || matches!(status, 101 | 204 | 304) || length.is_some_and(|length| rest.len() >= length);
    complete.then_some(answer)
}

/// Sends these bytes to a port that may speak something else, and closes.
pub async fn send_and_close(address: SocketAddr, bytes: &[u8]) -> Result<(), PeerError> {
    let what = || format!("a connection to {address}");
    let mut stream = TcpStream::connect(address).await.map_err(PeerError::io(what()))?;
    stream.write_all(bytes).await.map_err(PeerError::io(what()))
}
