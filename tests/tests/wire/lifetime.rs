//! How long a WebSocket stays open: a real Envoy ends it when the token that opened it ends.

use serde_json::json;
use tests::{
    Bench, Call,
    bench::minimal,
    envoy::Envoy,
    issuer,
    socket::{Repeater, Socket},
};

use crate::Outcome;

/// Seconds that the short token has left: enough for two handshakes on a busy machine.
const SHORT: i64 = 6;
const HEADER: &str = "x-envoy-upstream-stream-duration-ms";

#[tokio::test]
async fn a_connection_ends_with_its_token_and_not_before() -> Outcome {
    let bench = Bench::with(minimal).await?;
    let home = tempfile::tempdir().expect("a temporary folder");
    let application = Repeater::start().await?;
    let authz = &bench.product.addresses.authz;
    let envoy = Envoy::start(authz, application.address, &tests::envoy::Options::default(), home.path()).await?;
    for listener in [envoy.hardened, envoy.plain] {
        let socket = || Call::to(listener).path("/ws").websocket();
        let end = issuer::now() + SHORT;
        let short = bench.issuer.token(&json!({"aud": "api", "sub": "alice", "exp": end}))?;
        let long = bench.alice()?;
        let mut stays = Socket::open(&socket().bearer(&long)).await?;
        // A client's own wish for more is nothing.
        let mut ends = Socket::open(&socket().bearer(&short).header(HEADER, "600000")).await?;
        assert!(ends.is_alive().await, "it is open");
        ends.ended().await?;
        assert!(issuer::now() >= end, "not before the token");
        assert!(stays.is_alive().await, "another token's connection goes on");
    }
    let heads = application.heads();
    assert_eq!(heads.len(), 4);
    assert!(heads.iter().all(|head| !head.to_ascii_lowercase().contains(HEADER)), "Envoy keeps it: {heads:?}");
    Ok(())
}
