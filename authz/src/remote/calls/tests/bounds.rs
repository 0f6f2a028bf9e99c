//! What is asked once, what is kept and for how long, and how much is asked at all.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::BoxFuture;
use prometheus_client::encoding::text::encode;

use super::{
    server::{Mode, Service},
    *,
};
use crate::{
    net::Lookup,
    remote::{RemoteStore, calls::Entry},
};

const GOOD: &str = r#"{"active":true,"sub":"alice","authenticated":true,"claims":{"sub":"alice"}}"#;

fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Asserts that the answer is kept for so many seconds from the moment it came; 0: not at all.
async fn assert_kept(cache: &RemoteCache, question: &Arc<Ask>, seconds: i64, why: &str) {
    let before = now_ms();
    let kept = ask(cache, question).await;
    let after = now_ms();
    let stored = cache.kept(&question.id).map(|kept| kept.until_ms);
    if seconds == 0 {
        assert_eq!((kept.until_ms, stored), (i64::MIN, None), "{why}");
        return;
    }
    let span = before + seconds * 1000..=after + seconds * 1000;
    assert!(stored == Some(kept.until_ms) && span.contains(&kept.until_ms), "{why}: {} in {span:?}", kept.until_ms);
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
    assert_kept(&cache, &minute("a"), 60, "as long as the policy says").await;
    let soon = now_ms() / 1000 + 40;
    service.set(Mode::json(&format!(r#"{{"active":true,"sub":"a","exp":{soon}}}"#)));
    assert_eq!(ask(&cache, &minute("b")).await.until_ms, soon * 1000, "never past exp");
    for (body, seconds, why) in [
        (r#"{"active":true,"sub":"a","exp":1}"#, 0, "over already"),
        (r#"{"active":false}"#, 5, "a no is kept for a moment"),
        (r#"{"active":"true"}"#, 0, "a failure is asked again"),
    ] {
        service.set(Mode::json(body));
        assert_kept(&cache, &minute(why), seconds, why).await;
    }
    for (body, seconds) in [(GOOD, 0), (r#"{"active":false}"#, 0)] {
        service.set(Mode::json(body));
        let never = token(&introspection(&service, "cacheDuration: 0s"), body);
        assert_kept(&cache, &never, seconds, "nothing is kept where nothing may be").await;
    }
    service.set(Mode::json(r#"{"active":false}"#));
    let second = token(&introspection(&service, "cacheDuration: 3s"), "h");
    assert_kept(&cache, &second, 3, "a no is kept no longer than a yes").await;
}

#[tokio::test]
async fn an_answer_holds_while_both_clocks_say_so() {
    let service = Service::start(Mode::json(GOOD)).await;
    for (until_ms, holds, why) in [
        (now_ms() + 30_000, true, "half its life"),
        (now_ms(), false, "after a suspend, or a clock that was set forth"),
        (now_ms() + 3_600_000, false, "after a clock that was set back"),
    ] {
        let (cache, question) = (cache(), token(&user_info(&service, ""), "opaque"));
        let kept = Arc::new(Kept { reply: Reply::Refused("kept"), until_ms });
        cache.shared.kept.insert(question.id, Entry::new(kept, Duration::from_mins(1)));
        assert_eq!(cache.kept(&question.id).is_some(), holds, "{why}");
        let answer = reply(&cache, &question).await;
        assert_eq!(answer == Reply::Refused("kept"), holds, "{why}: {answer:?}");
    }
    assert_eq!(service.seen().len(), 2, "what does not hold is asked anew");
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
    let (cache, registry) = cache_with(Options { calls_per_second: 1, ..Options::default() });
    let endpoint = user_info(&service, "");
    let mut busy = 0;
    for index in 0..20 {
        busy += usize::from(matches!(reply(&cache, &token(&endpoint, &format!("t{index}"))).await, Reply::Failed(_)));
    }
    assert!(service.seen().len() + busy == 20 && busy > 0 && !service.seen().is_empty(), "{busy}");
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

/// A name that leads to an address where nobody listens, so many times.
#[derive(Debug)]
struct Moving {
    wrong: usize,
    asked: AtomicUsize,
}

impl Lookup for Moving {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        let address = IpAddr::from([127, 0, 0, if nth < self.wrong { 2 } else { 1 }]);
        Box::pin(async move { Ok(vec![SocketAddr::new(address, 0)]) })
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_once_more_and_not_again() {
    let service = Service::start(Mode::json(GOOD)).await;
    let port = service.address.port();
    let authenticator = authenticator(&format!("userInfo: {{endpoint: 'http://moving.test:{port}/'}}"), "");
    for (wrong, works) in [(0, true), (1, true), (2, false), (3, false)] {
        let moving = Arc::new(Moving { wrong, asked: AtomicUsize::new(0) });
        let networks = Networks::looked_up_by(vec!["127.0.0.0/8".parse().unwrap()], moving.clone());
        let options = Options { networks, ..Options::default() };
        let cache = RemoteCache::new(options, &mut Registry::default(), Handle::current());
        let answer = reply(&cache, &token(&authenticator, "opaque")).await;
        assert_eq!(subject(&answer).is_some(), works, "{wrong}: {answer:?}");
        assert_eq!(moving.asked.load(Ordering::SeqCst), (wrong + 1).min(2), "{wrong}");
    }
    // What was sent is not sent again.
    let before = service.seen().len();
    service.set(Mode::Cut);
    failed(&reply(&cache(), &token(&user_info(&service, ""), "opaque")).await);
    assert_eq!(service.seen().len(), before + 1);
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
