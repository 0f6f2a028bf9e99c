//! Sockets: TCP or Unix, gRPC with health, and a drain that ends.

use std::{
    fmt,
    net::SocketAddr,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};

use futures_util::{Stream, StreamExt, stream::unfold};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{
    accept,
    check::CheckService,
    http2::{Caller, Server},
};
use crate::tls;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port; port 0 is chosen by the system.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address: write IP:PORT, such as 127.0.0.1:9001 or [::1]:0, or unix:PATH")]
pub struct BadAddress;

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refused.
    #[error("cannot listen on {address}: {source}; is another process there, or may this one not open it?")]
    Bind {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A socket that listens and is not served yet.
pub struct Bound {
    socket: Socket,
    address: Address,
}

enum Socket {
    Tcp(TcpListener),
    Tls(TcpListener, tls::Shared),
    Unix(UnixListener),
}

/// The two signals of a served socket.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// Cancelled when the process is ready: gRPC health says so from then on.
    pub ready: CancellationToken,
    /// Cancelled when no new work may come: checks under way finish.
    pub drain: CancellationToken,
}

// === impl Address ===

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(_) => Err(BadAddress),
            None => text.parse().map(Self::Tcp).map_err(|_| BadAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

// === impl Bound ===

impl Bound {
    /// The real address: the port is never 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Speaks TLS from here on; a Unix socket needs none. The configuration counts for each new connection.
    #[must_use]
    pub fn secured(self, config: tls::Shared) -> Self {
        let socket = match self.socket {
            Socket::Tcp(listener) | Socket::Tls(listener, _) => Socket::Tls(listener, config),
            unix @ Socket::Unix(_) => unix,
        };
        Self { socket, ..self }
    }
}

/// Opens a socket. A Unix socket that a dead process left behind is replaced; one that answers is not.
pub async fn bind(address: &Address) -> Result<Bound, ListenError> {
    let failed = |source| ListenError::Bind { address: address.to_string(), source };
    match address {
        Address::Tcp(wanted) => {
            let socket = TcpListener::bind(wanted).await.map_err(failed)?;
            let address = Address::Tcp(socket.local_addr().map_err(failed)?);
            Ok(Bound { socket: Socket::Tcp(socket), address })
        }
        Address::Unix(path) => {
            if is_dead_socket(path).await {
                std::fs::remove_file(path).map_err(failed)?;
            }
            let socket = UnixListener::bind(path).map_err(failed)?;
            Ok(Bound { socket: Socket::Unix(socket), address: address.clone() })
        }
    }
}

/// Whether this is a socket that nobody listens on. Anything else at the path is somebody's file.
async fn is_dead_socket(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    is_socket && tokio::net::UnixStream::connect(path).await.is_err_and(refused)
}

/// Serves until drained. Ends when every check under way has ended; the caller bounds that time.
pub async fn serve(bound: Bound, service: CheckService, serving: Serving) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_not_serving::<CheckService>().await;
    let peers = service.peers();
    let on_this_machine = match &bound.address {
        Address::Unix(_) => true,
        Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
    };
    if let Some(peers) = peers.as_ref().filter(|_| on_this_machine) {
        peers.proved();
    }
    let others = Routes::new(health_service).add_service(service.reports(serving.drain.clone()));
    let server = Server::new(service, others);
    let path = match &bound.address {
        Address::Unix(path) => Some(path.clone()),
        Address::Tcp(_) => None,
    };
    let drained = async move {
        tokio::select! {
            () = serving.ready.cancelled() => health.set_serving::<CheckService>().await,
            () = serving.drain.cancelled() => {}
        }
        serving.drain.cancelled().await;
        if let Some(path) = path {
            // While it still answers: later the path may be that of a successor. Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
        health.set_not_serving::<CheckService>().await;
    };
    match bound.socket {
        Socket::Tcp(listener) => server.serve(plain(listener), drained).await,
        Socket::Tls(listener, config) => {
            let incoming = tls::incoming(listener, config).filter_map(async |connection| connection.ok());
            let incoming = incoming.map(move |connection| {
                let peer = connection.peer().clone();
                if let Some(peers) = peers.as_ref().filter(|_| peer.is_proven_proxy(SystemTime::now())) {
                    peers.proved();
                }
                (connection, Caller::Tls(peer))
            });
            server.serve(incoming, drained).await;
        }
        Socket::Unix(listener) => {
            let incoming =
                unfold(listener, async |listener| Some(((accept::unix(&listener).await, Caller::Unix), listener)));
            server.serve(incoming, drained).await;
        }
    }
}

fn plain(listener: TcpListener) -> impl Stream<Item = (TcpStream, Caller)> {
    unfold(listener, async |listener| {
        let (stream, address) = accept::tcp(&listener).await;
        Some(((stream, Caller::Plain(address)), listener))
    })
}
