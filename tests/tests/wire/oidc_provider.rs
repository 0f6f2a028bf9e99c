//! A provider that others wrote: its discovery, its tokens (RFC 9068) and its key rotation.

use std::time::Duration;

use tests::{
    Bench, Issuer,
    bench::{Setup, policy},
    oidc_provider::OidcProvider,
    wait,
};

use crate::{Outcome, assert_allowed, assert_refused};

const RESOURCE: &str = "https://api.example.com";
/// Unknown keys are asked for again only after a pause.
const COOLDOWN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn its_tokens_are_good_for_their_resource_also_after_a_rotation() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = OidcProvider::start(folder.path()).await?;
    let documents =
        |_: &Issuer| vec![("op.yaml".to_owned(), policy("api", "api.example.com", &provider.issuer, RESOURCE))];
    let bench = Bench::set_up(Issuer::start().await?, documents, &Setup::default()).await?;

    let token = provider.access_token(RESOURCE).await?;
    let answer = bench.call().bearer(&token).http1().await?;
    assert_allowed(&answer, "m2m");
    let seen = answer.seen().expect("the application answered");
    assert_eq!(seen.header("x-auth-scopes").as_deref(), Some("tools:call"));
    assert_eq!(seen.header("x-auth-issuer").as_deref(), Some(provider.issuer.as_str()));

    let elsewhere = provider.access_token("https://elsewhere.example.com").await?;
    assert_refused(&bench.call().bearer(&elsewhere).http1().await?, 401, "invalid_token");

    provider.rotate().await?;
    let rotated = provider.access_token(RESOURCE).await?;
    wait::until("the rotated key to be known", COOLDOWN, || async {
        (bench.call().bearer(&rotated).http1().await.ok()?.status == 200).then_some(())
    })
    .await?;
    assert_allowed(&bench.call().bearer(&token).http1().await?, "m2m");
    Ok(())
}
