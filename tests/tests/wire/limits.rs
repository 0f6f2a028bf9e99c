//! Limits through a real Envoy: what a client is told on every answer, and that it cannot choose whom it is counted as.

use tests::{Bench, Call, bench::policy};

use crate::{Outcome, assert_allowed, assert_refused};

async fn limited(limits: &'static str) -> Result<Bench, tests::PeerError> {
    Bench::with(move |issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api");
        vec![(
            "limited.yaml".to_owned(),
            format!("{text}  limits: {limits}\n  routes: [{{name: open, paths: [/open], access: Public}}]\n"),
        )]
    })
    .await
}

fn number(answer: &tests::Answer, name: &str) -> Option<i64> {
    answer.header(name).and_then(|value| value.parse().ok())
}

#[tokio::test]
async fn every_answer_tells_how_far_the_limit_is_used() -> Outcome {
    let bench = limited("{requests: {rate: 3, window: 1h, by: Principal}}").await?;
    let good = bench.good()?;
    for (call, remaining) in
        [(good.clone().http1().await?, 2), (good.clone().http2().await?, 1), (good.clone().http1().await?, 0)]
    {
        assert_allowed(&call, "alice");
        assert_eq!(
            (number(&call, "x-ratelimit-limit"), number(&call, "x-ratelimit-remaining")),
            (Some(3), Some(remaining)),
            "{call:?}"
        );
        assert_eq!(
            call.headers.iter().filter(|(name, _)| name.starts_with("x-ratelimit-")).count(),
            4,
            "each once: {call:?}"
        );
        assert!(
            call.seen().is_some_and(|seen| seen.header("x-ratelimit-limit").is_none()),
            "the application is not told: {call:?}"
        );
    }
    let over = good.clone().http1().await?;
    assert_refused(&over, 429, "rate_limited");
    let (reset, after) = (number(&over, "x-ratelimit-reset"), number(&over, "x-ratelimit-reset-after"));
    assert!(
        after.is_some_and(|after| (1..=3600).contains(&after)) && after == number(&over, "retry-after"),
        "{over:?}"
    );
    assert!(reset.is_some_and(|reset| reset > tests::issuer::now()), "{over:?}");
    assert_eq!(number(&over, "x-ratelimit-remaining"), Some(0), "{over:?}");
    let rpc = good.clone().header("content-type", "application/grpc").http2().await?;
    assert_eq!(rpc.header("grpc-status").as_deref(), Some("8"), "{rpc:?}");
    let open = good.path("/open").http1().await?;
    assert_eq!(
        (open.status, number(&open, "x-ratelimit-limit")),
        (200, None),
        "public routes are not limited: {open:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_forged_forwarded_for_does_not_reset_the_count() -> Outcome {
    let bench = limited("{failedAuthentications: {rate: 3, window: 1h}, trustedProxyHops: 1}").await?;
    let bad = |number: u8| -> Call {
        bench.call().bearer("no-token").header("x-forwarded-for", &format!("203.0.113.{number}"))
    };
    for number in 0..3 {
        assert_refused(&bench.call().http1().await?, 401, "missing_credential");
        assert_refused(&bad(number).http1().await?, 401, "invalid_token");
    }
    let over = bad(99).http1().await?;
    assert_refused(&over, 429, "too_many_failures");
    assert!(over.body.contains("Too many attempts"), "{over:?}");
    assert_allowed(&bench.good()?.http1().await?, "alice");
    Ok(())
}
