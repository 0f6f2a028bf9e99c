//! A real Redis that is killed under traffic, slow, or spoken over: requests are refused or pass as the policy says, and nothing else happens.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::future;
use serde_json::json;
use tests::{
    Answer, Bench, PeerError,
    bench::policy,
    redis::Redis,
    wait::{self, LONG},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::{Outcome, assert_allowed, assert_refused, shared_limits::code_now};

/// More than any test sends.
const RATE: i64 = 1_000_000;
/// `onFailure` and the host of its policy.
const CHOICES: [(&str, &str); 2] = [("Deny", "deny.example.com"), ("Allow", "allow.example.com")];
/// So many answers make a state of the store.
const SOME: usize = 20;

/// What the store's words go through.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Straight.
    Open,
    /// Its answers come so much later.
    Slow(Duration),
    /// Somebody else answers, with these bytes.
    Nonsense(&'static [u8]),
}

/// Between Gatewright and the real store.
struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Relay {
    async fn start(store: SocketAddr) -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a relay"))?;
        let address = listener.local_addr().map_err(PeerError::io("a relay"))?;
        let way = watch::Sender::new(Way::Open);
        let ways = way.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, store, ways.clone()));
            }
        });
        Ok(Self { address, way })
    }
}

/// Whoever is gone needs no answer.
async fn relay(client: TcpStream, store: SocketAddr, way: watch::Receiver<Way>) -> Option<()> {
    let (mut answers, mut asks) = TcpStream::connect(store).await.ok()?.into_split();
    let (mut from, mut to) = client.into_split();
    let (mut question, mut answer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let (asked, read) = tokio::select! {
            read = from.read(&mut question) => (true, read.ok().filter(|read| *read > 0)?),
            read = answers.read(&mut answer) => (false, read.ok().filter(|read| *read > 0)?),
        };
        let now = *way.borrow();
        match (now, asked) {
            (Way::Nonsense(bytes), true) => to.write_all(bytes).await.ok()?,
            (Way::Nonsense(_), false) => {}
            (_, true) => asks.write_all(question.get(..read)?).await.ok()?,
            (Way::Open, false) => to.write_all(answer.get(..read)?).await.ok()?,
            (Way::Slow(time), false) => {
                sleep(time).await;
                to.write_all(answer.get(..read)?).await.ok()?;
            }
        }
    }
}

/// A policy for each choice, on a store at this address.
async fn bench(store: SocketAddr, timeout: &str) -> Result<Bench, PeerError> {
    Bench::with(|issuer| {
        let of = |(choice, host): (&str, &str)| {
            let text = policy(&choice.to_lowercase(), host, &issuer.url(), "api");
            let store =
                format!("store: {{redis: {{url: 'redis://{store}', timeout: {timeout}, onFailure: {choice}}}}}");
            (format!("{choice}.yaml"), format!("{text}  limits: {{requests: {{rate: {RATE}, window: 1h}}, {store}}}\n"))
        };
        CHOICES.map(of).into()
    })
    .await
}

fn remaining(answer: &Answer) -> Option<i64> {
    answer.header("x-ratelimit-remaining")?.parse().ok()
}

/// Waits until both policies count.
async fn until_counted(bench: &Bench, token: &str) -> Outcome {
    for (_, host) in CHOICES {
        wait::until("the store to count", LONG, || async {
            let answer = bench.call().host(host).bearer(token).http1().await.ok()?;
            (answer.status == 200).then(|| remaining(&answer))?
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_slow_or_talks_nonsense_counts_for_nothing() -> Outcome {
    let redis = Redis::start(None).await?;
    let relay = Relay::start(redis.address).await?;
    let bench = bench(relay.address, "2s").await?;
    let alice = bench.alice()?;
    let at = async |host: &str| bench.call().host(host).bearer(&alice).http1().await;
    for way in [
        Way::Slow(Duration::from_secs(3)),
        Way::Nonsense(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        Way::Nonsense(b"*1\r\n*3\r\n:2000000\r\n:1\r\n:5\r\n"),
        Way::Nonsense(b"-READONLY You can't write against a read only replica.\r\n"),
        Way::Nonsense(b"\x00\xff\xfe\x00"),
    ] {
        relay.way.send_replace(Way::Open);
        until_counted(&bench, &alice).await?;
        relay.way.send_replace(way);
        for _ in 0..SOME {
            assert_refused(&at("deny.example.com").await?, 503, "unavailable");
            let passed = at("allow.example.com").await?;
            assert_allowed(&passed, "alice");
            assert_eq!(remaining(&passed), None, "{way:?}: nobody knows: {passed:?}");
        }
    }
    relay.way.send_replace(Way::Open);
    until_counted(&bench, &alice).await?;
    // What came late is no answer to what is asked now.
    let [first, second] = [at("deny.example.com").await?, at("deny.example.com").await?];
    assert_eq!(remaining(&first).map(|left| left - 1), remaining(&second), "{first:?} {second:?}");
    assert!(remaining(&second).is_some_and(|left| left < RATE), "{second:?}");
    Ok(())
}

/// Answers of one policy by status.
type Tally = RefCell<BTreeMap<u16, usize>>;

fn answers(tally: &Tally, status: u16) -> usize {
    tally.borrow().get(&status).copied().unwrap_or_default()
}

async fn client(bench: &Bench, host: &str, token: &str, tally: &Tally, ended: &watch::Sender<bool>) -> Outcome {
    while !*ended.borrow() {
        let answer = bench.call().host(host).bearer(token).http1().await?;
        *tally.borrow_mut().entry(answer.status).or_default() += 1;
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_killed_under_traffic_and_comes_back_empty() -> Outcome {
    let mut redis = Redis::start(None).await?;
    let bench = bench(redis.address, "2s").await?;
    let alice = bench.alice()?;
    until_counted(&bench, &alice).await?;
    let (ended, tallies) = (watch::Sender::new(false), [Tally::default(), Tally::default()]);
    let [deny, allow] = &tallies;
    let clients = CHOICES
        .into_iter()
        .zip(&tallies)
        .flat_map(|((_, host), tally)| [0; 4].map(|_| client(&bench, host, &alice, tally, &ended)));
    let until = async |what: &str, tally: &Tally, status: u16| {
        let before = answers(tally, status);
        wait::until(what, LONG, || async { (answers(tally, status) >= before + SOME).then_some(()) }).await
    };
    let fault = async {
        until("requests that are counted", deny, 200).await?;
        redis.kill();
        until("requests that are refused", deny, 503).await?;
        until("requests that pass uncounted", allow, 200).await?;
        redis.launch().await?;
        until("requests that are counted again", deny, 200).await?;
        ended.send_replace(true);
        Ok(())
    };
    tokio::try_join!(future::try_join_all(clients), fault)?;
    println!("Deny: {:?}, Allow: {:?}", deny.borrow(), allow.borrow());
    assert_eq!(deny.borrow().keys().copied().collect::<Vec<_>>(), [200, 503]);
    assert_eq!(allow.borrow().keys().copied().collect::<Vec<_>>(), [200]);
    // It knows nothing of what it counted before.
    let last = bench.call().host("deny.example.com").bearer(&alice).http1().await?;
    let used = remaining(&last).map(|left| usize::try_from(RATE - left).unwrap_or_default());
    assert!(used.is_some_and(|used| used < answers(deny, 200)), "{used:?} of {:?}", deny.borrow());
    Ok(())
}

/// Where the store is gone, a code is nobody's or each replica's own, and a socket has no place or needs none.
#[tokio::test]
async fn codes_and_places_without_their_store() -> Outcome {
    let mut redis = Redis::start(None).await?;
    let bench = Bench::with(|issuer| {
        let of = |(choice, host): (&str, &str)| {
            // A person of its own for each: codes count by the entry of the Secret.
            let name = choice.to_lowercase();
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "demo"},
                "stringData": {"alice": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}});
            let text = policy(&name, host, &issuer.url(), "api");
            let store =
                format!("store: {{redis: {{url: 'redis://{}', timeout: 2s, onFailure: {choice}}}}}", redis.address);
            let factor = format!("    totp: {{secretsRef: {{name: {name}}}, period: 2m}}\n");
            let plain =
                "  - {name: plain, jwt: {issuer: 'ISSUER', audiences: [plain]}}\n".replace("ISSUER", &issuer.url());
            let limits = format!("  limits: {{connections: {{max: 1}}, {store}}}\n");
            (format!("{choice}.yaml"), format!("{text}{factor}{plain}{limits}---\n{secret}\n"))
        };
        CHOICES.map(of).into()
    })
    .await?;
    let credential = format!("{}:{}", bench.alice()?, code_now());
    let plain = bench.issuer.token(&json!({"aud": "plain", "sub": "alice"}))?;
    let [(_, deny), (_, allow)] = CHOICES;
    let at = async |host: &str, token: &str| bench.call().host(host).bearer(token).http1().await;
    let socket = async |host: &str| bench.call().host(host).path("/ws").websocket().bearer(&plain).http1().await;
    bench.call().host(deny).bearer(&plain).http1_when_available().await?;
    redis.kill();
    for _ in 0..2 {
        assert_refused(&at(deny, &credential).await?, 503, "unavailable");
        assert_refused(&socket(deny).await?, 503, "unavailable");
        assert_eq!(socket(allow).await?.status, 101);
    }
    // Good once, by this replica's own count.
    assert_allowed(&at(allow, &credential).await?, "alice");
    assert_refused(&at(allow, &credential).await?, 401, "invalid_token");
    // What was not used up is good when the store is there again, and used up then.
    redis.launch().await?;
    let first = wait::until("the store to take the code", LONG, || async {
        let answer = at(deny, &credential).await.ok()?;
        (answer.status != 503).then_some(answer)
    });
    assert_allowed(&first.await?, "alice");
    assert_refused(&at(deny, &credential).await?, 401, "invalid_token");
    assert_refused(&at(allow, &credential).await?, 401, "invalid_token");
    Ok(())
}
