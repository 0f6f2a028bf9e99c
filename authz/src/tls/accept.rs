//! Handshakes, beside each other: one that takes its time delays no other.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use futures_util::{Stream, stream::unfold};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::debug;

use super::{Identified, PeerId, identify};
use crate::server::{Accepted, accept_tcp};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once; more wait in the system's queue.
const HANDSHAKES: usize = 256;

/// The configuration for the next handshake; connections that stand keep theirs.
pub type Shared = Arc<ArcSwap<ServerConfig>>;

/// A connection after its handshake.
pub struct Connection {
    stream: TlsStream<Accepted<TcpStream>>,
    peer: Peer,
}

/// The other end of a connection; an extension of each of its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Who it proved to be, once per connection: certificates are read once.
    pub identified: Option<Arc<Identified>>,
}

// === impl Peer ===

impl Peer {
    /// Whether it may be given secrets and be believed about policies: a proxy with a certificate of ours that has not expired, or one
    /// on this machine. Data planes are not: any pod of the cluster may be one.
    pub fn is_proven_proxy(&self, now: SystemTime) -> bool {
        let proxy =
            self.identified.as_ref().is_some_and(|one| matches!(one.id, PeerId::Gateway { .. }) && now < one.not_after);
        proxy || self.address.ip().to_canonical().is_loopback()
    }
}

/// Connections whose handshake succeeded.
pub fn incoming(listener: TcpListener, config: Shared) -> impl Stream<Item = io::Result<Connection>> + Send {
    unfold((listener, config, JoinSet::new()), async |(listener, config, mut shaking)| {
        loop {
            tokio::select! {
                (stream, peer) = accept_tcp(&listener), if shaking.len() < HANDSHAKES => {
                    let acceptor = TlsAcceptor::from(config.load_full());
                    shaking.spawn(async move {
                        match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => Some(Connection::new(stream, peer)),
                            Ok(Err(error)) => {
                                debug!(%peer, %error, "a handshake failed");
                                None
                            }
                            Err(_) => {
                                debug!(%peer, "a handshake took too long");
                                None
                            }
                        }
                    });
                }
                Some(shaken) = shaking.join_next() => {
                    if let Ok(Some(stream)) = shaken {
                        return Some((Ok(stream), (listener, config, shaking)));
                    }
                }
            }
        }
    })
}

// === impl Connection ===

impl Connection {
    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn new(stream: TlsStream<Accepted<TcpStream>>, address: SocketAddr) -> Self {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        // A certificate of our CA that names nobody is worth as much as none.
        let identified = certificate.and_then(|certificate| identify(certificate).ok()).map(Arc::new);
        Self { stream, peer: Peer { address, identified } }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
