//! What we read of a check is what Envoy's own types read: whatever else the message holds.

use std::collections::HashMap;

use envoy_types::pb::envoy::{
    config::core::v3::{
        Address as FullAddress, HeaderMap, HeaderValue, SocketAddress, address::Address as AddressKind,
        socket_address::PortSpecifier,
    },
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer, Request, TlsSession},
    },
};
use proptest::prelude::*;
use prost::Message;

use super::*;

fn read(full: &CheckRequest) -> Check {
    Check::decode(full.encode_to_vec().as_slice()).unwrap()
}

prop_compose! {
    fn full()(
        texts in prop::array::uniform6("[ -~é]{0,12}"),
        headers in prop::collection::hash_map("[a-zA-Z-]{1,6}", "[ -~é]{0,20}", 0..6),
        raw in prop::collection::vec(("[a-z-]{1,6}", prop::collection::vec(any::<u8>(), 0..12)), 0..5),
        extensions in prop::collection::hash_map(
            prop_oneof![Just(POLICY.to_owned()), Just(TRAFFIC.to_owned()), Just("other".to_owned())], "[ -~]{0,12}", 0..4),
        address in prop_oneof!["[0-9.]{0,9}", Just("192.0.2.7".to_owned()), Just("2001:db8::1".to_owned())],
    ) -> CheckRequest {
        let [method, host, path, scheme, id, rest] = texts;
        let lines = raw.into_iter().map(|(key, raw_value)| HeaderValue { key, raw_value, ..HeaderValue::default() });
        let http = HttpRequest {
            id, method, host, path, scheme, headers, query: rest.clone(), body: rest.clone(), raw_body: rest.clone().into(),
            protocol: rest, size: 7, header_map: Some(HeaderMap { headers: lines.collect() }), ..HttpRequest::default()
        };
        let socket = SocketAddress { address, port_specifier: Some(PortSpecifier::PortValue(9)), ..SocketAddress::default() };
        let address = FullAddress { address: Some(AddressKind::SocketAddress(socket)) };
        CheckRequest { attributes: Some(AttributeContext {
            source: Some(Peer { address: Some(address), principal: "spiffe://x".to_owned(), ..Peer::default() }),
            request: Some(Request { http: Some(http), ..Request::default() }),
            context_extensions: extensions,
            tls_session: Some(TlsSession { sni: "x".to_owned() }),
            ..AttributeContext::default()
        }) }
    }
}

/// The lines that a lookup may see, in no order: a map has none.
fn lines(headers: &Headers<'_>) -> HashMap<String, Vec<u8>> {
    headers.names().map(|name| (name.to_owned(), headers.get(name).unwrap().into_owned())).collect()
}

proptest! {
    #[test]
    fn both_readings_agree(full in full(), proven: bool) {
        let check = read(&full);
        let view = view(&check, proven).unwrap();
        let attributes = full.attributes.as_ref().unwrap();
        let http = attributes.request.as_ref().unwrap().http.as_ref().unwrap();
        prop_assert_eq!([view.method, view.host, view.path, view.scheme],
            [http.method.as_str(), &http.host, &http.path, &http.scheme]);
        let extension = |name: &str| attributes.context_extensions.get(name).map(String::as_str);
        prop_assert_eq!(view.policy, extension(POLICY).filter(|_| proven));
        prop_assert_eq!(view.forced_external, extension(TRAFFIC) == Some("external"));
        let address = match attributes.source.as_ref().unwrap().address.as_ref().unwrap().address.as_ref().unwrap() {
            AddressKind::SocketAddress(socket) => socket.address.parse().ok(),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(view.source, address);
        let mut expected = Headers::default();
        let raw = &http.header_map.as_ref().unwrap().headers;
        raw.iter().for_each(|line| expected.push(&line.key, &line.raw_value));
        if raw.is_empty() {
            http.headers.iter().for_each(|(name, value)| expected.push(name, value.as_bytes()));
        }
        // Names that differ in case only meet in one line, in the order of a map: none.
        let folded: std::collections::HashSet<String> = http.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
        if !raw.is_empty() || folded.len() == http.headers.len() {
            prop_assert_eq!(lines(&view.headers), lines(&expected));
        }
    }

    /// Bytes that are no message end as an error, never as another request.
    #[test]
    fn cut_messages_are_errors_or_less(full in full(), cut in 0usize..400) {
        let bytes = full.encode_to_vec();
        let cut = cut.min(bytes.len());
        if let (Ok(slim), Err(_)) = (Check::decode(&bytes[..cut]), CheckRequest::decode(&bytes[..cut])) {
            // The cut went through an attribute that is skipped: it must have been skipped whole.
            prop_assert!(slim.encoded_len() <= cut);
        }
    }
}

#[test]
fn the_last_of_two_entries_counts() {
    let entry = |value: &'static str| super::super::wire::Entry { key: TRAFFIC.into(), value: value.into() };
    let http = Http { host: "x".to_owned(), ..Http::default() };
    let request = super::super::wire::Request { http: Some(http) };
    for (values, external) in [(["external", "internal"], false), (["internal", "external"], true)] {
        let attributes = Attributes {
            request: Some(request.clone()),
            context_extensions: values.map(entry).to_vec(),
            ..Attributes::default()
        };
        let check = Check { attributes: Some(attributes) };
        assert_eq!(view(&check, true).unwrap().forced_external, external);
    }
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    let entry = super::super::wire::Entry { key: vec![0xff].into(), value: "v".into() };
    let http = Http { headers: vec![entry], ..Http::default() };
    let attributes =
        Attributes { request: Some(super::super::wire::Request { http: Some(http) }), ..Attributes::default() };
    let check = Check { attributes: Some(attributes) };
    assert_eq!(view(&check, true).unwrap_err().code, Code::MalformedRequest);
}

/// A kind that is not read still replaces the one before it.
#[test]
fn the_last_of_two_addresses_counts() {
    use super::super::wire::{AddressKind, SocketAddress, Unread};
    let socket = Address { kind: Some(AddressKind::Socket(SocketAddress { address: "192.0.2.7".to_owned() })) };
    let pipe = Address { kind: Some(AddressKind::Pipe(Unread {})) };
    let read = |parts: [&Address; 2]| {
        let bytes = parts.map(Message::encode_to_vec).concat();
        ip(&Address::decode(bytes.as_slice()).unwrap())
    };
    assert_eq!(read([&socket, &pipe]), None);
    assert_eq!(read([&pipe, &socket]), "192.0.2.7".parse().ok());
}
