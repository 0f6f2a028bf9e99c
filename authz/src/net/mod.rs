//! Outgoing connections of this process and the one rule about where they may lead.
//!
//! Owns the address table, the name resolution that applies it, the proxy settings and the HTTP client built on them. Whatever a document
//! names is reached through [`Client`] (keys, introspection, webhooks) or, for stores, by an address of [`Networks`], so that it cannot
//! make this process reach a place its operator did not allow; what flags name is believed. It must never follow a redirect, dial an address it did not check, or quote what a peer sent.
//!
//! # The rule
//!
//! - `https://` reaches public addresses and the allowed networks; `http://` reaches the allowed networks only.
//! - An IP address in a URL is checked before the request; a name is resolved here, its refused addresses are dropped, and the
//!   connection is made to one of those left: the address that was checked is the address that is dialled, for every connection.
//! - URLs with a user name or password are refused.
//!
//! # Proxies
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (also in lower case) are read once. The operator of the process chose
//! the proxy, so its own name may resolve to any address. What the proxy then dials cannot be checked from here; therefore, where
//! a proxy is set, a name is looked up beforehand and refused if it has an address here and none of them passes the rule. A name
//! unknown to the local resolver is left to the proxy for `https://` and refused for `http://`. An issuer inside the cluster that
//! should be reached directly belongs in `NO_PROXY`: then the stricter rule above applies.

mod address;
mod client;
mod networks;
mod proxy;
mod resolver;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, Manner, ResponseError, read_limited};
pub use networks::{NetworkError, Networks};
pub use proxy::ProxyError;
#[cfg(test)]
pub(crate) use resolver::Lookup;
