//! Start, readiness, outages, changes of policy, and the end.

use super::*;
use crate::jwks::schedule::{refresh_delay, retry_delay};

#[test]
fn refreshes_and_retries_never_run_in_step() {
    let minutes = Duration::from_mins(5);
    assert_eq!(refresh_delay(minutes, 0.0), Duration::from_mins(4));
    assert_eq!(refresh_delay(minutes, 1.0), Duration::from_secs(270));
    let options = Options::default();
    let longest = |failures| retry_delay(&options, failures, 1.0).as_secs();
    assert_eq!([1, 2, 3, 6, 7, 8, 1000].map(longest), [1, 2, 4, 32, 60, 60, 60]);
    assert_eq!(retry_delay(&options, 1, 0.0), Duration::from_millis(500));
    assert_eq!(retry_delay(&options, u32::MAX, 0.0), Duration::from_secs(30));
    assert!(refresh_delay(Duration::MAX, 1.0) > HOUR);
}

/// An issuer that is down at the start holds only itself up, and comes back by itself.
#[tokio::test]
async fn an_issuer_down_at_the_start_recovers_alone() {
    let mut down = Provider::start(keys(&["a"])).await;
    let up = Provider::start(keys(&["b"])).await;
    down.stop().await;
    let (a, b) = (discovered(&down), discovered(&up));
    let fixture = Fixture::new(options());
    fixture.cache.sync(vec![a.clone(), b.clone()]);
    fixture.refresh(&b).await;
    assert_eq!(fixture.kids(&b).unwrap(), ["b"]);
    fixture.refresh(&a).await;
    let state = fixture.cache.state(&a.id);
    assert!(state.keys.is_none() && state.failing);
    assert_eq!(fixture.cache.pending(), [down.issuer()]);
    assert!(fixture.last_error(&a).contains("refused"), "{}", fixture.last_error(&a));
    down.restart().await;
    within(fixture.cache.fetched_once()).await;
    assert_eq!(fixture.kids(&a).unwrap(), ["a"]);
    assert!(fixture.cache.pending().is_empty() && !fixture.cache.state(&a.id).failing);
}

/// An issuer that never answers delays nobody else.
#[tokio::test]
async fn a_hanging_issuer_delays_nobody() {
    let hanging = Provider::start(Mode::Hang).await;
    let mut sources: Vec<_> =
        (0..50).map(|n| source(&format!("https://{n}.example"), Some(&hanging.keys_url()))).collect();
    let good = Provider::start(keys(&["good"])).await;
    sources.push(configured(&good));
    let fixture = Fixture::new(Options { fetch_timeout: HOUR, ..options() });
    fixture.cache.sync(sources);
    hanging.until(|hits| hits.keys == 50).await;
    let good = configured(&good);
    fixture.refresh(&good).await;
    assert_eq!(fixture.kids(&good).unwrap(), ["good"]);
    fixture.refresh(&good).await;
    assert_eq!(fixture.cache.pending().len(), 50);
    assert_eq!(hanging.hits().abandoned, 0);
}

/// R15: keys outlive an outage up to the stated bound, and not beyond it.
#[tokio::test]
async fn stale_keys_stay_up_to_the_bound() {
    let mut provider = Provider::start(keys(&["a"])).await;
    let mut source = configured(&provider);
    let patient = Options { retry_first: HOUR, ..options() };
    for (max_stale, freshness) in [(HOUR, Freshness::Stale), (Duration::ZERO, Freshness::Expired)] {
        source.max_age = HOUR;
        let fixture = Fixture::fetched(Options { max_stale, ..patient.clone() }, &source).await;
        assert_eq!(fixture.status(&source).freshness, Freshness::Fresh);
        provider.stop().await;
        // The keys are as old as they are; what they may be changes, which spares the test a wait.
        source.max_age = Duration::ZERO;
        fixture.cache.sync(vec![source.clone()]);
        assert_eq!(fixture.status(&source).freshness, freshness);
        assert_eq!(fixture.kids(&source).is_some(), freshness == Freshness::Stale);
        assert!(fixture.metrics().contains("gatewright_jwks_age_seconds{issuer="), "the metric ages on");
        provider.restart().await;
    }
}

/// Keys are fetched again before they stop being fresh, without anybody asking, and through failures.
#[tokio::test]
async fn keys_are_refreshed_ahead_of_need() {
    let provider = Provider::start(keys(&["a"])).await;
    let mut source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    assert!(fixture.status(&source).next_fetch_in_seconds.is_none_or(|next| (2800..=3240).contains(&next)));
    source.max_age = Duration::from_millis(50);
    fixture.cache.sync(vec![source.clone()]);
    provider.until(|hits| hits.keys >= 4).await;
    provider.serve_keys(Mode::status("500 Internal Server Error"));
    let before = provider.hits().keys;
    provider.until(|hits| hits.keys >= before + 4).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert!(fixture.cache.state(&source.id).failing);
    provider.serve_keys(keys(&["b"]));
    within(async {
        while fixture.kids(&source).unwrap() != ["b"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A changed `max_age` is no new set: its keys, its history and its first fetch stay.
#[tokio::test]
async fn a_changed_max_age_keeps_the_keys() {
    let provider = Provider::start(keys(&["a"])).await;
    let mut source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    source.max_age = 2 * HOUR;
    fixture.cache.sync(vec![source.clone()]);
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert!(fixture.cache.pending().is_empty());
    assert_eq!(provider.hits().keys, 1);
}

#[tokio::test]
async fn the_shorter_max_age_of_a_shared_set_counts() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let short = KeySetSource { max_age: Duration::ZERO, ..source.clone() };
    let fixture = Fixture::new(options());
    fixture.cache.sync(vec![source.clone(), short, source.clone()]);
    provider.until(|hits| hits.keys >= 2).await;
    assert_eq!(fixture.cache.status().len(), 1);
}

/// Readiness follows the sets that are wanted now.
#[tokio::test]
async fn fetched_once_follows_sync() {
    let hanging = Provider::start(Mode::Hang).await;
    let good = Provider::start(keys(&["a"])).await;
    let fixture = Fixture::new(Options { fetch_timeout: HOUR, ..options() });
    within(fixture.cache.fetched_once()).await;
    fixture.cache.sync(vec![configured(&hanging), configured(&good)]);
    fixture.refresh(&configured(&good)).await;
    let ready = tokio::spawn({
        let cache = fixture.cache.clone();
        async move { cache.fetched_once().await }
    });
    hanging.until(|hits| hits.keys == 1).await;
    assert_eq!(fixture.cache.pending(), [hanging.issuer()]);
    assert!(!ready.is_finished());
    fixture.cache.sync(vec![configured(&good)]);
    within(ready).await.unwrap();
    hanging.until(|hits| hits.abandoned == 1).await;
}

/// While checks drain, keys stay readable and a running fetch ends well; nothing new starts.
#[tokio::test]
async fn shutdown_drains() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    provider.serve_keys(keys(&["b"]));
    provider.set_open(false);
    let waiting = tokio::spawn({
        let (cache, id) = (fixture.cache.clone(), source.id.clone());
        async move { cache.refresh(&id).await }
    });
    provider.until(|hits| hits.keys == 2).await;
    let ended = tokio::spawn({
        let cache = fixture.cache.clone();
        async move { cache.shutdown().await }
    });
    provider.set_open(true);
    within(waiting).await.unwrap();
    within(ended).await.unwrap();
    assert_eq!(fixture.kids(&source).unwrap(), ["b"]);
    fixture.refresh(&source).await;
    assert_eq!(provider.hits().keys, 2);
}

#[tokio::test]
async fn metrics_and_status_tell_the_state() {
    let provider = Provider::start(keys(&["a", "b"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(eager(), &source).await;
    provider.serve_keys(Mode::status("500 Internal Server Error"));
    fixture.refresh(&source).await;
    let (text, issuer) = (fixture.metrics(), &source.issuer);
    for line in [
        format!("gatewright_jwks_fetches_total{{issuer=\"{issuer}\",outcome=\"ok\"}} 1\n"),
        format!("gatewright_jwks_fetches_total{{issuer=\"{issuer}\",outcome=\"error\"}} 1\n"),
        format!("gatewright_jwks_unknown_kid_fetches_total{{issuer=\"{issuer}\"}} 1\n"),
        format!("gatewright_jwks_keys{{issuer=\"{issuer}\"}} 2.0\n"),
        format!("gatewright_jwks_age_seconds{{issuer=\"{issuer}\"}} "),
        format!("gatewright_jwks_last_success_timestamp_seconds{{issuer=\"{issuer}\"}} "),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    let status = serde_json::to_value(fixture.status(&source)).unwrap();
    assert_eq!(status["freshness"], "fresh");
    assert_eq!(status["keys"][0]["kid"], "a");
    assert_eq!(status["keys"][0]["algorithms"], serde_json::json!(["ES256"]));
    assert_eq!(status["last_error"], "keys: the server answered with status 500 instead of 200");
    assert!(!status.to_string().contains("stub"), "what the issuer says is not repeated");
    fixture.cache.sync(Vec::new());
    assert!(!fixture.metrics().contains("issuer="), "series end with their sets");
}

#[test]
fn sync_outside_of_a_runtime_changes_nothing() {
    let fixture = Fixture::new(options());
    fixture.cache.sync(vec![source("https://issuer.example", None)]);
    assert!(fixture.cache.status().is_empty());
}
