//! Services that are slow, huge, elsewhere, or say what nobody can rely on: never a yes, never a no, always a failure in time.

use std::time::Instant;

use super::{
    server::{Mode, Service},
    *,
};
use crate::jwks::tests::gzip;

const GOOD: &str = r#"{"active":true,"sub":"alice","authenticated":true,"claims":{"sub":"alice"}}"#;

/// Each kind with its question, of a quarter of a second at most.
fn questions(service: &Service) -> [(&'static str, Arc<Ask>); 3] {
    let quick = "timeout: 250ms";
    [
        ("introspection", token(&introspection(service, quick), "opaque")),
        ("userInfo", token(&user_info(service, quick), "opaque")),
        ("webhook", credential(&hook(service, quick), "opaque")),
    ]
}

fn json_type(content_type: &str, body: &[u8]) -> Mode {
    Mode::answer("200 OK", &format!("content-type: {content_type}\r\n"), body)
}

#[tokio::test]
async fn no_answer_of_these_is_believed() {
    let service = Service::start(Mode::Hang).await;
    let target = Service::start(Mode::json(GOOD)).await;
    let redirect = |status| {
        Mode::answer(
            status,
            &format!("location: {}\r\ncontent-type: application/json\r\n", target.url("/")),
            GOOD.as_bytes(),
        )
    };
    let huge = format!("{}{}", " ".repeat(1 << 17), GOOD);
    let gzip = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let cases = [
        ("silence", Mode::Hang),
        ("a byte at a time", Mode::Drip),
        ("no end", Mode::Endless),
        ("half an answer", Mode::Cut),
        ("no HTTP", Mode::Garbage),
        ("too large", Mode::json(&huge)),
        ("a bomb", Mode::answer("200 OK", gzip, &gzip::bomb(1 << 24))),
        ("broken compression", Mode::answer("200 OK", gzip, GOOD.as_bytes())),
        (
            "unknown compression",
            Mode::answer("200 OK", "content-type: application/json\r\ncontent-encoding: br\r\n", GOOD.as_bytes()),
        ),
        ("302", redirect("302 Found")),
        ("307", redirect("307 Temporary Redirect")),
        ("308", redirect("308 Permanent Redirect")),
        ("304", Mode::answer("304 Not Modified", "", b"")),
        ("204", Mode::answer("204 No Content", "", b"")),
        ("201", Mode::answer("201 Created", "content-type: application/json\r\n", GOOD.as_bytes())),
        ("404", Mode::answer("404 Not Found", "content-type: application/json\r\n", b"{}")),
        ("429", Mode::answer("429 Too Many Requests", "content-type: application/json\r\n", b"{}")),
        ("500", Mode::answer("500 Internal Server Error", "content-type: application/json\r\n", GOOD.as_bytes())),
        ("a page", json_type("text/html", GOOD.as_bytes())),
        ("a token", json_type("application/jwt", b"a.b.c")),
        ("no type", Mode::answer("200 OK", "", GOOD.as_bytes())),
        (
            "two types",
            Mode::answer("200 OK", "content-type: application/json\r\ncontent-type: text/html\r\n", GOOD.as_bytes()),
        ),
        ("nothing", json_type("application/json", b"")),
        ("no JSON", json_type("application/json", b"active")),
        ("a list", json_type("application/json", format!("[{GOOD}]").as_bytes())),
        ("garbage behind", json_type("application/json", format!("{GOOD}x").as_bytes())),
        ("two answers", json_type("application/json", format!("{GOOD}{GOOD}").as_bytes())),
        (
            "a member twice",
            json_type(
                "application/json",
                br#"{"active":false,"active":true,"sub":"a","sub":"b","authenticated":false,"authenticated":true}"#,
            ),
        ),
        ("bytes that are no text", json_type("application/json", b"{\"sub\":\"\xff\"}")),
        (
            "too deep",
            json_type("application/json", format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000)).as_bytes()),
        ),
    ];
    for (what, mode) in cases {
        service.set(mode);
        for (kind, question) in questions(&service) {
            let began = Instant::now();
            let kept = ask(&cache(), &question).await;
            let why = failed(&kept.reply);
            assert!(!why.is_empty() && !why.contains("alice"), "{what} before {kind}: {why}");
            assert_eq!(kept.until_ms, i64::MIN, "{what} before {kind} is kept");
            assert!(began.elapsed() < Duration::from_secs(5), "{what} before {kind} took {:?}", began.elapsed());
        }
    }
    assert_eq!(target.seen().len(), 0, "a redirect was followed");
}

#[tokio::test]
async fn shapes_that_are_not_agreed_on() {
    let service = Service::start(Mode::Hang).await;
    for body in [
        r#"{"active":"true","sub":"alice","authenticated":"true","claims":{"sub":"alice"}}"#,
        r#"{"active":1,"sub":"alice","authenticated":1,"claims":{"sub":"alice"}}"#,
        r#"{"Active":true,"sub":"alice","Authenticated":true,"claims":{"sub":"alice"}}"#,
        r#"{"active":null,"authenticated":null}"#,
    ] {
        service.set(Mode::json(body));
        for (kind, question) in questions(&service).into_iter().filter(|(kind, _)| *kind != "userInfo") {
            failed(&reply(&cache(), &question).await);
            assert!(!service.seen().is_empty(), "{kind} {body}");
        }
    }
}

#[tokio::test]
async fn a_good_answer_and_a_no_of_each_kind() {
    let service = Service::start(Mode::json(GOOD)).await;
    for (kind, question) in questions(&service) {
        let answer = reply(&cache(), &question).await;
        assert_eq!(subject(&answer), Some("alice"), "{kind}: {answer:?}");
    }
    service.set(Mode::answer(
        "200 OK",
        "content-type: application/json;charset=utf-8\r\ncontent-encoding: gzip\r\n",
        &gzip::stored(GOOD.as_bytes()),
    ));
    for (kind, question) in questions(&service) {
        assert_eq!(subject(&reply(&cache(), &question).await), Some("alice"), "{kind}, compressed");
    }
    service.set(Mode::json(r#"{"active":false,"authenticated":false}"#));
    for (kind, question) in questions(&service).into_iter().filter(|(kind, _)| *kind != "userInfo") {
        assert!(matches!(reply(&cache(), &question).await, Reply::Refused(_)), "{kind}");
    }
    // What the endpoint says about a token by its status it says of a 401 only where the token is the credential.
    for (status, refused) in [
        ("400 Bad Request", true),
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("503 Service Unavailable", false),
    ] {
        service.set(Mode::answer(status, "content-type: text/plain\r\n", b"no"));
        for (kind, question) in questions(&service) {
            let answer = reply(&cache(), &question).await;
            assert_eq!(
                matches!(answer, Reply::Refused(_)),
                refused && kind == "userInfo",
                "{kind} {status}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn questions_go_where_they_may_and_hold_what_they_should() {
    let service = Service::start(Mode::json(GOOD)).await;
    for (_, question) in questions(&service) {
        reply(&cache(), &question).await;
    }
    let [introspected, info, verified] = service.seen().try_into().unwrap();
    assert!(introspected.head.starts_with("POST /introspect HTTP/1.1\r\n"), "{}", introspected.head);
    assert_eq!(introspected.body, "token=opaque&token_type_hint=access_token");
    assert_eq!(introspected.header("authorization"), Some("Basic Z3c6Y2xpZW50LXNlY3JldA=="));
    assert!(info.head.starts_with("GET /userinfo HTTP/1.1\r\n") && info.body.is_empty(), "{}", info.head);
    assert_eq!(info.header("authorization"), Some("Bearer opaque"));
    assert!(verified.head.starts_with("POST /verify HTTP/1.1\r\n"), "{}", verified.head);
    assert_eq!(verified.header("content-type"), Some("application/json"));
    assert_eq!(verified.body, r#"{"authenticator":"svc","credential":"opaque","headers":{},"policy":"n/p"}"#);
    assert!([introspected, info, verified].iter().all(|seen| seen.header("accept") == Some("application/json")));
    // The network rule holds for every kind.
    let mut registry = Registry::default();
    let strict = Options { networks: Networks::without_proxy(vec![]), ..Options::default() };
    let strict = RemoteCache::new(strict, &mut registry, Handle::current());
    for (kind, question) in questions(&service) {
        let why = failed(&ask(&strict, &question).await.reply);
        assert!(why.contains("--allow-network"), "{kind}: {why}");
    }
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test]
async fn nothing_of_a_credential_is_printed() {
    let service = Service::start(Mode::json(GOOD)).await;
    let question = token(&introspection(&service, ""), "very-secret-token");
    let kept = ask(&cache(), &question).await;
    let printed = format!("{question:?} {:?} {:?}", cache(), kept.until_ms);
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn a_closed_port_is_a_failure_at_once() {
    let service = Service::start(Mode::json(GOOD)).await;
    let authenticator = user_info(&service, "");
    drop(service);
    let question = token(&authenticator, "opaque");
    // The listener is gone once its task is; a question before that is answered by nobody.
    let why = failed(&reply(&cache(), &question).await);
    assert!(
        why == "the service refuses connections" || why.contains("could not be asked") || why.contains("in time"),
        "{why}"
    );
}
