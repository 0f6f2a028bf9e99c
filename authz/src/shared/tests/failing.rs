//! Locks that a store in any bad state costs a few requests their time and no more, says why, and is used again once it is well.

use super::{
    server::{Redis, fake},
    *,
};

fn alice(store: &Arc<SharedStore>) -> Tally {
    take(store, &[counter("alice", 1_000_000, MINUTE)])
}

/// Counts until it works again.
async fn until_counted(replica: &Replica, tally: &Tally) {
    until("the store to count", async || replica.count(tally).await.is_some()).await;
}

#[tokio::test]
async fn a_killed_store_is_found_out_and_found_again() {
    let mut redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    assert!(replica.count(&alice(&store)).await.is_some());
    redis.kill();
    until("the end to be noticed", async || replica.count(&alice(&store)).await.is_none()).await;
    until("requests to be told at once", async || {
        let _ = replica.count(&alice(&store)).await;
        replica.calls("down") > 0
    })
    .await;
    assert_eq!(replica.calls("timeout"), 0, "{}", replica.metrics());
    redis.launch().await;
    until_counted(&replica, &alice(&store)).await;
    let metrics = replica.metrics();
    assert!(metrics.contains("gatewright_limit_store_connections_total{outcome=\"connection\"}"), "{metrics}");
    assert!(metrics.contains("gatewright_limit_stores_up 1"), "{metrics}");
}

#[tokio::test]
async fn a_frozen_store_costs_a_few_requests_their_time() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, timeout: 100ms", redis.url()), "");
    let replica = Replica::new();
    until_counted(&replica, &alice(&store)).await;
    redis.signal("STOP");
    for _ in 0..300 {
        assert_eq!(replica.count(&alice(&store)).await, None);
    }
    // Three end the connection; one or two more may be under way before its task has run.
    assert!(replica.calls("timeout") <= 6 && replica.calls("down") >= 294, "{}", replica.metrics());
    redis.signal("CONT");
    until_counted(&replica, &alice(&store)).await;
}

#[tokio::test]
async fn a_frozen_store_is_found_out_by_checks_that_have_less_time_than_it() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    until_counted(&replica, &alice(&store)).await;
    redis.signal("STOP");
    for _ in 0..50 {
        let soon = Instant::now() + Duration::from_millis(60);
        assert_eq!(replica.stores.count(&alice(&store), NOW, soon).await, None);
    }
    // As above.
    assert!(replica.calls("timeout") <= 6 && replica.calls("down") >= 44, "{}", replica.metrics());
    redis.signal("CONT");
    until_counted(&replica, &alice(&store)).await;
}

#[tokio::test]
async fn a_server_that_is_silent_from_the_start_costs_one_time_or_two() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Without TLS the first question is not answered, with it not even the handshake is.
    for scheme in ["redis", "rediss"] {
        let store = store(&format!("url: '{scheme}://{address}', timeout: 100ms"), "");
        let replica = Replica::new();
        for _ in 0..50 {
            assert_eq!(replica.count(&alice(&store)).await, None);
        }
        assert!(replica.calls("timeout") <= 3 && replica.calls("down") >= 47, "{scheme}: {}", replica.metrics());
    }
}

#[tokio::test]
async fn a_check_without_time_left_says_nothing_about_the_store() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    until_counted(&replica, &alice(&store)).await;
    redis.signal("STOP");
    for _ in 0..20 {
        assert_eq!(replica.stores.count(&alice(&store), NOW, Instant::now()).await, None);
    }
    redis.signal("CONT");
    assert!(replica.count(&alice(&store)).await.is_some(), "the connection is the same one");
    assert_eq!(replica.calls("down"), 0, "{}", replica.metrics());
}

#[tokio::test]
async fn a_flushed_store_counts_from_nothing_and_is_sent_its_scripts_again() {
    let redis = Redis::start(&[]).await;
    let store = store(&format!("{}, {PATIENT}", redis.url()), "");
    let replica = Replica::new();
    let tally = take(&store, &[counter("alice", 1, MINUTE)]);
    assert!(replica.one(&tally).await.unwrap().allowed);
    assert!(!replica.one(&tally).await.unwrap().allowed);
    let mut client = redis.client("").await;
    for command in ["FLUSHALL", "SCRIPT FLUSH"] {
        let mut words = command.split(' ');
        let mut flush = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            flush.arg(word);
        });
        flush.query_async::<()>(&mut client).await.unwrap();
    }
    assert!(replica.one(&tally).await.unwrap().allowed);
    assert!(!replica.one(&tally).await.unwrap().allowed);
}

#[tokio::test]
async fn passwords_and_users() {
    let redis =
        Redis::start(&["--requirepass", "open-sesame", "--user", "app", "on", ">app-pass", "~app:*", "+@all"]).await;
    let url = format!("{}, {PATIENT}", redis.url());
    let password = ", passwordRef: {name: redis, key: password}";
    let user = format!("{password}, username: app");
    for (spec, value, outcome) in [
        (password, Some("open-sesame"), "ok"),
        (password, Some("wrong"), "sign_in"),
        ("", None, "sign_in"),
        (password, None, "incomplete"),
        (password, Some(""), "incomplete"),
        (&format!("{user}, keyPrefix: 'app:'"), Some("app-pass"), "ok"),
        // Its own keys are all that this user may touch.
        (&user, Some("app-pass"), "refused"),
    ] {
        let beside = value.map(|value| secret("redis", "password", value)).unwrap_or_default();
        let store = store(&format!("{url}{spec}"), &beside);
        let replica = Replica::new();
        let counted = replica.count(&alice(&store)).await;
        assert_eq!(counted.is_some(), outcome == "ok", "{spec} {value:?}: {}", replica.metrics());
        let metrics = replica.metrics();
        assert!(metrics.contains(&format!("outcome=\"{outcome}\"")), "{spec} {value:?}: {metrics}");
        let shown = format!("{store:?}{}{metrics}", serde_json::to_string(&*store).unwrap());
        for password in ["open-sesame", "app-pass", "\"wrong\""] {
            assert!(!shown.contains(password), "{shown}");
        }
    }
}

#[tokio::test]
async fn nonsense_is_no_count() {
    for (answer, endless) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false),
        (b"+OK\r\n", false),
        (b"$-1\r\n", false),
        (b":1\r\n", false),
        (b"*0\r\n", false),
        (b"*1\r\n*2\r\n:1\r\n:1\r\n", false),
        // Room for more than the limit; a window of a year; a count below nothing; two answers to one question.
        (b"*1\r\n*3\r\n:2\r\n:1\r\n:5\r\n", false),
        (b"*1\r\n*3\r\n:1\r\n:1\r\n:31536000000\r\n", false),
        (b"*1\r\n*3\r\n:1\r\n:-1\r\n:5\r\n", false),
        (b"*2\r\n*3\r\n:1\r\n:1\r\n:5\r\n*3\r\n:1\r\n:1\r\n:5\r\n", false),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", false),
        (b"-READONLY You can't write against a read only replica.\r\n", false),
        (b"-LOADING Redis is loading the dataset in memory\r\n", false),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", false),
        // One reply without an end, and replies without end.
        (b"$536870912\r\n0123456789", true),
        (b":1\r\n:1\r\n:1\r\n:1\r\n", true),
        (b"\x00\xff\xfe\x00", true),
    ] {
        let address = fake(answer, endless).await;
        let store = store(&format!("url: 'redis://{address}', timeout: 300ms"), "");
        let replica = Replica::new();
        for _ in 0..5 {
            assert_eq!(replica.count(&alice(&store)).await, None, "{}", String::from_utf8_lossy(answer));
        }
        assert_eq!(replica.calls("ok"), 0, "{}", String::from_utf8_lossy(answer));
    }
    // The control: a server that answers this counts.
    let address = fake(b"*1\r\n*3\r\n:1\r\n:1\r\n:5\r\n", false).await;
    let store = store(&format!("url: 'redis://{address}', {PATIENT}"), "");
    let taken = Replica::new().one(&alice(&store)).await.unwrap();
    assert_eq!((taken.allowed, taken.remaining, taken.resets_ms), (true, 999_999, NOW + 5));
}

#[tokio::test]
async fn only_permitted_addresses_are_dialled() {
    let redis = Redis::start(&[]).await;
    let port = redis.port;
    for (networks, url, reached) in [
        (&["127.0.0.0/8"][..], format!("redis://127.0.0.1:{port}"), true),
        (&["127.0.0.0/8"], format!("redis://localhost:{port}"), true),
        // Another notation of the same address.
        (&["127.0.0.0/8"], format!("redis://2130706433:{port}"), true),
        (&[], format!("redis://127.0.0.1:{port}"), false),
        (&[], format!("redis://localhost:{port}"), false),
        (&["10.0.0.0/8"], format!("redis://0x7f000001:{port}"), false),
        (&["10.0.0.0/8"], format!("rediss://127.0.0.1:{port}"), false),
        (&["10.0.0.0/8"], format!("redis://[::ffff:127.0.0.1]:{port}"), false),
    ] {
        let store = store(&format!("url: '{url}', {PATIENT}"), "");
        let replica = Replica::reaching(networks);
        assert_eq!(replica.count(&alice(&store)).await.is_some(), reached, "{url}");
        let word = if reached { "ok" } else { "network" };
        assert!(
            replica.metrics().contains(&format!("connections_total{{outcome=\"{word}\"}} 1")),
            "{url}: {}",
            replica.metrics()
        );
    }
}
