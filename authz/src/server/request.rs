//! CheckRequest to [`RequestView`]: the only file that reads Envoy's attributes.

use std::{borrow::Cow, net::IpAddr};

use crds::code::Code;
use envoy_types::pb::envoy::{
    config::core::v3::{Address, address::Address as AddressKind},
    service::auth::v3::{AttributeContext, CheckRequest, attribute_context::HttpRequest},
};

use crate::{
    decide::Deny,
    request::{Headers, RequestView},
};

/// Extensions that a route of Envoy may carry.
const POLICY: &str = "gatewright.dev/policy";
const TRAFFIC: &str = "gatewright.dev/traffic";

/// The view. `proven`: the peer is on this machine, so its extensions are its operator's words. An unproven peer can only make
/// itself external, never choose a policy, and is given no secret.
pub(super) fn view(check: &CheckRequest, proven: bool) -> Result<RequestView<'_>, Deny> {
    let none = Deny::new(Code::Forbidden, "the check holds no HTTP request");
    let attributes = check.attributes.as_ref().ok_or(none.clone())?;
    let http = http(attributes).ok_or(none)?;
    let extension = |name| attributes.context_extensions.get(name).map(String::as_str);
    Ok(RequestView {
        method: &http.method,
        host: &http.host,
        path: &http.path,
        scheme: &http.scheme,
        headers: headers(http),
        source: attributes.source.as_ref().and_then(|peer| peer.address.as_ref()).and_then(ip),
        certificate: attributes.source.as_ref().map(|peer| peer.principal.as_str()).filter(|name| !name.is_empty()),
        policy: extension(POLICY).filter(|_| proven),
        forced_external: extension(TRAFFIC) == Some("external"),
        proven_peer: proven,
    })
}

/// The id under which the proxy logs the request (`x-request-id`), else its own count; `None` if neither is fit to be shown.
pub(super) fn id(check: &CheckRequest, view: Option<&RequestView<'_>>) -> Option<String> {
    let header = view.and_then(|view| view.headers.text("x-request-id")).map(Cow::into_owned);
    let count = || check.attributes.as_ref().and_then(http).map(|http| http.id.clone());
    let fit = |id: &String| {
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        plain && (1..=128).contains(&id.len())
    };
    header.filter(fit).or_else(|| count().filter(fit))
}

fn http(attributes: &AttributeContext) -> Option<&HttpRequest> {
    attributes.request.as_ref()?.http.as_ref()
}

/// With `encode_raw_headers` Envoy sends a list with the bytes as they came, else a map in which bad bytes became `!`: neither
/// `!` nor a byte outside ASCII is part of any token, so both give the same answer.
fn headers(http: &HttpRequest) -> Headers<'_> {
    match &http.header_map {
        Some(raw) if !raw.headers.is_empty() => {
            let mut headers = Headers::with_capacity(raw.headers.len());
            for line in &raw.headers {
                let value = if line.raw_value.is_empty() { line.value.as_bytes() } else { &line.raw_value };
                headers.push(&line.key, value);
            }
            headers
        }
        _ => {
            let mut headers = Headers::with_capacity(http.headers.len());
            http.headers.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
            headers
        }
    }
}

fn ip(address: &Address) -> Option<IpAddr> {
    match address.address.as_ref()? {
        AddressKind::SocketAddress(socket) => socket.address.parse().ok(),
        _ => None,
    }
}
