//! The network rule as a table, and the ways around it that must not exist.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::proxy::ProxySettings;
use super::resolver::{CheckedResolver, Lookup};
use super::*;

/// Answers the nth question with the nth list, and the last one from then on.
#[derive(Debug)]
struct Scripted {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        Arc::new(Self { answers: answers.iter().map(|one| one.to_vec()).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Scripted {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let found = self.answers[nth].iter().map(|one| SocketAddr::new(one.parse().unwrap(), 0)).collect::<Vec<_>>();
        Box::pin(async move { if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) } })
    }
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn proxy(variables: &[(&str, &str)]) -> ProxySettings {
    let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
    ProxySettings::read(|name| variables.get(name).map(ToString::to_string))
}

fn scripted(allowed: &[&str], answers: &[&[&'static str]]) -> Networks {
    Networks::with(nets(allowed), ProxySettings::default(), Scripted::new(answers))
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn client(networks: Networks) -> Client {
    Client::new(networks, Duration::from_secs(2)).unwrap()
}

#[test]
fn only_public_addresses_are_public() {
    let strict = Networks::without_proxy(Vec::new());
    for address in [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.216.34",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "168.63.129.15",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "2001:200::1",
        "3ffe::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert_eq!(strict.permit(address.parse().unwrap(), true), Ok(()), "{address}");
        assert_eq!(strict.permit(address.parse().unwrap(), false), Err(NetworkError::PlainHttp), "{address}");
    }
    for (address, kind) in [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "carrier-grade NAT"),
        ("100.127.255.255", "carrier-grade NAT"),
        ("100.100.100.200", "carrier-grade NAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("168.63.129.16", "cloud metadata"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved for protocols"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4 relay"),
        ("192.168.1.1", "private"),
        ("198.18.0.0", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.255", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "reserved"),
        ("::10.0.0.1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "cloud metadata"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::a9fe:a9fe", "cloud metadata"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b:1::a00:1", "local NAT64"),
        ("100::1", "reserved"),
        ("2001::1", "reserved for protocols"),
        ("2001:2::1", "reserved for protocols"),
        ("2001:10::1", "reserved for protocols"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("fc00::1", "unique local"),
        ("fd00:ec2::254", "unique local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("5f00::1", "reserved"),
    ] {
        let address: IpAddr = address.parse().unwrap();
        for secure in [true, false] {
            let refused = NetworkError::Special { address: address.to_canonical(), kind };
            assert_eq!(strict.permit(address, secure), Err(refused), "{address}");
        }
    }
}

#[test]
fn allowed_networks_add_to_the_rule() {
    let networks = Networks::without_proxy(nets(&["10.1.0.0/16", "127.0.0.1/32", "fd00::/8"]));
    for address in ["10.1.2.3", "127.0.0.1", "fd12::1", "::ffff:10.1.2.3"] {
        assert_eq!(networks.permit(address.parse().unwrap(), false), Ok(()), "{address}");
        assert_eq!(networks.permit(address.parse().unwrap(), true), Ok(()), "{address}");
    }
    for address in ["10.2.0.0", "127.0.0.2", "fc00::1", "::1", "64:ff9b::a01:203", "2002:a01:203::1"] {
        assert!(networks.permit(address.parse().unwrap(), true).is_err(), "{address}");
    }
    assert_eq!(networks.permit("8.8.8.8".parse().unwrap(), false), Err(NetworkError::PlainHttp));
}

/// Whatever way an address is written, it is the address that counts.
#[test]
fn urls_are_judged_before_a_request() {
    let networks = Networks::without_proxy(nets(&["127.0.0.0/8"]));
    for good in [
        "https://issuer.example/x",
        "https://8.8.8.8",
        "http://127.0.0.1:8080/",
        "http://2130706433/",
        "http://name.example",
    ] {
        assert_eq!(networks.check(&url(good)), Ok(()), "{good}");
    }
    for bad in [
        "http://8.8.8.8/",
        "https://10.0.0.1/",
        "https://167772161/",
        "https://0xa.0.0.1/",
        "https://012.0.0.1/",
        "https://10.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[0:0:0:0:0:ffff:a00:1]/",
        "https://169.254.169.254/",
        "https://user@issuer.example/",
        "https://:pw@issuer.example/",
        "ftp://issuer.example/",
        "file:///etc/passwd",
        "data:,x",
        "unix:/run/x",
        "https://①⓪.0.0.1/",
    ] {
        assert!(networks.check(&url(bad)).is_err(), "{bad}");
    }
    let strict = Networks::without_proxy(Vec::new());
    assert_eq!(strict.check(&url("http://name.example/")), Err(NetworkError::PlainHttp));
}

/// A name with good and bad addresses is reached at the good ones only.
#[tokio::test]
async fn names_lose_their_refused_addresses() {
    let mixed = ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "127.0.0.1"];
    let found = |networks: Networks, secure| async move {
        let found = networks.resolve("name.example", secure).await?;
        Ok::<_, NetworkError>(found.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>())
    };
    let public = ["8.8.8.8", "2606:4700::1"];
    assert_eq!(found(scripted(&[], &[&mixed]), true).await.unwrap(), public);
    assert_eq!(found(scripted(&["10.0.0.0/8"], &[&mixed]), false).await.unwrap(), ["10.0.0.1"]);
    let refused = NetworkError::Special { address: "10.0.0.1".parse().unwrap(), kind: "private" };
    assert_eq!(found(scripted(&[], &[&["10.0.0.1"]]), true).await, Err(refused));
    assert_eq!(found(scripted(&["10.0.0.0/8"], &[&["8.8.8.8"]]), false).await, Err(NetworkError::PlainHttp));
    assert_eq!(found(scripted(&[], &[&[]]), true).await, Err(NetworkError::Unresolved));
}

/// Each connection resolves and checks anew, and dials what it checked: there is no second look-up to lie to.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_caught() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let mut served = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            served += 1;
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
            if served == 1 {
                break;
            }
        }
    });
    let lookup = Scripted::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let networks = Networks::with(nets(&["127.0.0.0/8"]), ProxySettings::default(), lookup.clone());
    let (client, target) = (client(networks), url(&format!("http://rebind.example:{port}/")));
    let first = client.request(Method::GET, &target).await.unwrap().send().await.unwrap();
    assert_eq!(read_limited(first, 10).await.unwrap(), b"ok");
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "one look-up, whose answer is dialled");
    serving.await.unwrap();
    let second = client.request(Method::GET, &target).await.unwrap().send().await.unwrap_err();
    let refused = NetworkError::Special { address: "169.254.169.254".parse().unwrap(), kind: "cloud metadata" };
    assert_eq!(ResponseError::of(&second), ResponseError::Network(refused));
}

#[test]
fn proxy_variables_are_read_as_usual() {
    let both = proxy(&[
        ("HTTPS_PROXY", "http://a.example:3128"),
        ("http_proxy", "b.example:8080"),
        ("ALL_PROXY", "http://c.example"),
    ]);
    let proxies = both.parse().unwrap();
    assert_eq!(proxies.https.unwrap().as_str(), "http://a.example:3128/");
    assert_eq!(proxies.http.unwrap().as_str(), "http://b.example:8080/");
    let all = proxy(&[("all_proxy", "http://c.example"), ("HTTPS_PROXY", " ")]).parse().unwrap();
    assert!(all.names("c.example") && all.https.is_some() && all.http.is_some());
    assert!(proxy(&[]).parse().unwrap().https.is_none());
    for (value, expected) in [
        ("http://", ProxyError::Unreadable("HTTPS_PROXY")),
        ("http://user:secret@", ProxyError::Unreadable("HTTPS_PROXY")),
        ("socks5://a.example:1080", ProxyError::Unsupported("HTTPS_PROXY")),
    ] {
        let settings = proxy(&[("HTTPS_PROXY", value)]);
        assert_eq!(settings.parse().err(), Some(expected.clone()), "{value}");
        let networks = Networks::with(Vec::new(), settings, Scripted::new(&[&[]]));
        assert!(!format!("{networks:?} {expected}").contains("secret"));
        assert_eq!(Client::new(networks, Duration::from_secs(1)).err(), Some(ClientError::Proxy(expected)));
    }
}

/// A proxy on a private address, by name: it is the operator's choice, and the target is tunnelled through it.
#[tokio::test]
async fn a_private_proxy_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1024];
        let length = stream.read(&mut head).await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
        String::from_utf8(head[..length].to_vec()).unwrap()
    });
    // The first look-up is for the target, which only the proxy knows; the second for the proxy itself.
    let lookup = Scripted::new(&[&[], &["127.0.0.1"]]);
    let settings = proxy(&[("HTTPS_PROXY", &format!("http://proxy.corp.example:{port}"))]);
    let client = client(Networks::with(Vec::new(), settings, lookup));
    let request = client.request(Method::GET, &url("https://issuer.example/keys")).await.unwrap();
    assert!(request.send().await.is_err());
    // A proxy that is never asked is a failed test, not one that hangs.
    let asked = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("the proxy was never asked").unwrap();
    assert!(asked.starts_with("CONNECT issuer.example:443 HTTP/1.1\r\n"), "{asked}");
}

/// What only the proxy would dial is still held to the rule as far as this host can see.
#[tokio::test]
async fn a_proxy_is_no_way_around_the_rule() {
    let settings = || proxy(&[("ALL_PROXY", "http://proxy.corp.example:3128")]);
    let refused = |allowed: &[&str], answers: &[&[&'static str]], target: &'static str| {
        let client = client(Networks::with(nets(allowed), settings(), Scripted::new(answers)));
        async move { client.request(Method::GET, &url(target)).await.err() }
    };
    let special = |address: &str, kind| {
        Some(ResponseError::Network(NetworkError::Special { address: address.parse().unwrap(), kind }))
    };
    assert_eq!(refused(&[], &[&["10.0.0.1"]], "https://app.team.svc/keys").await, special("10.0.0.1", "private"));
    assert_eq!(refused(&[], &[&["127.0.0.1"]], "https://localhost/keys").await, special("127.0.0.1", "loopback"));
    assert_eq!(
        refused(&[], &[&["10.0.0.1"]], "https://169.254.169.254/").await,
        special("169.254.169.254", "cloud metadata")
    );
    let unresolved = Some(ResponseError::Network(NetworkError::Unresolved));
    assert_eq!(
        refused(&["10.0.0.0/8"], &[&[]], "http://issuer.example/").await,
        unresolved,
        "plain http needs an address"
    );
    assert_eq!(
        refused(&[], &[&[]], "https://proxy.corp.example/").await,
        unresolved,
        "the proxy's own name as a target"
    );
    assert_eq!(refused(&[], &[&["10.0.0.1"]], "https://proxy.corp.example/").await, special("10.0.0.1", "private"));
    assert_eq!(refused(&[], &[&["8.8.8.8"]], "https://issuer.example/").await, None);
    assert_eq!(refused(&[], &[&[]], "https://issuer.example/").await, None, "left to the proxy, which resolves names");
}

/// The resolver itself knows the proxy's name and no other exception.
#[tokio::test]
async fn only_the_proxy_may_have_any_address() {
    use reqwest::dns::Resolve;
    let networks = scripted(&[], &[&["10.0.0.1"]]);
    let proxies = Arc::new(proxy(&[("HTTPS_PROXY", "http://proxy.corp.example")]).parse().unwrap());
    let resolver = CheckedResolver::new(networks, proxies, true);
    let found = async |name: &str| resolver.resolve(name.parse().unwrap()).await.map(Iterator::count).ok();
    assert_eq!(found("proxy.corp.example").await, Some(1));
    assert_eq!(found("other.corp.example").await, None);
}
