//! CheckRequest to [`RequestView`]: the only file that reads Envoy's attributes.

use std::{borrow::Cow, net::IpAddr};

use crds::code::Code;

use super::wire::{Address, AddressKind, Attributes, Check, Http};
use crate::{
    decide::Deny,
    request::{Headers, RequestView},
};

/// Extensions that a route of Envoy may carry.
const POLICY: &str = "gatewright.dev/policy";
const TRAFFIC: &str = "gatewright.dev/traffic";

/// The view. `proven`: the peer is on this machine or has a certificate for gateways, so its extensions are its operator's words. An
/// unproven peer can only make itself external, never choose a policy, and is given no secret.
pub(super) fn view(check: &Check, proven: bool) -> Result<RequestView<'_>, Deny> {
    let none = Deny::new(Code::Forbidden, "the check holds no HTTP request");
    let attributes = check.attributes.as_ref().ok_or(none.clone())?;
    let http = http(attributes).ok_or(none)?;
    // Of entries with one key the last counts, as in every map of protobuf.
    let extension = |name: &str| attributes.context_extensions.iter().rev().find(|entry| entry.key == name);
    let extension = |name| extension(name).and_then(|entry| str::from_utf8(&entry.value).ok());
    Ok(RequestView {
        method: &http.method,
        host: &http.host,
        path: &http.path,
        scheme: &http.scheme,
        headers: headers(http)?,
        source: attributes.source.as_ref().and_then(|peer| peer.address.as_ref()).and_then(ip),
        certificate: attributes.source.as_ref().map(|peer| peer.principal.as_str()).filter(|name| !name.is_empty()),
        policy: extension(POLICY).filter(|_| proven),
        forced_external: extension(TRAFFIC) == Some("external"),
        proven_peer: proven,
    })
}

/// The id under which the proxy logs the request (`x-request-id`), else its own count; `None` if neither is fit to be shown.
pub(super) fn id<'c>(check: &'c Check, view: Option<&RequestView<'c>>) -> Option<Cow<'c, str>> {
    let header = view.and_then(|view| view.headers.text("x-request-id"));
    let count = || check.attributes.as_ref().and_then(http).map(|http| Cow::Borrowed(http.id.as_str()));
    let fit = |id: &Cow<'_, str>| {
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        plain && (1..=128).contains(&id.len())
    };
    header.filter(fit).or_else(|| count().filter(fit))
}

fn http(attributes: &Attributes) -> Option<&Http> {
    attributes.request.as_ref()?.http.as_ref()
}

/// With `encode_raw_headers` Envoy sends a list with the bytes as they came, else a map in which bad bytes became `!`: neither
/// `!` nor a byte outside ASCII is part of any token, so both give the same answer.
fn headers(http: &Http) -> Result<Headers<'_>, Deny> {
    // Envoy's names are ASCII: a name that is no text would be no header that anybody could compare.
    let name =
        |key| str::from_utf8(key).map_err(|_| Deny::new(Code::MalformedRequest, "the name of a header is not text"));
    let raw = http.header_map.as_ref().map_or(&[][..], |map| &map.headers);
    let mut headers = Headers::with_capacity(raw.len().max(http.headers.len()));
    for line in raw {
        headers.push(name(&line.key)?, if line.raw_value.is_empty() { &line.value } else { &line.raw_value });
    }
    if raw.is_empty() {
        for entry in &http.headers {
            headers.push(name(&entry.key)?, &entry.value);
        }
    }
    Ok(headers)
}

fn ip(address: &Address) -> Option<IpAddr> {
    match address.kind.as_ref()? {
        AddressKind::Socket(socket) => socket.address.parse().ok(),
        AddressKind::Pipe(_) | AddressKind::Internal(_) => None,
    }
}

#[cfg(test)]
mod tests;
