//! Names of peers: one spelling each, nothing that could be read in two ways.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::{accept::Peer, *};

fn certificate(uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn names_are_read_as_they_are_written() {
    let workload = PeerId::Workload { namespace: "a".to_owned(), account: "shop".to_owned(), pod: "shop-0".to_owned() };
    let gateway = PeerId::Gateway { name: "edge.a".to_owned() };
    for (id, text) in
        [(workload, "spiffe://gatewright/ns/a/sa/shop/pod/shop-0"), (gateway, "spiffe://gatewright/gateway/edge.a")]
    {
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<PeerId>().unwrap(), id);
        assert_eq!(identify(&certificate(&[text])).unwrap().id, id);
    }
}

#[test]
fn what_is_not_exactly_one_name_is_none() {
    for text in [
        "",
        "spiffe://gatewright/",
        "spiffe://gatewright/gateway/",
        "spiffe://gatewright/gateway/a/b",
        "spiffe://gatewright/gateway/A",
        "spiffe://gatewright/gateway/a%2fb",
        "spiffe://gatewright/gateway/..%2f",
        "spiffe://other/gateway/a",
        "https://gatewright/gateway/a",
        "spiffe://gatewright/ns//sa/shop/pod/shop-0",
        "spiffe://gatewright/ns/a/sa/shop",
        "spiffe://gatewright/ns/a/sa/shop/pod/shop-0/",
        "spiffe://gatewright/ns/a b/sa/shop/pod/shop-0",
    ] {
        assert!(text.parse::<PeerId>().is_err(), "{text:?}");
    }
    assert!(identify(&certificate(&[])).is_err());
    let two = ["spiffe://gatewright/gateway/a", "spiffe://gatewright/gateway/b"];
    assert!(identify(&certificate(&two)).is_err());
    assert!(identify(&certificate(&["https://example.com", two[0]])).is_err());
    assert!(identify(&CertificateDer::from(vec![0x30, 0x00])).is_err());
}

#[test]
fn proxies_on_this_machine_or_with_a_certificate_that_lives_are_proven() {
    let now = SystemTime::now();
    let until = |not_after| {
        let id = PeerId::Gateway { name: "edge".to_owned() };
        Some(Arc::new(Identified { id, not_after }))
    };
    let of = |id| Some(Arc::new(Identified { id, not_after: now + Duration::from_secs(9) }));
    let pod = PeerId::Workload { namespace: "a".to_owned(), account: "s".to_owned(), pod: "p".to_owned() };
    for (address, identified, proven) in [
        ("127.0.0.1:1", None, true),
        ("[::1]:1", None, true),
        ("[::ffff:127.0.0.1]:1", None, true),
        ("10.0.0.1:1", None, false),
        ("10.0.0.1:1", until(now + Duration::from_secs(1)), true),
        ("10.0.0.1:1", until(now), false),
        ("10.0.0.1:1", of(pod), false),
    ] {
        let peer = Peer { address: address.parse().unwrap(), identified };
        assert_eq!(peer.is_proven_proxy(now), proven, "{peer:?}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let key = KeyPair::generate().unwrap();
    let other = KeyPair::generate().unwrap();
    let chain = CertificateParams::default().self_signed(&key).unwrap().pem();
    assert!(server_config(&chain, &key.serialize_pem(), &chain).is_ok());
    assert!(matches!(server_config(&chain, &other.serialize_pem(), &chain), Err(TlsError::Unusable(_))));
    assert!(matches!(server_config("", &key.serialize_pem(), &chain), Err(TlsError::Empty(_))));
    assert!(matches!(server_config(&chain, "", &chain), Err(TlsError::Pem { .. })));
    assert!(matches!(server_config(&chain, &key.serialize_pem(), ""), Err(TlsError::Empty(_))));
}

/// Whoever opens connections and never speaks takes no place from others.
#[tokio::test]
async fn handshakes_that_are_begun_and_left_shut_out_nobody() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    let config = server_config(&chain, &key.serialize_pem(), &chain).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let mut connections = Box::pin(incoming(listener, Arc::new(arc_swap::ArcSwap::new(config))));
    let served = tokio::spawn(async move { futures_util::StreamExt::next(&mut connections).await });

    let dial = async |from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    };
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(dial([127, 0, 0, 2]).await);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("the chain", &chain).unwrap().remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let client = tokio_rustls::TlsConnector::from(Arc::new(client));
    let begun = std::time::Instant::now();
    let stream = client.connect("localhost".try_into().unwrap(), dial([127, 0, 0, 3]).await).await.unwrap();
    let connection = served.await.unwrap().unwrap().unwrap();
    assert_eq!(connection.peer().address, stream.get_ref().0.local_addr().unwrap());
    // Handshakes that say nothing are given up after ten seconds: nobody waited for those.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // They gave up their oldest for it, one after the other: no more are kept than there are places for.
    let first = silent.first_mut().unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), tokio::io::AsyncReadExt::read(first, &mut [0])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "the first one still has its place");
}
