//! A real issuer behind a name server that fails, lies late and changes its mind, asked through the system's own resolver.
//!
//! The product runs in a mount namespace of its own whose `resolv.conf` names our server, which is why this needs root:
//! `make test-resolver`. One test, as there is one port 53 and a name server has one answer at a time.

#![allow(clippy::expect_used, reason = "a test's helper fails the test that calls it")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tests::{
    Bench, Issuer, PeerError,
    bench::Setup,
    dns::{self, Answer, Dns},
    wait,
};
use tokio::net::{TcpListener, TcpStream};

/// What a test returns: an error of the surroundings is no assertion, but fails it too.
type Outcome = Result<(), PeerError>;

/// Longer than anybody waits: a fetch for 5 s, Envoy for 5 s, a check for 150 ms.
const LATE: Duration = Duration::from_secs(10);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Keys are fetched again within half a minute, and after failures within a minute.
const FETCHED: Duration = Duration::from_secs(150);

/// The same issuer at another address; says how often it was reached there.
async fn also_there(issuer: SocketAddr) -> Result<Arc<AtomicUsize>, PeerError> {
    let reached = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind((THERE, issuer.port())).await.map_err(PeerError::io("another address"))?;
    let counted = reached.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut to = TcpStream::connect(issuer).await.ok()?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok()
            });
        }
    });
    Ok(reached)
}

/// Keys by the name, with as little patience as the policy may have.
fn documents(issuer: &Issuer, port: u16) -> Vec<(String, String)> {
    let policy = json!({
        "apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": "api", "namespace": "demo"},
        "spec": {"externalHostnames": ["api.example.com"], "authenticators": [{"name": "sso", "jwt": {
            "issuer": issuer.url(), "audiences": ["api"], "jwksCacheDuration": "30s", "jwksURI": format!("http://issuer.test:{port}/keys"),
        }}]},
    });
    vec![("api.yaml".to_owned(), policy.to_string())]
}

async fn bench(issuer: Issuer, folder: &std::path::Path) -> Result<Bench, PeerError> {
    let own = folder.join("resolv.conf");
    fs::write(&own, format!("nameserver {}\n", dns::ADDRESS)).map_err(PeerError::io("resolv.conf"))?;
    // A proxy would ask for names in our place.
    let mount = format!(
        "unset HTTP_PROXY http_proxy ALL_PROXY all_proxy && mount --bind \"{}\" /etc/resolv.conf && exec \"$0\" \"$@\"",
        own.display()
    );
    let setup = Setup {
        flags: vec!["--startup-key-timeout=1s".to_owned()],
        shell: Some(format!("exec unshare --mount sh -c '{mount}' \"$0\" \"$@\"")),
        ..Setup::default()
    };
    let port = issuer.address().port();
    Bench::set_up(issuer, |issuer| documents(issuer, port), &setup).await
}

/// Whoever cannot be judged is refused by us, before Envoy gives up after five seconds, and never with a 401.
async fn refused(bench: &Bench, key: &str) -> Outcome {
    for _ in 0..10 {
        let token = bench.issuer.token_by(key, &json!({"aud": "api", "sub": "alice"}))?;
        let answer = bench.call().bearer(&token).http1().await?;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{answer:?}");
    }
    Ok(())
}

async fn until_allowed(bench: &Bench, key: &str) -> Outcome {
    wait::until(&format!("a token of {key} to be let in"), FETCHED, || async {
        let token = bench.issuer.token_by(key, &json!({"aud": "api", "sub": "alice"})).ok()?;
        (bench.call().bearer(&token).http1().await.ok()?.status == 200).then_some(())
    })
    .await
}

/// Waits for one more question than now.
async fn asked_again(dns: &Dns) -> Outcome {
    let before = dns.asked();
    wait::until("the name to be asked for", FETCHED, || async { (dns.asked() > before).then_some(()) }).await
}

/// Row R18 of docs/security.md.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_for_again_whatever_came_before() -> Outcome {
    let dns = Dns::start(Answer::NxDomain).await?;
    let issuer = Issuer::start().await?;
    let reached = also_there(issuer.address()).await?;
    let folder = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
    let mut bench = bench(issuer, folder.path()).await?;

    // No name, no answer, an answer after everybody's patience: none of it is a 401, and none of it is kept.
    for answer in [Answer::NxDomain, Answer::ServFail, Answer::Late(NOBODY, LATE), Answer::Address(NOBODY)] {
        dns.set(answer);
        asked_again(&dns).await?;
        refused(&bench, "rsa").await?;
        assert_eq!(bench.issuer.key_fetches(), 0, "{answer:?}");
    }
    dns.set(Answer::Address(HERE));
    until_allowed(&bench, "rsa").await?;
    assert_eq!(reached.load(Ordering::Relaxed), 0);

    // It moves, with a lifetime of zero: the next fetch goes there.
    dns.set(Answer::Address(THERE));
    bench.issuer.publish(&["rsa", "rsa2"])?;
    until_allowed(&bench, "rsa2").await?;
    assert!(reached.load(Ordering::Relaxed) > 0);

    // What was fetched is good whatever becomes of the name, and a look-up that hangs does not hold up the end.
    dns.set(Answer::ServFail);
    asked_again(&dns).await?;
    until_allowed(&bench, "rsa").await?;
    dns.set(Answer::Late(HERE, LATE));
    asked_again(&dns).await?;
    until_allowed(&bench, "rsa").await?;
    let ended = bench.product.stop().await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Ok(())
}
