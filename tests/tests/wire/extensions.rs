//! Context extensions: the proxy's own word on which policy holds, which no client can speak.

use std::collections::BTreeMap;

use serde_json::json;
use tests::{
    Bench, Issuer,
    bench::{Setup, policy},
    envoy::{EXTENSIONS_HEADER, Options},
};

use crate::{Outcome, assert_allowed, assert_refused};

const POLICY: &str = "gatewright.dev/policy";

async fn bench() -> Result<Bench, tests::PeerError> {
    let one = |value: &str| BTreeMap::from([(POLICY.to_owned(), value.to_owned())]);
    let extensions = BTreeMap::from([
        ("second".to_owned(), one("demo/second")),
        ("unknown".to_owned(), one("demo/nobody")),
        ("garbage".to_owned(), one("///")),
    ]);
    let setup = Setup { envoy: Options { extensions, ..Options::default() }, ..Setup::default() };
    let documents = |issuer: &Issuer| {
        ["first", "second"]
            .map(|name| (format!("{name}.yaml"), policy(name, &format!("{name}.example.com"), &issuer.url(), name)))
            .to_vec()
    };
    Bench::set_up(Issuer::start().await?, documents, &setup).await
}

#[tokio::test]
async fn the_named_policy_holds_instead_of_the_one_of_the_host() -> Outcome {
    let bench = bench().await?;
    let first = bench.issuer.token(&json!({"aud": "first", "sub": "alice"}))?;
    let second = bench.issuer.token(&json!({"aud": "second", "sub": "bob"}))?;
    let call = || bench.call().host("first.example.com");
    assert_allowed(&call().bearer(&first).http1().await?, "alice");
    assert_refused(&call().bearer(&second).http1().await?, 401, "invalid_token");

    let named = || call().header(EXTENSIONS_HEADER, "second");
    assert_allowed(&named().bearer(&second).http1().await?, "bob");
    assert_refused(&named().bearer(&first).http1().await?, 401, "invalid_token");
    Ok(())
}

#[tokio::test]
async fn a_name_that_no_policy_has_is_refused_even_where_the_host_would_do() -> Outcome {
    let bench = bench().await?;
    let first = bench.issuer.token(&json!({"aud": "first", "sub": "alice"}))?;
    for name in ["unknown", "garbage"] {
        let call = bench.call().host("first.example.com").bearer(&first).header(EXTENSIONS_HEADER, name);
        assert_refused(&call.http1().await?, 403, "no_policy");
    }
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_client_cannot_name_a_policy() -> Outcome {
    let bench = bench().await?;
    let second = bench.issuer.token(&json!({"aud": "second", "sub": "bob"}))?;
    let call = bench.call().host("first.example.com").bearer(&second);
    let call = call.header("x-gatewright-policy", "demo/second").header("x-envoy-auth-policy", "demo/second");
    assert_refused(&call.http1().await?, 401, "invalid_token");
    Ok(())
}
