//! Handshakes, beside each other: one that takes its time delays no other.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::{Stream, stream::unfold};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use crate::server::{Accepted, accept_tcp};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once; more wait in the system's queue.
const HANDSHAKES: usize = 256;

/// The configuration for the next handshake; connections that stand keep theirs.
pub type Shared = Arc<ArcSwap<ServerConfig>>;
/// A connection after its handshake.
pub type Connection = TlsStream<Accepted<TcpStream>>;

/// Connections whose handshake succeeded.
pub fn incoming(listener: TcpListener, config: Shared) -> impl Stream<Item = io::Result<Connection>> + Send {
    unfold((listener, config, JoinSet::new()), async |(listener, config, mut shaking)| {
        loop {
            tokio::select! {
                (stream, peer) = accept_tcp(&listener), if shaking.len() < HANDSHAKES => {
                    let acceptor = TlsAcceptor::from(config.load_full());
                    shaking.spawn(async move {
                        match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => Some(stream),
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
