//! Name resolution that drops what must not be reached. Owns the one place where names become addresses; never caches an answer,
//! so that a moved issuer is found at the next connection.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{networks::Networks, proxy::Proxies};

/// Turns a name into addresses. Behind a trait so that tests can play a DNS server that changes its mind.
pub(crate) trait Lookup: Send + Sync + Debug {
    /// All addresses; the port is 0.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemLookup;

/// What the HTTP client asks for addresses: it never sees one that was not checked.
pub(crate) struct CheckedResolver {
    networks: Networks,
    proxies: Arc<Proxies>,
    secure: bool,
}

// === impl SystemLookup ===

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

// === impl CheckedResolver ===

impl CheckedResolver {
    /// For one scheme: plain `http` is held to the allowed networks, which the name alone does not tell.
    pub(crate) fn new(networks: Networks, proxies: Arc<Proxies>, secure: bool) -> Self {
        Self { networks, proxies, secure }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, secure) = (self.networks.clone(), self.secure);
        let is_proxy = self.proxies.names(name.as_str());
        Box::pin(async move {
            // A target that bears the proxy's name was checked before the request (`Client::request`).
            let found = if is_proxy {
                networks.addresses(name.as_str()).await?
            } else {
                networks.resolve(name.as_str(), secure).await?
            };
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}
