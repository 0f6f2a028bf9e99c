//! A CheckRequest: our reading of the bytes is that of Envoy's own types, wherever those can read them.
#![no_main]

use std::collections::HashMap;

use authz::{request::Headers, server::fuzzing};
use envoy_types::pb::envoy::{
    config::core::v3::address::Address,
    service::auth::v3::{AttributeContext, CheckRequest, attribute_context::HttpRequest},
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let full = CheckRequest::decode(data);
    for proven in [false, true] {
        let read = fuzzing::read(data, proven, |view, id| {
            assert!(
                id.is_none_or(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
            );
            let Ok(full) = &full else { return };
            let attributes = full.attributes.as_ref();
            let http = attributes.and_then(|all| all.request.as_ref()).and_then(|request| request.http.as_ref());
            match (view, attributes, http) {
                (Ok(view), Some(attributes), Some(http)) => same(view, attributes, http, proven),
                (Ok(_), ..) => panic!("a request where there is none"),
                // Keys that are text in one reading are text in the other.
                (Err(_), _, Some(_)) => panic!("a request is refused that can be read"),
                (Err(_), ..) => {}
            }
        });
        assert!(full.is_err() || read.is_some(), "a message that only we cannot read");
    }
});

fn same(view: &authz::request::RequestView<'_>, attributes: &AttributeContext, http: &HttpRequest, proven: bool) {
    assert_eq!([view.method, view.host, view.path, view.scheme], [&*http.method, &http.host, &http.path, &http.scheme]);
    let extension = |name: &str| attributes.context_extensions.get(name).map(String::as_str);
    assert_eq!(view.policy, extension("gatewright.dev/policy").filter(|_| proven), "another policy is named");
    assert_eq!(view.forced_external, extension("gatewright.dev/traffic") == Some("external"));
    assert_eq!(view.proven_peer, proven);
    let source = attributes.source.as_ref();
    let address = source.and_then(|peer| peer.address.as_ref()).and_then(|address| match address.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        _ => None,
    });
    assert_eq!(view.source, address, "another client");
    assert_eq!(view.certificate, source.map(|peer| &*peer.principal).filter(|name| !name.is_empty()));
    let mut expected = Headers::default();
    let raw = http.header_map.as_ref().map_or(&[][..], |map| &map.headers);
    for line in raw {
        expected.push(&line.key, if line.raw_value.is_empty() { line.value.as_bytes() } else { &line.raw_value });
    }
    if raw.is_empty() {
        http.headers.iter().for_each(|(name, value)| expected.push(name, value.as_bytes()));
    }
    let ours = lines(&view.headers);
    // Envoy sends a name of its map once. Said twice, we join what a map forgets: nothing is hidden, two values are refused.
    let once = !raw.is_empty() || view.headers.names().count() == ours.len();
    if once {
        assert_eq!(ours, lines(&expected), "other headers");
    }
}

/// What look-ups may see, in no order: a map has none.
fn lines(headers: &Headers<'_>) -> HashMap<String, Vec<u8>> {
    headers.names().map(|name| (name.to_owned(), headers.get(name).unwrap().into_owned())).collect()
}
