//! Who causes a fetch, how many there are, and what happens to those who wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;

/// However many tokens name however many unknown keys, at once and after each other, the provider is asked once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_unknown_kids_are_one_fetch() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    let start = Arc::new(Barrier::new(1000));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (cache, id, start) = (fixture.cache.clone(), source.id.clone(), start.clone());
        callers.spawn(async move {
            start.wait().await;
            cache.refresh(&id).await;
        });
    }
    within(callers.join_all()).await;
    for _ in 0..100 {
        assert!(!fixture.cache.state(&source.id).refreshable);
        fixture.refresh(&source).await;
    }
    assert_eq!(provider.hits().keys, 2, "one at start, one for all of them");
    assert!(
        fixture
            .metrics()
            .contains(&format!("gatewright_jwks_unknown_kid_fetches_total{{issuer=\"{}\"}} 1\n", source.issuer))
    );
    assert_eq!(fixture.kids(&source).unwrap(), ["a"], "good keys are never evicted");
}

/// The first token with a new key costs one fetch, then it is there, for all who waited.
#[tokio::test]
async fn a_new_key_is_there_when_the_shared_fetch_ended() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    provider.serve_keys(keys(&["a", "b"]));
    assert!(fixture.cache.state(&source.id).refreshable, "the fetch at start does not count against the cooldown");
    let waiters = (0..20).map(|_| fixture.refresh(&source));
    futures_util::future::join_all(waiters).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a", "b"]);
    assert_eq!(provider.hits().keys, 2);
}

/// A caller that goes away in the middle takes nothing from the others.
#[tokio::test]
async fn a_cancelled_waiter_does_not_cancel_the_fetch() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    provider.serve_keys(keys(&["b"]));
    provider.set_open(false);
    {
        let mut first = pin!(fixture.cache.refresh(&source.id));
        let waiting = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
        assert!(waiting);
        provider.until(|hits| hits.keys == 2).await;
    }
    let state = fixture.cache.state(&source.id);
    assert!(state.refreshable, "it still runs, though its starter is gone");
    let second = fixture.refresh(&source);
    provider.set_open(true);
    second.await;
    assert_eq!(fixture.kids(&source).unwrap(), ["b"]);
    assert_eq!(provider.hits().keys, 2);
}

/// Whoever waits is released when the deadline of the fetch ends it.
#[tokio::test]
async fn waiters_are_released_by_the_deadline_of_the_fetch() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(Options { fetch_timeout: Duration::from_millis(300), ..patient() }, &source).await;
    provider.serve_keys(Mode::Hang);
    let waiters = (0..50).map(|_| fixture.refresh(&source));
    futures_util::future::join_all(waiters).await;
    let state = fixture.cache.state(&source.id);
    assert!(state.failing && !state.refreshable, "an unknown key is now our failure, and waiting is over");
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    provider.until(|hits| hits.abandoned == 1).await;
}

/// A set that is removed during its fetch: the waiters go on, nothing of it is left, and it can come back.
#[tokio::test]
async fn removing_a_set_ends_its_fetch() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    provider.set_open(false);
    let fixture = Fixture::new(keeping(&dir.0));
    fixture.cache.sync(vec![source.clone()]);
    let waiter = tokio::spawn({
        let (cache, id) = (fixture.cache.clone(), source.id.clone());
        async move { cache.refresh(&id).await }
    });
    provider.until(|hits| hits.keys == 1).await;
    fixture.cache.sync(Vec::new());
    within(waiter).await.unwrap();
    provider.set_open(true);
    within(fixture.cache.shutdown()).await;
    assert!(fixture.cache.state(&source.id).keys.is_none());
    assert!(!dir.0.join("keys").exists(), "nothing was written for it");
    assert!(!fixture.metrics().contains("issuer="));

    let again = Fixture::fetched(options(), &source).await;
    again.cache.sync(Vec::new());
    again.cache.sync(vec![source.clone()]);
    assert!(again.kids(&source).is_none(), "keys of a removed set do not come back");
    within(again.cache.fetched_once()).await;
    assert_eq!(again.kids(&source).unwrap(), ["a"]);
}

/// Between the call that adds a set and the end of its first fetch, a request finds something to wait for.
#[tokio::test]
async fn the_first_fetch_can_be_waited_for_at_once() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::new(options());
    fixture.cache.sync(vec![source.clone()]);
    let state = fixture.cache.state(&source.id);
    assert!(state.keys.is_none() && state.refreshable && !state.failing);
    fixture.refresh(&source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert_eq!(provider.hits().keys, 1);
    assert!(fixture.cache.state(&source.id).refreshable, "joining did not begin the cooldown");
}

/// Without keys there is nothing an unknown `kid` could add: the set is retried on its own schedule.
#[tokio::test]
async fn a_set_without_keys_is_not_fetched_on_demand() {
    let mut provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    provider.stop().await;
    let fixture = Fixture::new(patient());
    fixture.cache.sync(vec![source.clone()]);
    fixture.refresh(&source).await;
    let state = fixture.cache.state(&source.id);
    assert!(state.keys.is_none() && !state.refreshable && state.failing);
    provider.restart().await;
    for _ in 0..10 {
        fixture.refresh(&source).await;
    }
    assert_eq!(provider.hits().keys, 0);
}

/// A set without a usable key is a failure like any other: last good keys stay, and the cooldown holds.
#[tokio::test]
async fn an_empty_set_replaces_nothing_and_does_not_end_the_cooldown() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(patient(), &source).await;
    provider.serve_keys(Mode::json(r#"{"keys":[]}"#));
    for _ in 0..10 {
        fixture.refresh(&source).await;
    }
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert!(fixture.cache.state(&source.id).failing);
    assert!(fixture.last_error(&source).contains("no key that can verify"), "{}", fixture.last_error(&source));
    assert_eq!(provider.hits().keys, 2);
}

/// A failed fetch for an unknown `kid` is tried again after a cooldown, without anybody asking and long before the next one is due.
#[tokio::test]
async fn a_failure_on_demand_is_retried_by_the_schedule() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let cooldown = Duration::from_millis(100);
    let fixture = Fixture::fetched(Options { unknown_kid_cooldown: cooldown, ..options() }, &source).await;
    let begun = Instant::now();
    provider.serve_keys(Mode::status("500 Internal Server Error"));
    fixture.refresh(&source).await;
    assert!(fixture.cache.state(&source.id).failing);
    provider.until(|hits| hits.keys >= 3).await;
    assert!(begun.elapsed() >= cooldown, "no sooner than somebody who names unknown keys could have it fetched");
    provider.serve_keys(keys(&["a", "b"]));
    within(async {
        while fixture.cache.state(&source.id).failing {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a", "b"]);
    let once = format!("gatewright_jwks_unknown_kid_fetches_total{{issuer=\"{}\"}} 1\n", source.issuer);
    assert!(fixture.metrics().contains(&once), "nobody else asked");
}

#[tokio::test]
async fn an_elapsed_cooldown_allows_the_next_fetch() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(eager(), &source).await;
    for round in 0..3 {
        assert!(fixture.cache.state(&source.id).refreshable);
        fixture.refresh(&source).await;
        assert_eq!(provider.hits().keys, 2 + round);
    }
}

#[tokio::test]
async fn an_unknown_id_has_no_state_and_no_fetch() {
    let fixture = Fixture::new(options());
    let state = fixture.cache.state(&KeySetId("nobody".into()));
    assert!(state.keys.is_none() && !state.refreshable && !state.failing);
    within(fixture.cache.refresh(&KeySetId("nobody".into()))).await;
}

/// Schedule, unknown kids and changes of the policy all at once: never two fetches of one set, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_fetch_at_a_time_whatever_asks() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = KeySetSource { max_age: Duration::from_millis(1), ..configured(&provider) };
    let impatient = Options { retry_first: Duration::from_millis(1), ..eager() };
    let fixture = Fixture::fetched(impatient, &source).await;
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let (cache, id) = (fixture.cache.clone(), source.id.clone());
        callers.spawn(async move {
            for _ in 0..50 {
                cache.refresh(&id).await;
                assert!(cache.state(&id).keys.is_some());
            }
        });
    }
    for round in 0..50 {
        let max_age = Duration::from_millis(round % 3);
        fixture.cache.sync(vec![KeySetSource { max_age, ..source.clone() }]);
        tokio::task::yield_now().await;
    }
    within(callers.join_all()).await;
    assert_eq!(provider.hits().peak, 1);
}

/// A set that comes and goes under its callers: no waiter hangs, no fetch is left behind, and in the end it works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sets_may_come_and_go_under_load() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let source = discovered(&provider);
    let fixture = Fixture::new(Options { unknown_kid_cooldown: Duration::ZERO, ..keeping(&dir.0) });
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (cache, id) = (fixture.cache.clone(), source.id.clone());
        callers.spawn(async move {
            for _ in 0..100 {
                cache.refresh(&id).await;
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..100 {
        fixture.cache.sync(vec![source.clone()]);
        tokio::task::yield_now().await;
        fixture.cache.sync(Vec::new());
    }
    within(callers.join_all()).await;
    fixture.cache.sync(vec![source.clone()]);
    within(fixture.cache.fetched_once()).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    fixture.cache.sync(Vec::new());
    within(fixture.cache.shutdown()).await;
    let left: Vec<_> = std::fs::read_dir(dir.0.join("keys")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
