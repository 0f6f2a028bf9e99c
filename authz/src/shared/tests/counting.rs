//! Locks what is counted: exactly, once for all replicas, under names that tell nobody who it was, for as long as a window lasts.

use std::collections::BTreeMap;

use super::{server::Redis, *};
use crate::factors::{Attempt, Holder, Redeemed};

#[tokio::test]
async fn replicas_share_one_count_and_it_survives_none_of_its_windows() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let (one, two) = (Replica::new(), Replica::new());
    let tally = take(&store, &[counter("alice", 3, MINUTE)]);
    let look = Tally { take: false, ..tally.clone() };
    assert_eq!(one.one(&look).await.map(|taken| (taken.allowed, taken.remaining)), Some((true, 3)));
    for (replica, expected) in [(&one, (true, 2)), (&two, (true, 1)), (&one, (true, 0)), (&two, (false, 0))] {
        let taken = replica.one(&tally).await.unwrap();
        assert_eq!((taken.allowed, taken.remaining), expected);
        assert!((NOW + 1..=NOW + 60_000).contains(&taken.resets_ms), "{taken:?}");
    }
    assert_eq!(two.one(&look).await.map(|taken| (taken.allowed, taken.remaining)), Some((false, 0)));
    let bob = take(&store, &[counter("bob", 3, MINUTE)]);
    assert_eq!(two.one(&bob).await.map(|taken| taken.remaining), Some(2), "somebody else is somebody else");
    assert_eq!((one.calls("ok"), two.calls("ok")), (3, 4));
    assert!(one.metrics().contains("gatewright_limit_stores_up 1"), "{}", one.metrics());
}

#[tokio::test]
async fn at_the_edge_of_a_window_nobody_counts_twice_and_nobody_for_nothing() {
    const RATE: u32 = 50;
    const WINDOW: Duration = Duration::from_millis(250);
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let tally = take(&store, &[counter("alice", RATE, WINDOW)]);
    let begun = Instant::now();
    let hammer = async |replica: Replica| {
        let mut seen = Vec::new();
        // Each replica is there when at least three windows end.
        while seen.iter().filter(|remaining| **remaining == 0).count() < 3 && begun.elapsed() < Duration::from_secs(20)
        {
            let taken = futures_util::future::join_all((0..8).map(|_| replica.one(&tally))).await;
            seen.extend(
                taken.into_iter().map(Option::unwrap).filter(|taken| taken.allowed).map(|taken| taken.remaining),
            );
        }
        seen
    };
    let (one, two) = tokio::join!(hammer(Replica::new()), hammer(Replica::new()));
    let windows_at_most = begun.elapsed().as_millis() / WINDOW.as_millis() + 1;
    let mut times = BTreeMap::<u32, u128>::new();
    one.iter().chain(&two).for_each(|remaining| *times.entry(*remaining).or_default() += 1);
    // A window gives every number away once, from the highest down: however the windows fell, no number came more often than one above it.
    let by_number: Vec<u128> = (0..RATE).rev().map(|remaining| times.remove(&remaining).unwrap_or_default()).collect();
    assert!(by_number.is_sorted_by(|above, below| above >= below), "{by_number:?}");
    assert!((3..=windows_at_most).contains(&by_number[0]), "{by_number:?}, of at most {windows_at_most}");
    assert!(times.is_empty(), "{times:?}");
    assert!(!one.is_empty() && !two.is_empty());
}

#[tokio::test]
async fn of_several_limits_those_behind_a_full_one_are_not_counted() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    let (narrow, wide) = (counter("route", 1, MINUTE), counter("policy", 5, MINUTE));
    let both = take(&store, &[narrow, wide]);
    let remaining =
        |tallied: Tallied| tallied.unwrap().iter().map(|taken| (taken.allowed, taken.remaining)).collect::<Vec<_>>();
    assert_eq!(remaining(replica.count(&both).await), [(true, 0), (true, 4)]);
    assert_eq!(remaining(replica.count(&both).await), [(false, 0)]);
    let look = Tally { take: false, ..both };
    assert_eq!(remaining(replica.count(&look).await), [(false, 0), (true, 4)], "a look is at all of them");
}

#[tokio::test]
async fn keys_have_a_prefix_an_end_and_no_names() {
    let redis = Redis::start(&[]).await;
    let (plain, own) = (store(&redis.url(), ""), store(&format!("{}, keyPrefix: 'app:'", redis.url()), ""));
    let replica = Replica::new();
    let secret_of = Holder::of("n/totp", "alice@example.com");
    for store in [&plain, &own] {
        replica.count(&take(store, &[counter("alice@example.com", 3, MINUTE)])).await.unwrap();
        let address = LimitKey { limit: LimitId(7), subject: Subject::address("192.0.2.77".parse().ok()) };
        let by_address = Count { name: CounterName::of(&address), rate: 3, window: MINUTE };
        replica.count(&take(store, &[by_address])).await.unwrap();
        for step in [Some(5), None] {
            let deadline = Instant::now() + MINUTE;
            replica.stores.redeem(store, &Attempt { holder: secret_of, step }, NOW, deadline).await.unwrap();
        }
    }
    let keys = redis.keys().await;
    assert_eq!(keys.len(), 8, "{keys:?}");
    for (key, value, left) in &keys {
        assert!(key.starts_with("gatewright:") || key.starts_with("app:"), "{key}");
        assert!(!key.contains("alice") && !key.contains("192") && value.parse::<u64>().is_ok(), "{key} {value}");
        assert!((1..=900_000).contains(left), "{key} lives {left} ms");
    }
    assert_eq!(keys.iter().filter(|(key, ..)| key.starts_with("app:")).count(), 4);
}

#[tokio::test]
async fn many_keys_grow_the_store_for_a_window_and_the_process_not_at_all() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    replica.count(&take(&store, &[counter("first", 1, MINUTE)])).await.unwrap();
    let lines = replica.metrics().lines().count();
    for hundred in 0..100 {
        let counts =
            (0..100).map(|one| take(&store, &[counter(&format!("{hundred}/{one}"), 1, Duration::from_secs(2))]));
        let counts: Vec<_> = counts.collect();
        let taken = futures_util::future::join_all(counts.iter().map(|tally| replica.one(tally))).await;
        assert!(taken.iter().all(|taken| taken.is_some_and(|taken| taken.allowed)), "{hundred}");
    }
    assert_eq!(replica.metrics().lines().count(), lines, "no key is a label");
    assert_eq!(replica.stores.links.iter().count(), 1, "one connection for all of them");
    let mut client = redis.client("").await;
    until("all keys but the first to end", async || {
        // Redis forgets ended keys one by one; looking finds the rest.
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
        keys.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_counter_that_lost_its_end_gets_a_new_one() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    let tally = take(&store, &[counter("alice", 1, MINUTE)]);
    assert!(replica.one(&tally).await.unwrap().allowed);
    let key = redis.keys().await.remove(0).0;
    let mut client = redis.client("").await;
    let persisted: i64 = redis::cmd("PERSIST").arg(&key).query_async(&mut client).await.unwrap();
    assert_eq!((persisted, redis.keys().await[0].2), (1, -1));
    assert!(!replica.one(&tally).await.unwrap().allowed, "the count stands");
    assert!((1..=60_000).contains(&redis.keys().await[0].2), "it does not refuse for ever");
}

#[tokio::test]
async fn a_code_is_used_up_and_failures_are_counted_for_all_replicas() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let (one, two) = (Replica::new(), Replica::new());
    let redeem = async |replica: &Replica, who: &str, step: Option<u64>| {
        let attempt = Attempt { holder: Holder::of("n/totp", who), step };
        replica.stores.redeem(&store, &attempt, NOW, Instant::now() + MINUTE).await.unwrap()
    };
    for (replica, step, expected) in [
        (&one, 10, Redeemed::Accepted),
        (&two, 10, Redeemed::Refused),
        (&two, 9, Redeemed::Refused),
        (&two, 11, Redeemed::Accepted),
        (&one, 11, Redeemed::Refused),
    ] {
        assert_eq!(redeem(replica, "alice", Some(step)).await, expected, "{step}");
    }
    assert_eq!(redeem(&one, "bob", Some(10)).await, Redeemed::Accepted, "somebody else's code");
    // Three were refused above; two wrong ones more are five.
    assert_eq!(redeem(&one, "alice", None).await, Redeemed::Refused);
    assert_eq!(redeem(&two, "alice", None).await, Redeemed::Refused);
    for (replica, step) in [(&one, None), (&two, Some(12))] {
        let Redeemed::Locked { until_ms } = redeem(replica, "alice", step).await else { panic!("not locked") };
        assert!((NOW + 1..=NOW + 300_000).contains(&until_ms), "{until_ms}");
    }
    assert_eq!(redeem(&two, "bob", Some(11)).await, Redeemed::Accepted, "nobody locks out another");
}

#[tokio::test]
async fn of_many_uses_at_once_one_is_good() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replicas = [Replica::new(), Replica::new()];
    let attempt = Attempt { holder: Holder::of("n/totp", "alice"), step: Some(7) };
    let all = (0..40).map(|number| replicas[number % 2].stores.redeem(&store, &attempt, NOW, Instant::now() + MINUTE));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|one| **one == Some(Redeemed::Accepted)).count(), 1);
    assert_eq!(all.iter().filter(|one| **one == Some(Redeemed::Refused)).count(), 5, "then it is closed");
}
