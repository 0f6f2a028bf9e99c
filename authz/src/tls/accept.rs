//! Handshakes, beside each other: one that takes its time delays no other, and who begins many shuts out nobody but himself.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
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
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::debug;

use super::{Identified, PeerId, identify};
use crate::server::accept_tcp;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once.
const HANDSHAKES: usize = 256;

/// The configuration for the next handshake; connections that stand keep theirs.
pub type Shared = Arc<ArcSwap<ServerConfig>>;

/// A connection after its handshake.
pub struct Connection {
    stream: TlsStream<TcpStream>,
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

/// Handshakes under way, the oldest first.
#[derive(Default)]
struct Shaking {
    tasks: JoinSet<Option<Connection>>,
    begun: VecDeque<(IpAddr, AbortHandle)>,
}

// === impl Shaking ===

impl Shaking {
    /// Begins one more. When all places are taken, the address that has most of them loses its oldest.
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr, config: &Shared) {
        if self.begun.len() >= HANDSHAKES {
            self.give_one_up();
        }
        let acceptor = TlsAcceptor::from(config.load_full());
        let task = self.tasks.spawn(async move {
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
        self.begun.push_back((peer.ip(), task));
    }

    fn give_one_up(&mut self) {
        let mut count: HashMap<IpAddr, usize> = HashMap::new();
        for (address, _) in &self.begun {
            *count.entry(*address).or_default() += 1;
        }
        let Some(most) = count.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address) else { return };
        let oldest = self.begun.iter().position(|(address, _)| *address == most);
        if let Some((address, task)) = oldest.and_then(|at| self.begun.remove(at)) {
            debug!(%address, "a handshake made room for another");
            task.abort();
        }
    }

    /// The next that has ended; `Some(None)`: without success. `None`: there is none.
    async fn next(&mut self) -> Option<Option<Connection>> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        self.begun.retain(|(_, task)| task.id() != id);
        Some(ended.ok().and_then(|(_, connection)| connection))
    }
}

/// Connections whose handshake succeeded.
pub fn incoming(listener: TcpListener, config: Shared) -> impl Stream<Item = io::Result<Connection>> + Send {
    unfold((listener, config, Shaking::default()), async |(listener, config, mut shaking)| {
        loop {
            tokio::select! {
                (stream, peer) = accept_tcp(&listener) => shaking.begin(stream, peer, &config),
                Some(shaken) = shaking.next() => {
                    if let Some(stream) = shaken {
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

    fn new(stream: TlsStream<TcpStream>, address: SocketAddr) -> Self {
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
