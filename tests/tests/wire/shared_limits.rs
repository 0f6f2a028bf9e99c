//! Two replicas, each behind a real Envoy, and one real Redis: what both count together, and what happens when it fails.

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Answer, Bench, Call, PeerError, Product,
    bench::policy,
    envoy::{Envoy, Options},
    issuer,
    redis::Redis,
    wait::{self, LONG},
};

use crate::{Outcome, assert_allowed, assert_refused};

/// One replica with everything around it, and another before the same application.
struct Pair {
    one: Bench,
    two: Product,
    second: Envoy,
    documents: Vec<(String, String)>,
    _home: TempDir,
}

impl Pair {
    /// Both on these documents, made for an issuer.
    async fn start(documents: impl FnOnce(&str) -> Vec<(String, String)>) -> Result<Self, PeerError> {
        let mut own = Vec::new();
        let one = Bench::with(|issuer| {
            own = documents(&issuer.url());
            own.clone()
        })
        .await?;
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let two = Product::start(&own).await?;
        let second = Envoy::start(&two.addresses.authz, one.upstream.address, &Options::default(), home.path()).await?;
        Ok(Self { one, two, second, documents: own, _home: home })
    }

    /// A call without a credential through the one or the other.
    fn call(&self, number: usize) -> Call {
        if number.is_multiple_of(2) { self.one.call() } else { Call::to(self.second.hardened) }
    }

    async fn get(&self, number: usize, token: &str) -> Result<Answer, PeerError> {
        self.call(number).bearer(token).http1().await
    }

    /// Changes a document of both.
    fn edit(&self, old: &str, new: &str) -> Outcome {
        for (name, _) in &self.documents {
            self.one.product.edit(name, old, new)?;
            self.two.edit(name, old, new)?;
        }
        Ok(())
    }
}

fn store(redis: &Redis, more: &str) -> String {
    format!("store: {{redis: {{url: 'redis://{}', timeout: 2s{more}}}}}", redis.address)
}

fn number(answer: &Answer, name: &str) -> Option<i64> {
    answer.header(name).and_then(|value| value.parse().ok())
}

#[tokio::test]
async fn replicas_count_together_and_tell_it_as_agentflow_does() -> Outcome {
    let redis = Redis::start(None).await?;
    let limits = format!(
        "{{requests: {{rate: 5, window: 1h, by: Principal}}, failedAuthentications: {{rate: 3, window: 1h, by: IP}}, {}}}",
        store(&redis, "")
    );
    let pair = Pair::start(|issuer| {
        let text = policy("api", "api.example.com", issuer, "api");
        vec![("limited.yaml".to_owned(), format!("{text}  limits: {limits}\n  errors: {{profile: AgentFlow}}\n"))]
    })
    .await?;
    let alice = pair.one.alice()?;
    for count in 0..5 {
        let answer = pair.get(count, &alice).await?;
        assert_allowed(&answer, "alice");
        let left = 4 - i64::try_from(count).unwrap_or_default();
        assert_eq!(
            (number(&answer, "x-ratelimit-limit"), number(&answer, "x-ratelimit-remaining")),
            (Some(5), Some(left)),
            "{answer:?}"
        );
        let (reset, after) = (number(&answer, "x-ratelimit-reset"), number(&answer, "x-ratelimit-reset-after"));
        assert!(after.is_some_and(|after| (1..=3600).contains(&after)), "{answer:?}");
        assert!(reset.is_some_and(|reset| reset > issuer::now()), "{answer:?}");
    }
    for count in 5..7 {
        let over = pair.get(count, &alice).await?;
        assert_eq!(over.status, 429, "{over:?}");
        let body: Value = serde_json::from_str(&over.body).unwrap_or_default();
        let member = |path: &str| body.pointer(path).cloned().unwrap_or_default();
        assert_eq!(
            (
                member("/error/code"),
                member("/error/limit"),
                member("/error/window_seconds"),
                member("/metadata/status")
            ),
            (json!("RATE_LIMIT_EXCEEDED"), json!(5), json!(3600), json!("error")),
            "{over:?}"
        );
        assert_eq!(member("/error/retry_after_seconds").as_i64(), number(&over, "retry-after"), "{over:?}");
        assert_eq!(number(&over, "x-ratelimit-remaining"), Some(0), "{over:?}");
    }
    // Guessing at one replica counts at the other, and good tokens pass all the while.
    let statuses = futures_util::future::try_join_all((0..6).map(|count| pair.get(count, "no-token"))).await?;
    assert_eq!(statuses.iter().filter(|answer| answer.status == 401).count(), 3, "{statuses:?}");
    let many: Vec<_> = statuses.iter().filter(|answer| answer.status == 429).collect();
    assert!(many.len() == 3 && many.iter().all(|answer| answer.body.contains("Too many attempts")), "{statuses:?}");
    let bob = pair.one.issuer.token(&json!({"aud": "api", "sub": "bob"}))?;
    assert_allowed(&pair.get(1, &bob).await?, "bob");
    let keys = redis.ask(&["KEYS *"])?;
    assert_eq!(keys.matches("gatewright:limit:").count(), 3, "{keys}");
    assert!(!keys.contains("alice") && !keys.contains("127.0.0.1"), "{keys}");
    Ok(())
}

#[tokio::test]
async fn a_store_that_fails_opens_or_closes_as_the_policy_says() -> Outcome {
    let mut redis = Redis::start(None).await?;
    let limits = |more: &str| {
        format!(
            "  limits: {{requests: {{rate: 1000, window: 1h}}, failedAuthentications: {{rate: 2, window: 1h}}, {}}}\n",
            store(&redis, more)
        )
    };
    let (closed, open) = (limits(""), limits(", onFailure: Allow"));
    let pair = Pair::start(|issuer| {
        let closed = policy("closed", "api.example.com", issuer, "api") + &closed;
        let open = policy("open", "open.example.com", issuer, "api") + &open;
        vec![("limited.yaml".to_owned(), format!("{closed}---\n{open}"))]
    })
    .await?;
    let alice = pair.one.alice()?;
    let at = async |host: &str, token: &str| pair.one.call().host(host).bearer(token).http1().await;
    let until_status = async |status: u16| {
        let status_is = || async { (at("api.example.com", &alice).await.ok()?.status == status).then_some(()) };
        wait::until(&format!("{status} again"), LONG, status_is).await
    };
    for fault in ["kill", "freeze"] {
        assert_allowed(&at("api.example.com", &alice).await?, "alice");
        let counted = at("open.example.com", &alice).await?;
        assert!(number(&counted, "x-ratelimit-remaining").is_some(), "{fault}: {counted:?}");
        match fault {
            "kill" => redis.kill(),
            _ => redis.signal("STOP")?,
        }
        for _ in 0..20 {
            assert_refused(&at("api.example.com", &alice).await?, 503, "unavailable");
            let uncounted = at("open.example.com", &alice).await?;
            assert_allowed(&uncounted, "alice");
            assert_eq!(uncounted.header("x-ratelimit-remaining"), None, "nobody knows: {uncounted:?}");
        }
        let metrics = pair.one.product.admin("/metrics").await.1;
        assert!(metrics.contains("gatewright_limit_store_calls_total{kind=\"count\",outcome=\"down\"}"), "{metrics}");
        match fault {
            "kill" => redis.launch().await?,
            _ => redis.signal("CONT")?,
        }
        until_status(200).await?;
    }
    // Nobody guesses without a count while it is away, whatever the policy says about requests.
    redis.kill();
    until_status(503).await?;
    for host in ["api.example.com", "open.example.com"] {
        for status in [401, 401, 429, 429] {
            let bad = at(host, "no-token").await?;
            assert_eq!(bad.status, status, "{host}: {bad:?}");
        }
    }
    redis.launch().await?;
    until_status(200).await?;
    // A flushed store counts from nothing.
    redis.ask(&["FLUSHALL", "SCRIPT FLUSH"])?;
    let counted = at("api.example.com", &alice).await?;
    assert_eq!(number(&counted, "x-ratelimit-remaining"), Some(999), "{counted:?}");
    Ok(())
}

#[tokio::test]
async fn an_edited_password_is_used_at_once_and_shown_nowhere() -> Outcome {
    const RIGHT: &str = "correct-horse-battery";
    let redis = Redis::start(Some(RIGHT)).await?;
    let pair = Pair::start(|issuer| {
        let spec = store(&redis, ", passwordRef: {name: redis, key: password}");
        let text = policy("api", "api.example.com", issuer, "api");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis", "namespace": "demo"}, "stringData": {"password": "wrong-horse"}});
        vec![(
            "limited.yaml".to_owned(),
            format!("{text}  limits: {{requests: {{rate: 9, window: 1h}}, {spec}}}\n---\n{secret}\n"),
        )]
    })
    .await?;
    let alice = pair.one.alice()?;
    assert_refused(&pair.get(0, &alice).await?, 503, "unavailable");
    pair.edit("wrong-horse", RIGHT)?;
    for number in 0..2 {
        let passes = || async { (pair.get(number, &alice).await.ok()?.status == 200).then_some(()) };
        wait::until("the new password to be used", LONG, passes).await?;
    }
    for product in [&pair.one.product, &pair.two] {
        let shown =
            [product.output(), product.admin("/config_dump").await.1, product.admin("/metrics").await.1].concat();
        assert!(!shown.contains(RIGHT) && !shown.contains("wrong-horse"), "{shown}");
    }
    Ok(())
}

/// The code of six digits for the bytes `12345678901234567890`, two minutes wide (RFC 6238).
pub(crate) fn code_now() -> String {
    let step = issuer::now().unsigned_abs() / 120;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345678901234567890");
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let offset = usize::from(tag.as_ref().last().copied().unwrap_or_default() & 15);
    let word = tag.as_ref().iter().skip(offset).take(4).fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    format!("{:06}", (word & 0x7FFF_FFFF) % 1_000_000)
}

#[tokio::test]
async fn a_code_that_one_replica_took_is_refused_by_the_other() -> Outcome {
    let redis = Redis::start(None).await?;
    let pair = Pair::start(|issuer| {
        let text = policy("api", "api.example.com", issuer, "api");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "codes", "namespace": "demo"}, "stringData": {"alice": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}});
        vec![(
            "codes.yaml".to_owned(),
            format!("{text}    totp: {{secretsRef: {{name: codes}}, period: 2m}}\n  limits: {{{}}}\n---\n{secret}\n", store(&redis, "")),
        )]
    })
    .await?;
    let credential = format!("{}:{}", pair.one.alice()?, code_now());
    assert_allowed(&pair.get(0, &credential).await?, "alice");
    assert_refused(&pair.get(1, &credential).await?, 401, "invalid_token");
    // Refused codes count together too: with the one above, five.
    let wrong = format!("{}:{}", pair.one.alice()?, "000000");
    for number in 0..4 {
        assert_refused(&pair.get(number, &wrong).await?, 401, "invalid_token");
    }
    for number in 0..2 {
        assert_refused(&pair.get(number, &credential).await?, 429, "too_many_failures");
    }
    let keys = redis.ask(&["KEYS *"])?;
    assert!(keys.matches("gatewright:code:").count() == 2 && !keys.contains("alice"), "{keys}");
    Ok(())
}
