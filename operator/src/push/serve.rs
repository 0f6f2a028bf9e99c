//! The listener of port 9004: TLS, certificates for who has a token, configuration for who has a certificate.

use std::{io, time::Duration};

use authz::tls::incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::Push;
use crate::identity::Identity;

/// A peer that does not answer a ping for this long is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// Streams of one connection at once: a data plane needs one, and one request for a certificate.
const MAX_STREAMS: u32 = 8;

/// Serves until `shutdown`. Ends early, with an error, if any part of it does: half a channel is worse than a restart.
pub async fn serve(
    listener: TcpListener,
    push: Push,
    identity: Identity,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (stop, ends) = (shutdown.clone(), push.clone());
    let server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(64))
        .add_service(push.service())
        .add_service(identity.service())
        .add_service(push.replicas())
        .serve_with_incoming_shutdown(Box::pin(incoming(listener, identity.server_config())), async move {
            stop.cancelled().await;
            ends.end();
        });
    let mut bundle = identity.ca_bundle();
    let trust = async {
        loop {
            push.trust(bundle.borrow_and_update().clone());
            if bundle.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ended = server => match ended {
            Ok(()) if shutdown.is_cancelled() => Ok(()),
            Ok(()) => Err(io::Error::other("the listener for data planes ended")),
            Err(error) => Err(io::Error::other(error)),
        },
        () = push.run() => Err(io::Error::other("publishing ended")),
        () = identity.keep_renewed() => Err(io::Error::other("the renewal of certificates ended")),
        () = trust => Err(io::Error::other("the CA's announcements ended")),
    }
}
