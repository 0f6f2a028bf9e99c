//! What outgoing connections may reach. Owns the rule; never a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

use super::{
    address::special_kind,
    proxy::ProxySettings,
    resolver::{Joined, Lookup, SystemLookup},
};

/// The networks that outgoing connections may reach: public addresses over `https`, and what the operator adds.
///
/// A clone is cheap. See the module for the whole rule and what proxies mean for it.
#[derive(Clone, Debug)]
pub struct Networks {
    allowed: Arc<[IpNet]>,
    proxies: ProxySettings,
    lookup: Arc<dyn Lookup>,
}

/// Why a place must not be reached. The text tells the operator what would allow it, and never quotes a name: names of places
/// may come from a fetched document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A scheme other than `https` and `http`, or no host at all.
    #[error("only https:// URLs with a host can be fetched")]
    NotWeb,
    /// A user name or password in the URL.
    #[error("a URL with a user name or password is refused; remove the part before `@`")]
    Userinfo,
    /// An address outside of the public internet that no allowed network holds.
    #[error("{address} is a {kind} address and in no allowed network; allow it with --allow-network if it is meant")]
    Special {
        /// The refused address.
        address: IpAddr,
        /// Which kind it is.
        kind: &'static str,
    },
    /// Plain `http` to a host outside of the allowed networks.
    #[error(
        "plain http:// is refused outside of the allowed networks; use https://, or allow its network with --allow-network"
    )]
    PlainHttp,
    /// The name has no address, or none could be found out in time.
    #[error("the host name could not be resolved; check the name and the DNS server")]
    Unresolved,
}

// === impl Networks ===

impl Networks {
    /// Public addresses over `https`, and `allowed` networks over `https` and `http`. Reads the proxy variables of the environment.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self::with(allowed, ProxySettings::read(|name| std::env::var(name).ok()), system())
    }

    /// The same without any proxy, whatever the environment of the tests says.
    #[cfg(test)]
    pub(crate) fn without_proxy(allowed: Vec<IpNet>) -> Self {
        Self::with(allowed, ProxySettings::default(), system())
    }

    /// The same where another resolver knows the names.
    #[cfg(test)]
    pub(crate) fn looked_up_by(allowed: Vec<IpNet>, lookup: Arc<dyn Lookup>) -> Self {
        Self::with(allowed, ProxySettings::default(), lookup)
    }

    pub(crate) fn with(allowed: Vec<IpNet>, proxies: ProxySettings, lookup: Arc<dyn Lookup>) -> Self {
        Self { allowed: allowed.into(), proxies, lookup }
    }

    /// Whether this address may be dialled: for `https` (`secure`) also public ones, else those of an allowed network only.
    pub fn permit(&self, address: IpAddr, secure: bool) -> Result<(), NetworkError> {
        // An IPv4 address written as an IPv6 one is still that IPv4 address, for the allowed networks too.
        let address = address.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        match special_kind(address) {
            Some(kind) => Err(NetworkError::Special { address, kind }),
            None if secure => Ok(()),
            None => Err(NetworkError::PlainHttp),
        }
    }

    /// Everything about a URL that can be judged without a look-up: scheme, credentials, and the address if its host is one.
    ///
    /// Other notations of an address (decimal, octal, hexadecimal) have become the usual one when the URL was parsed.
    pub fn check(&self, url: &Url) -> Result<(), NetworkError> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err(NetworkError::NotWeb);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NetworkError::Userinfo);
        }
        let secure = url.scheme() == "https";
        match url.host() {
            None => Err(NetworkError::NotWeb),
            Some(Host::Ipv4(address)) => self.permit(address.into(), secure),
            Some(Host::Ipv6(address)) => self.permit(address.into(), secure),
            // With nothing allowed, no look-up can make plain http acceptable.
            Some(Host::Domain(_)) if !secure && self.allowed.is_empty() => Err(NetworkError::PlainHttp),
            Some(Host::Domain(_)) => Ok(()),
        }
    }

    /// The addresses of a name that may be dialled; an error if there is none.
    pub(crate) async fn resolve(&self, name: &str, secure: bool) -> Result<Vec<SocketAddr>, NetworkError> {
        self.filter(self.addresses(name).await?, secure)
    }

    /// All addresses of a name, unchecked.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, NetworkError> {
        match self.lookup.addresses(name.to_owned()).await {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(NetworkError::Unresolved),
        }
    }

    fn filter(&self, mut found: Vec<SocketAddr>, secure: bool) -> Result<Vec<SocketAddr>, NetworkError> {
        let mut refused = NetworkError::Unresolved;
        found.retain(|one| self.permit(one.ip(), secure).map_err(|reason| refused = reason).is_ok());
        if found.is_empty() { Err(refused) } else { Ok(found) }
    }

    pub(crate) fn proxies(&self) -> &ProxySettings {
        &self.proxies
    }
}

fn system() -> Arc<dyn Lookup> {
    Arc::new(Joined::new(Arc::new(SystemLookup)))
}

impl Default for Networks {
    /// Public addresses over `https` only.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}
