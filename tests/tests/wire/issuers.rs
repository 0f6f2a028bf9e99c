//! The issuer in every bad state: our trouble is a 503 and never the client's fault, and keys once fetched stay good.

use std::time::Duration;

use serde_json::json;
use tests::{
    Bench, Fault, Issuer, PeerError,
    bench::{Setup, minimal},
    envoy::Options,
    wait,
};

use crate::{Outcome, assert_allowed, assert_refused};

/// A fetch that failed is repeated after a pause of the product's choice.
const RECOVERY: Duration = Duration::from_secs(90);
const FAULTS: [Fault; 7] =
    [Fault::Refuse, Fault::Hang, Fault::Status(500), Fault::Garbage, Fault::Html, Fault::Redirect, Fault::Huge];

/// A token that the product can only place by asking for keys again.
fn unknown(bench: &Bench, key: &str) -> Result<String, PeerError> {
    bench.issuer.token_by(key, &json!({"aud": "api", "sub": "mallory"}))
}

/// The issuer is like this before the product starts: 503, and it comes back by itself.
async fn starts_broken(fault: Fault) -> Outcome {
    let issuer = Issuer::start().await?;
    issuer.set(fault);
    let bench = Bench::set_up(issuer, minimal, &Setup::default()).await?;
    assert_refused(&bench.good()?.http1().await?, 503, "unavailable");
    // Who sends no token learns nothing of the outage.
    assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    assert!(bench.upstream.seen().is_empty());
    if fault == Fault::Redirect {
        let followed: Vec<String> = bench.issuer.hits().into_iter().filter(|path| path.starts_with("/moved")).collect();
        assert!(followed.is_empty(), "a redirect was followed: {followed:?}");
    }
    bench.issuer.set(Fault::None);
    wait::until("the issuer's keys to be there", RECOVERY, || async {
        let answer = bench.good().ok()?.http1().await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await
}

macro_rules! starts_broken {
    ($($name:ident: $fault:expr),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() -> Outcome {
            starts_broken($fault).await
        }
    )*};
}

starts_broken! {
    an_issuer_that_refuses_at_the_start_is_a_503_and_recovers: Fault::Refuse,
    an_issuer_that_hangs_at_the_start_is_a_503_and_recovers: Fault::Hang,
    an_issuer_that_fails_at_the_start_is_a_503_and_recovers: Fault::Status(500),
    an_issuer_that_sends_garbage_is_a_503_and_recovers: Fault::Garbage,
    an_issuer_behind_a_sign_in_page_is_a_503_and_recovers: Fault::Html,
    a_redirect_to_keys_is_not_followed: Fault::Redirect,
    a_key_set_without_an_end_is_not_read: Fault::Huge,
}

#[tokio::test]
async fn a_slow_issuer_is_waited_for_at_the_start() -> Outcome {
    let issuer = Issuer::start().await?;
    issuer.set(Fault::Delay(Duration::from_millis(300)));
    let bench = Bench::set_up(issuer, minimal, &Setup::default()).await?;
    // Ready means that the keys were fetched, so the first request is already good.
    assert_allowed(&bench.good()?.http1().await?, "alice");
    Ok(())
}

#[tokio::test]
async fn keys_once_fetched_stay_good_whatever_the_issuer_does_later() -> Outcome {
    for fault in FAULTS {
        // A bench each: the product asks a second time only after a pause.
        let bench = Bench::start().await?;
        let before = bench.issuer.hits().len();
        bench.issuer.set(fault);
        let answer = bench.call().bearer(&unknown(&bench, "ed25519-unknown")?).http1().await?;
        assert!(matches!(answer.status, 401 | 503), "{fault:?}: {answer:?}");
        wait::until("the product to ask for keys", wait::LONG, || async {
            (bench.issuer.hits().len() > before).then_some(())
        })
        .await?;
        assert_allowed(&bench.good()?.http1().await?, "alice");
        assert_eq!(bench.upstream.seen().len(), 1, "{fault:?}: only alice got through");
    }
    Ok(())
}

#[tokio::test]
async fn keys_once_fetched_survive_a_restart_while_the_issuer_is_away() -> Outcome {
    let mut bench = Bench::start().await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    bench.issuer.set(Fault::Refuse);
    bench.product.restart().await?;
    wait::until("the proxy to reach the product again", wait::LONG, || async {
        (bench.good().ok()?.http1().await.ok()?.status == 200).then_some(())
    })
    .await?;
    let forged = bench.call().bearer(&unknown(&bench, "rsa-stranger")?).http1().await?;
    assert!(matches!(forged.status, 401 | 503), "{forged:?}");
    Ok(())
}

#[tokio::test]
async fn a_new_key_is_found_and_the_old_one_stays_good() -> Outcome {
    let bench = Bench::start().await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    bench.issuer.publish(&["rsa", "rsa-next"])?;
    let token = bench.issuer.token_by("rsa-next", &json!({"aud": "api", "sub": "bob"}))?;
    wait::until("the new key to be known", RECOVERY, || async {
        let answer = bench.call().bearer(&token).http1().await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await?;
    assert_allowed(&bench.call().bearer(&token).http1().await?, "bob");
    assert_allowed(&bench.good()?.http1().await?, "alice");
    Ok(())
}

#[tokio::test]
async fn forged_tokens_neither_flood_a_hanging_issuer_nor_delay_the_good_ones() -> Outcome {
    let setup = Setup {
        // Long enough for all that is good to be answered before the first that is forged.
        flags: ["--check-timeout", "20s"].map(str::to_owned).to_vec(),
        envoy: Options { timeout: Duration::from_secs(30), ..Options::default() },
        ..Setup::default()
    };
    let bench = Bench::set_up(Issuer::start().await?, minimal, &setup).await?;
    let before = bench.issuer.key_fetches();
    bench.issuer.set(Fault::Hang);
    let mut forged = tokio::task::JoinSet::new();
    for number in 0..30 {
        let call = bench.call().bearer(&unknown(&bench, &format!("ed25519-forged-{number}"))?);
        forged.spawn(async move { call.http1().await });
    }
    wait::until("a forged token to make the product ask", wait::LONG, || async {
        (bench.issuer.key_fetches() > before).then_some(())
    })
    .await?;
    // That fetch hangs now. Good tokens are answered all the same, while those wait.
    for _ in 0..20 {
        assert_allowed(&bench.good()?.http1().await?, "alice");
    }
    assert!(forged.try_join_next().is_none(), "no good one waited for a forged one");
    while let Some(answer) = forged.join_next().await {
        let answer = answer.expect("the request did not panic")?;
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    }
    let asked = bench.issuer.key_fetches() - before;
    assert!(asked <= 3, "thirty unknown keys are not {asked} questions");
    Ok(())
}

/// A number of the product.
async fn metric(bench: &Bench, name: &str) -> Option<u64> {
    let (_, text) = bench.product.admin("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// `--max-checks`: while every place is taken by a check that waits, even one that need not wait is refused.
#[tokio::test]
async fn one_check_more_than_there_may_be_is_refused_at_once() -> Outcome {
    let setup = Setup {
        flags: ["--max-checks", "1", "--check-timeout", "20s"].map(str::to_owned).to_vec(),
        // Only the issuer's silence ends the check that waits: the product gives its fetch up after some seconds.
        envoy: Options { timeout: Duration::from_secs(30), ..Options::default() },
        ..Setup::default()
    };
    let bench = Bench::set_up(Issuer::start().await?, minimal, &setup).await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    let (good, rpc) = (bench.good()?, bench.good()?.grpc());
    let stuck = bench.call().bearer(&unknown(&bench, "ed25519-unknown")?);
    bench.issuer.set(Fault::Hang);
    let waiting = tokio::spawn(async move { stuck.http1().await });
    wait::until("a check to wait for the issuer", wait::LONG, || async {
        (metric(&bench, "gatewright_checks_in_flight").await == Some(1)).then_some(())
    })
    .await?;
    assert_refused(&good.http1().await?, 503, "overloaded");
    let refused = rpc.http2().await?;
    assert_eq!(refused.header("grpc-status").as_deref(), Some("14"), "UNAVAILABLE: {refused:?}");
    assert_eq!(metric(&bench, "gatewright_checks_shed_total").await, Some(2));
    assert_eq!(bench.upstream.seen().len(), 1, "nobody passes because there is much to do");
    let answer = waiting.await.expect("the request did not panic")?;
    assert!(matches!(answer.status, 401 | 503) && answer.code() != "overloaded", "{answer:?}");
    assert_allowed(&good.http1().await?, "alice");
    assert_eq!(metric(&bench, "gatewright_checks_shed_total").await, Some(2));
    Ok(())
}

#[tokio::test]
async fn one_issuer_out_of_order_does_not_harm_another() -> Outcome {
    let broken = Issuer::start().await?;
    broken.set(Fault::Hang);
    let bench = Bench::with(|issuer| {
        let text = tests::bench::policy("api", "api.example.com", &issuer.url(), "api");
        let second = format!("  - name: partner\n    jwt:\n      issuer: {}\n      audiences: [api]\n", broken.url());
        vec![("two.yaml".to_owned(), text + &second)]
    })
    .await?;
    let stuck = broken.token(&json!({"aud": "api", "sub": "eve"}))?;
    assert_refused(&bench.call().bearer(&stuck).http1().await?, 503, "unavailable");
    assert_allowed(&bench.good()?.http1().await?, "alice");
    Ok(())
}
