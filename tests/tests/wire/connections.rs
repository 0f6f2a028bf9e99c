//! Connections that stay open, through a real Envoy that reports them: how many there are at once, for whom, and that an end makes room.

use serde_json::json;
use tests::{
    Bench, Call, PeerError, Product,
    bench::{Setup, policy},
    envoy::{Envoy, Options},
    redis::Redis,
    socket::{Repeater, Socket},
    wait::{self, LONG},
};

use crate::{Outcome, assert_refused};

/// An application that holds connections, behind a product and Envoys that report.
struct Sockets {
    bench: Bench,
    envoy: Envoy,
    application: Repeater,
    _home: tempfile::TempDir,
}

fn reporting() -> Options {
    Options { reports: true, ..Options::default() }
}

impl Sockets {
    async fn start(limits: &str) -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let text = |issuer: &tests::Issuer| {
            let text = policy("api", "api.example.com", &issuer.url(), "api");
            let open = "  routes: [{name: open, paths: [/open], access: Public}]\n";
            vec![("limited.yaml".to_owned(), format!("{text}  limits: {limits}\n{open}"))]
        };
        let bench = Bench::set_up(tests::Issuer::start().await?, text, &Setup::default()).await?;
        let application = Repeater::start().await?;
        let authz = &bench.product.addresses.authz;
        let envoy = Envoy::start(authz, application.address, &reporting(), home.path()).await?;
        Ok(Self { bench, envoy, application, _home: home })
    }

    fn handshake(&self, subject: &str) -> Result<Call, PeerError> {
        let token = self.bench.issuer.token(&json!({"aud": "api", "sub": subject}))?;
        Ok(Call::to(self.envoy.hardened).path("/ws").websocket().bearer(&token))
    }

    /// Opens one as soon as there is room.
    async fn until_open(&self, call: &Call) -> Result<Socket, PeerError> {
        wait::until("room for a connection", LONG, || async { Socket::open(call).await.ok() }).await
    }

    async fn reports(&self, kind: &str) -> u64 {
        let metrics = self.bench.product.admin("/metrics").await.1;
        let name = format!("gatewright_connection_reports_total{{kind=\"{kind}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
    }
}

#[tokio::test]
async fn an_end_makes_room_and_nothing_else_does() -> Outcome {
    let mut sockets = Sockets::start("{connections: {max: 2, by: Principal}}").await?;
    let alice = sockets.handshake("alice")?;
    let (mut first, mut second) = (Socket::open(&alice).await?, Socket::open(&alice).await?);
    for _ in 0..3 {
        assert_refused(&alice.http1().await?, 429, "rate_limited");
    }
    assert_eq!(sockets.application.heads().len(), 2, "a refused handshake reaches nobody");
    assert!(first.is_alive().await && second.is_alive().await);
    let mut bob = Socket::open(&sockets.handshake("bob")?).await?;
    assert!(bob.is_alive().await, "somebody else has room of his own");
    // Requests that open no connection are not limited by it, and neither are public routes.
    let plain = alice.clone().path("/open");
    assert!(Socket::open(&plain).await.is_ok());
    drop(first);
    let mut third = sockets.until_open(&alice).await?;
    assert!(third.is_alive().await);
    assert_refused(&alice.http1().await?, 429, "rate_limited");
    // Reports that a connection lives hold its place.
    let heard = sockets.reports("alive").await;
    wait::until("two more reports", LONG, || async { (sockets.reports("alive").await >= heard + 6).then_some(()) })
        .await?;
    assert_refused(&alice.http1().await?, 429, "rate_limited");
    drop(second);
    drop(third);
    let (mut one, mut other) = (sockets.until_open(&alice).await?, sockets.until_open(&alice).await?);
    assert!(one.is_alive().await && other.is_alive().await);
    // A proxy's stream of reports has no end of its own, and keeps nobody from ending.
    let finished = sockets.bench.product.stop().await?;
    assert_eq!(finished.code, Some(0), "{}", finished.output);
    assert!(finished.output.contains("drained") && !finished.output.contains("in time"), "{}", finished.output);
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_is_refused_for_its_rate_holds_no_place() -> Outcome {
    let limits = "{requests: {rate: 1, window: 1h, by: Principal}, connections: {max: 1, by: Global}}";
    let sockets = Sockets::start(limits).await?;
    let alice = sockets.handshake("alice")?;
    let mut first = Socket::open(&alice).await?;
    assert!(first.is_alive().await);
    drop(first);
    wait::until("the end to be told", LONG, || async { (sockets.reports("ended").await > 0).then_some(()) }).await?;
    assert_refused(&alice.http1().await?, 429, "rate_limited");
    let mut bob = sockets.until_open(&sockets.handshake("bob")?).await?;
    assert!(bob.is_alive().await);
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_the_application_refuses_holds_no_place() -> Outcome {
    let sockets = Sockets::start("{connections: {max: 1, by: Global}}").await?;
    let authz = &sockets.bench.product.addresses.authz;
    // An application that answers and never switches protocols, as the admin listener is, and one that is not there.
    let refuses = sockets.bench.product.addresses.admin.parse().expect("an address");
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    for (application, status) in [(refuses, 404), (nobody, 503)] {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let envoy = Envoy::start(authz, application, &reporting(), home.path()).await?;
        let refused = Call::to(envoy.hardened).path("/ws").websocket().bearer(&sockets.bench.alice()?);
        assert_eq!(refused.http1().await?.status, status);
        let mut open = sockets.until_open(&sockets.handshake("alice")?).await?;
        assert!(open.is_alive().await);
    }
    Ok(())
}

#[tokio::test]
async fn replicas_share_the_places_in_a_store_and_recover_them_when_it_is_flushed() -> Outcome {
    let redis = Redis::start(None).await?;
    let store = format!("store: {{redis: {{url: 'redis://{}', timeout: 2s}}}}", redis.address);
    let sockets = Sockets::start(&format!("{{connections: {{max: 2, by: Principal}}, {store}}}")).await?;
    let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
    let text = std::fs::read_to_string(sockets.bench.product.config().join("limited.yaml"))
        .map_err(PeerError::io("limited.yaml"))?;
    let replica = Product::start(&[("limited.yaml".to_owned(), text)]).await?;
    let envoy = Envoy::start(&replica.addresses.authz, sockets.application.address, &reporting(), home.path()).await?;
    let alice = sockets.handshake("alice")?;
    let there = Call::to(envoy.hardened).path("/ws").websocket().bearer(&sockets.bench.alice()?);
    let (first, mut second) = (Socket::open(&alice).await?, Socket::open(&there).await?);
    assert_refused(&alice.http1().await?, 429, "rate_limited");
    assert_refused(&there.http1().await?, 429, "rate_limited");
    assert!(!redis.ask(&["KEYS *"])?.contains("alice"));
    redis.ask(&["FLUSHALL"])?;
    // Both are told of again, and hold their places again.
    wait::until("both to be counted again", LONG, || async {
        let keys = redis.ask(&["KEYS *open:*"]).ok()?;
        let key = keys.lines().find(|line| line.contains("open:"))?.to_owned();
        redis.ask(&[&format!("ZCARD {key}")]).ok()?.contains(":2").then_some(())
    })
    .await?;
    assert_refused(&there.http1().await?, 429, "rate_limited");
    // An end that one proxy reports makes room at the other.
    drop(first);
    let mut third = sockets.until_open(&there).await?;
    assert!(second.is_alive().await && third.is_alive().await);
    assert_refused(&alice.http1().await?, 429, "rate_limited");
    Ok(())
}
