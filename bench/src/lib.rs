//! What the programs of this crate share: a check as Envoy sends it, how answers are counted, and the rule that load stays on this
//! machine.

pub mod decided;
pub mod samples;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use authz::{
    keystore::{KeyState, KeyStore},
    remote::{AskId, Kept, RemoteStore},
};
use crds::snapshot::KeySetId;
use envoy_types::pb::envoy::{
    config::core::v3::{Address, SocketAddress, address::Address as Kind},
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer, Request},
    },
};

/// An error unless `address`, as HOST:PORT, is a loopback one.
pub fn must_be_here(address: &str) -> Result<(), &'static str> {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    if host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err("load is for servers on this machine: give a loopback address")
}

/// The headers that Envoy sends with a small request, its credential aside.
#[must_use]
pub fn headers<'a>(host: &'a str, path: &'a str) -> [(&'static str, &'a str); 9] {
    [
        (":authority", host),
        (":path", path),
        (":method", "GET"),
        (":scheme", "http"),
        ("user-agent", "curl/8.5.0"),
        ("accept", "*/*"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-request-id", "7d7b2b0a-3c3c-4b5f-9d4c-1f2e3d4c5b6a"),
    ]
}

/// Stores for decisions that fetch nothing and ask nobody.
pub struct Nothing;

impl KeyStore for Nothing {
    fn state(&self, _: &KeySetId) -> KeyState {
        KeyState::default()
    }
}

impl RemoteStore for Nothing {
    fn kept(&self, _: &AskId) -> Option<Arc<Kept>> {
        None
    }
}

/// A check with the attributes and headers that Envoy sends for a small request.
#[must_use]
pub fn request(host: &str, path: &str, token: Option<&str>) -> CheckRequest {
    let headers = headers(host, path).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut headers: HashMap<String, String> = headers.collect();
    if let Some(token) = token {
        headers.insert("authorization".to_owned(), format!("Bearer {token}"));
    }
    let http = HttpRequest {
        id: "1".to_owned(),
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        headers,
        ..HttpRequest::default()
    };
    let socket = SocketAddress { address: "127.0.0.1".to_owned(), ..SocketAddress::default() };
    let peer = Peer { address: Some(Address { address: Some(Kind::SocketAddress(socket)) }), ..Peer::default() };
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer),
            request: Some(request),
            ..AttributeContext::default()
        }),
    }
}
