//! Locks that leases in a store are shared, end when they are told to or are not heard of, and come back after a flush.

use super::{server::Redis, *};
use crate::limits::{Lease, Leased, Sign};

fn lease(who: &str, id: u64) -> Lease {
    Lease { counter: counter(who, 1, MINUTE).name, id }
}

#[tokio::test]
async fn replicas_share_leases() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let (one, two) = (Replica::new(), Replica::new());
    let far = || Instant::now() + MINUTE;
    let open = async |replica: &Replica, lease| replica.stores.open(&store, 2, lease, far()).await;
    let [first, second, third] = [1, 2, 3].map(|id| lease("alice", id));
    assert_eq!(open(&one, first).await, Leased::Granted(first));
    assert_eq!(open(&two, second).await, Leased::Granted(second));
    assert_eq!(open(&one, third).await, Leased::Full);
    assert_eq!(open(&two, lease("bob", 3)).await, Leased::Granted(lease("bob", 3)));
    // Told at the other replica than the one that opened it, and twice.
    for _ in 0..2 {
        two.stores.hear(&store, first, Sign::Ended, far()).await;
    }
    assert_eq!(open(&one, third).await, Leased::Granted(third));
    assert_eq!(open(&one, first).await, Leased::Full);
    let mut client = redis.client("").await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
    assert!(keys.iter().all(|key| key.starts_with("gatewright:open:") && !key.contains("alice")), "{keys:?}");
    for key in &keys {
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut client).await.unwrap();
        assert!((1..=90_000).contains(&left), "{key} lives {left} ms");
    }
    // What was flushed counts again when it is heard of.
    redis::cmd("FLUSHALL").query_async::<()>(&mut client).await.unwrap();
    for lease in [second, third] {
        one.stores.hear(&store, lease, Sign::Alive, far()).await;
    }
    assert_eq!(open(&two, first).await, Leased::Full);
    // One that is not heard of for its time is over; its time is set back here, for no test waits a minute and a half.
    let key = keys.iter().find(|key| key.ends_with(&second.counter.hex())).unwrap();
    redis::cmd("ZADD").arg(key).arg(1).arg(format!("{:016x}", 2)).query_async::<()>(&mut client).await.unwrap();
    assert_eq!(open(&two, first).await, Leased::Granted(first));
}

/// A store that is late opens a lease for a connection that is refused by then, or that nobody waits for any more.
#[tokio::test]
async fn a_lease_whose_answer_comes_too_late_is_ended() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    let (soon, far) = (Duration::from_millis(20), || Instant::now() + MINUTE);
    let open = async |id, deadline| replica.stores.open(&store, 1, lease("alice", id), deadline).await;
    // The connection is there, and the scripts are known.
    assert_eq!(open(1, far()).await, Leased::Granted(lease("alice", 1)));
    replica.stores.hear(&store, lease("alice", 1), Sign::Ended, far()).await;
    for (id, gives_up) in [(2, false), (3, true)] {
        redis.signal("STOP");
        if gives_up {
            assert!(tokio::time::timeout(soon, open(id, far())).await.is_err());
        } else {
            assert_eq!(open(id, Instant::now() + soon).await, Leased::Unknown);
        }
        redis.signal("CONT");
        until("the late lease to end", async || open(4, far()).await == Leased::Granted(lease("alice", 4))).await;
        replica.stores.hear(&store, lease("alice", 4), Sign::Ended, far()).await;
    }
}

#[tokio::test]
async fn what_cannot_be_found_out_is_told() {
    let mut redis = Redis::start(&[]).await;
    let store = store(&redis.url(), "");
    redis.kill();
    let replica = Replica::new();
    let opened = replica.stores.open(&store, 2, lease("alice", 1), Instant::now() + MINUTE).await;
    assert_eq!(opened, Leased::Unknown);
    replica.stores.hear(&store, lease("alice", 1), Sign::Alive, Instant::now() + MINUTE).await;
}
