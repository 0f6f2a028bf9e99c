//! Name resolution that drops what must not be reached. Owns the one place where names become addresses; never caches an answer,
//! so that a moved issuer is found at the next connection.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use parking_lot::Mutex;
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

/// Asks another resolver, for each name once at a time: who asks meanwhile waits for the same answer, and nobody for an older one.
///
/// A question to the operating system takes a thread until it is answered, long after who asked has given up. Without this, one name
/// whose server is silent would take them all, and nobody's names would be found.
#[derive(Debug)]
pub(crate) struct Joined {
    inner: Arc<dyn Lookup>,
    flights: Arc<Mutex<HashMap<String, Flight>>>,
}

/// An answer that is on its way; `None`: there is none.
type Flight = Shared<BoxFuture<'static, Option<Arc<[SocketAddr]>>>>;

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

// === impl Joined ===

impl Joined {
    pub(crate) fn new(inner: Arc<dyn Lookup>) -> Self {
        Self { inner, flights: Arc::default() }
    }

    /// A task of its own: it ends the flight even if nobody waits any more, so that whoever comes then asks anew.
    fn depart(&self, name: String) -> Flight {
        let (asked, flights) = (self.inner.addresses(name.clone()), self.flights.clone());
        let landed = tokio::spawn(async move {
            // A panic ends the flight too, or nobody would ask for this name again.
            let found = AssertUnwindSafe(asked).catch_unwind().await.ok().and_then(Result::ok).map(Arc::from);
            flights.lock().remove(&name);
            found
        });
        landed.map(|found| found.ok().flatten()).boxed().shared()
    }
}

impl Lookup for Joined {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let flight = {
            let mut flights = self.flights.lock();
            flights.entry(name.clone()).or_insert_with(|| self.depart(name)).clone()
        };
        flight.map(|found| found.map(|all| all.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())).boxed()
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

#[cfg(test)]
mod tests;
