//! HTTP/1 for the listeners that show things: the admin listener and the published keys.
//!
//! Owns what a connection may take (time and bytes for the head of a request), how many connections there are, and their drain. Strangers
//! reach these ports, and a probe must be answered all the same. Speaks no HTTP/2: nobody needs it here, and one peer could hold hundreds
//! of answers by one connection. Must never know what is asked.

use std::{collections::VecDeque, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::debug;

use super::accept;

/// How long the head of a request may take, from the end of the one before or the begin of the connection. Metrics are fetched every 10,
/// 15 or 30 s: with none of these does a connection end just when its next request comes.
const HEAD: Duration = Duration::from_secs(12);
/// Bytes of a head, and of a body that is under way. Browsers and proxies send a few KiB.
const BUFFER_BYTES: usize = 16 * 1024;
/// Connections at once.
const MOST_CONNECTIONS: usize = 256;

/// Connections that stand, the oldest first; some may have ended.
#[derive(Default)]
struct Held(VecDeque<JoinHandle<()>>);

// === impl Held ===

impl Held {
    /// One more. When all places are taken, the oldest gives up its own: who holds them all must not keep a probe from its answer,
    /// which takes a moment.
    fn hold(&mut self, connection: JoinHandle<()>) {
        self.0.retain(|one| !one.is_finished());
        if self.0.len() >= MOST_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

/// Serves until cancelled; then takes no more, and ends when every request under way has its answer. Handlers are told the peer, as
/// [`ConnectInfo`]. Who drops this leaves the connections that stand to `ends`.
pub(super) async fn serve(listener: TcpListener, app: Router, ends: CancellationToken) {
    let mut held = Held::default();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept::tcp(&listener) => accepted,
            () = ends.cancelled() => break,
        };
        held.hold(tokio::spawn(one(stream, peer, app.clone(), ends.clone())));
    }
    // Nobody may connect to a socket that nobody serves.
    drop(listener);
    for connection in held.0 {
        // An error is a connection that gave up its place, or a handler that panicked: both have ended.
        let _ = connection.await;
    }
}

/// Serves one connection to its end.
async fn one<S>(stream: S, peer: SocketAddr, app: Router, ends: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().call(request)
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ends.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended");
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER_BYTES);
    builder
}

#[cfg(test)]
mod tests;
