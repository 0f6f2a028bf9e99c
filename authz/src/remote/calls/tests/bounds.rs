//! What is asked once, what is kept and for how long, and how much is asked at all.

use prometheus_client::encoding::text::encode;

use super::{
    server::{Mode, Service},
    *,
};
use crate::remote::RemoteStore;

const GOOD: &str = r#"{"active":true,"sub":"alice","authenticated":true,"claims":{"sub":"alice"}}"#;

fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// How long the answer is kept, in seconds, rounded up; 0: not at all.
async fn kept_for(cache: &RemoteCache, question: &Arc<Ask>) -> i64 {
    let kept = ask(cache, question).await;
    let stored = cache.kept(&question.id).map(|kept| kept.until_ms);
    assert_eq!(stored.unwrap_or(i64::MIN), kept.until_ms);
    if kept.until_ms == i64::MIN { 0 } else { (kept.until_ms - now_ms() + 999).div_euclid(1000) }
}

#[tokio::test]
async fn a_hundred_requests_are_one_question() {
    let service = Service::start(Mode::json(GOOD)).await;
    service.set_open(false);
    let (cache, question) = (cache(), token(&user_info(&service, "timeout: 10s"), "opaque"));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (cache, question) = (cache.clone(), question.clone());
            tokio::spawn(async move { cache.ask(&question).await.reply.clone() })
        })
        .collect();
    service.until(1).await;
    // Somebody who gives up leaves the question to the others.
    waiting[0].abort();
    service.set_open(true);
    for one in waiting.into_iter().skip(1) {
        assert_eq!(subject(&one.await.unwrap()), Some("alice"));
    }
    assert_eq!(service.seen().len(), 1);
    assert!(cache.kept(&question.id).is_some());
}

#[tokio::test]
async fn a_question_that_everybody_gave_up_is_answered_for_the_next() {
    let service = Service::start(Mode::json(GOOD)).await;
    service.set_open(false);
    let (cache, question) = (cache(), token(&user_info(&service, "timeout: 10s"), "opaque"));
    let gave_up = tokio::time::timeout(Duration::from_millis(50), cache.ask(&question)).await;
    assert!(gave_up.is_err());
    service.until(1).await;
    service.set_open(true);
    assert_eq!(subject(&reply(&cache, &question).await), Some("alice"));
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn answers_are_kept_as_long_as_they_hold() {
    let service = Service::start(Mode::json(GOOD)).await;
    let minute = |text: &str| token(&introspection(&service, "cacheDuration: 60s"), text);
    let cache = cache();
    assert_eq!(kept_for(&cache, &minute("a")).await, 60);
    let soon = now_ms() / 1000 + 20;
    service.set(Mode::json(&format!(r#"{{"active":true,"sub":"a","exp":{soon}}}"#)));
    let left = kept_for(&cache, &minute("b")).await;
    assert!((19..=20).contains(&left), "never past exp: {left}");
    service.set(Mode::json(r#"{"active":true,"sub":"a","exp":1}"#));
    assert_eq!(kept_for(&cache, &minute("c")).await, 0, "over already");
    service.set(Mode::json(r#"{"active":false}"#));
    assert_eq!(kept_for(&cache, &minute("d")).await, 5, "a no is kept for a moment");
    service.set(Mode::json(r#"{"active":"true"}"#));
    assert_eq!(kept_for(&cache, &minute("e")).await, 0, "a failure is asked again");
    for (body, name) in [(GOOD, "f"), (r#"{"active":false}"#, "g")] {
        service.set(Mode::json(body));
        let never = token(&introspection(&service, "cacheDuration: 0s"), name);
        assert_eq!(kept_for(&cache, &never).await, 0, "nothing is kept where nothing may be");
    }
    service.set(Mode::json(r#"{"active":false}"#));
    let second = token(&introspection(&service, "cacheDuration: 1s"), "h");
    assert_eq!(kept_for(&cache, &second).await, 1, "a no is kept no longer than a yes");
}

#[tokio::test]
async fn two_tokens_two_authenticators_two_questions() {
    let service = Service::start(Mode::json(GOOD)).await;
    let (one, other) = (user_info(&service, ""), user_info(&service, "cacheDuration: 59s"));
    let cache = cache();
    for question in [token(&one, "a"), token(&one, "b"), token(&one, "ab"), token(&other, "a"), token(&one, "a")] {
        reply(&cache, &question).await;
    }
    assert_eq!(service.seen().len(), 4, "the last one is kept");
}

#[tokio::test]
async fn an_endpoint_is_asked_so_often_and_no_more() {
    let service = Service::start(Mode::json(GOOD)).await;
    let (cache, registry) = cache_with(Options { calls_per_second: 3, ..Options::default() });
    let endpoint = user_info(&service, "");
    let mut busy = 0;
    for index in 0..20 {
        busy += usize::from(matches!(reply(&cache, &token(&endpoint, &format!("t{index}"))).await, Reply::Failed(_)));
    }
    assert!(service.seen().len() + busy == 20 && busy > 0 && service.seen().len() >= 3, "{busy}");
    // Another endpoint has its own bound; what is kept needs none.
    assert_eq!(subject(&reply(&cache, &credential(&hook(&service, ""), "a")).await), Some("alice"));
    assert_eq!(subject(&reply(&cache, &token(&endpoint, "t0")).await), Some("alice"));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains(&format!("gatewright_service_calls_total{{kind=\"userinfo\",outcome=\"busy\"}} {busy}\n")),
        "{text}"
    );
    assert!(text.contains("gatewright_service_calls_total{kind=\"webhook\",outcome=\"yes\"} 1\n"), "{text}");
    assert!(text.contains("gatewright_service_calls_in_flight 0\n"), "{text}");
}

#[tokio::test]
async fn a_slow_service_holds_so_many_questions_and_no_more() {
    let service = Service::start(Mode::json(GOOD)).await;
    service.set_open(false);
    let (cache, _registry) = cache_with(Options { calls_at_once: 2, ..Options::default() });
    let endpoint = user_info(&service, "timeout: 10s");
    let held: Vec<_> = ["a", "b"]
        .map(|text| {
            let (cache, question) = (cache.clone(), token(&endpoint, text));
            tokio::spawn(async move { cache.ask(&question).await.reply.clone() })
        })
        .into();
    service.until(2).await;
    assert_eq!(
        failed(&reply(&cache, &token(&endpoint, "c")).await),
        "the service is asked as often already as it may be"
    );
    service.set_open(true);
    for one in held {
        assert_eq!(subject(&one.await.unwrap()), Some("alice"));
    }
    assert_eq!(subject(&reply(&cache, &token(&endpoint, "c")).await), Some("alice"), "there is room again");
}

#[tokio::test]
async fn a_fresh_question_is_asked_and_ends_what_is_kept() {
    let service = Service::start(Mode::json(GOOD)).await;
    let (cache, question) = (cache(), token(&user_info(&service, ""), "opaque"));
    reply(&cache, &question).await;
    let fresh = Arc::new(Ask { fresh: true, ..(*question).clone() });
    reply(&cache, &fresh).await;
    assert_eq!(service.seen().len(), 2);
    assert!(cache.kept(&question.id).is_none());
}

#[tokio::test]
async fn memory_is_bounded_whatever_is_asked() {
    let long = format!(r#"{{"sub":"{}"}}"#, "a".repeat(10_000));
    let service = Service::start(Mode::json(&long)).await;
    let (cache, _registry) =
        cache_with(Options { max_bytes: 100_000, calls_per_second: 1_000_000, ..Options::default() });
    let endpoint = user_info(&service, "");
    let mut kept = 0;
    let questions: Vec<_> = (0..100).map(|index| token(&endpoint, &format!("t{index}"))).collect();
    for question in &questions {
        // Kept or not, whoever waited has the answer.
        assert!(subject(&reply(&cache, question).await).is_some());
    }
    for question in &questions {
        kept += usize::from(cache.kept(&question.id).is_some());
    }
    assert!(kept <= 20, "{kept} answers of 10 kB in 100 kB");
}
