//! Straight to the gRPC port: what no Envoy would send must be refused, and must not harm the next check.

use std::io;

use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    check_response::HttpResponse,
};
use futures_util::stream::{self, StreamExt};
use tests::{Bench, PeerError, client, grpc, wait::LONG};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use crate::Outcome;

/// The HTTP status of a refusal.
fn denied(response: &CheckResponse) -> Option<i32> {
    match response.http_response.as_ref()? {
        HttpResponse::DeniedResponse(denied) => Some(denied.status.as_ref()?.code),
        _ => None,
    }
}

/// Asserts that the product still tells good from bad.
async fn assert_serves(bench: &Bench, after: &str) -> Outcome {
    let bearer = format!("Bearer {}", bench.alice()?);
    let good = grpc::check("api.example.com", &[("authorization", &bearer)]);
    let response = grpc::send(&bench.product.addresses.authz, good).await?;
    assert!(response.as_ref().is_ok_and(grpc::allows), "after {after}: {response:?}");
    let bad = grpc::send(&bench.product.addresses.authz, grpc::check("api.example.com", &[])).await?;
    assert_eq!(bad.as_ref().ok().and_then(denied), Some(401), "after {after}: {bad:?}");
    Ok(())
}

fn request(change: impl FnOnce(&mut HttpRequest), bearer: &str) -> CheckRequest {
    let mut http = HttpRequest {
        method: "GET".into(),
        path: "/".into(),
        host: "api.example.com".into(),
        headers: [("authorization".to_owned(), bearer.to_owned())].into(),
        ..HttpRequest::default()
    };
    change(&mut http);
    grpc::of(http)
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_the_right_status() -> Outcome {
    let bench = Bench::start().await?;
    let bearer = format!("Bearer {}", bench.alice()?);
    let host = |host: &str| request(|http| host.clone_into(&mut http.host), &bearer);
    let method = |method: &str| request(|http| method.clone_into(&mut http.method), &bearer);
    let path = |path: &str| request(|http| path.clone_into(&mut http.path), &bearer);
    let attributes = |attributes| CheckRequest { attributes };
    let no_http = Request::default();
    let cases = vec![
        ("no attributes", attributes(None), 403),
        ("empty attributes", attributes(Some(AttributeContext::default())), 403),
        ("no HTTP", attributes(Some(AttributeContext { request: Some(no_http), ..AttributeContext::default() })), 403),
        ("empty host", host(""), 400),
        ("several hosts", host("api.example.com,evil.example.net"), 400),
        ("userinfo", host("root@api.example.com"), 400),
        ("blank in the host", host("api.example.com evil"), 400),
        ("CONNECT", request(|http| (http.method, http.path) = ("CONNECT".into(), String::new()), &bearer), 403),
        ("TRACE", method("TRACE"), 403),
        ("dot segments", path("/a/../admin"), 400),
        ("encoded dot segments", path("/a/%2e%2e/admin"), 400),
        ("encoded slash", path("/a%2fadmin"), 400),
        ("backslash", path("/a\\admin"), 400),
        ("empty segment", path("//admin"), 400),
        ("bad escape", path("/%zz"), 400),
        ("control byte", path("/a%00"), 400),
        (
            "64 KB of dots as a token",
            grpc::check("api.example.com", &[("authorization", &format!("Bearer {}", ".".repeat(65536)))]),
            401,
        ),
        ("empty token", grpc::check("api.example.com", &[("authorization", "Bearer ")]), 401),
        ("only dots", grpc::check("api.example.com", &[("authorization", "Bearer ..")]), 401),
    ];
    for (name, check, status) in cases {
        let response = grpc::send(&bench.product.addresses.authz, check).await?;
        let response = response.unwrap_or_else(|error| panic!("{name}: no verdict but {error}"));
        assert!(!grpc::allows(&response), "{name}: {response:?}");
        assert_eq!(denied(&response), Some(status), "{name}: {response:?}");
        assert_serves(&bench, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn odd_paths_and_methods_are_no_panic() -> Outcome {
    let bench = Bench::start().await?;
    let bearer = format!("Bearer {}", bench.alice()?);
    for (method, path) in [
        ("", "/"),
        ("GET", ""),
        ("GET", "*"),
        ("OPTIONS", "*"),
        ("get", "/"),
        ("GET", "no-slash"),
        ("GET", "?"),
        ("G\u{0}T", "/"),
    ] {
        let change = |http: &mut HttpRequest| (http.method, http.path) = (method.into(), path.into());
        let response = grpc::send(&bench.product.addresses.authz, request(change, &bearer)).await?;
        assert!(response.is_ok(), "{method:?} {path:?}: no verdict but {response:?}");
        assert_serves(&bench, path).await?;
    }
    Ok(())
}

/// A huge message, or bytes that are no message: an error of gRPC, or a refusal, and never an allow.
#[tokio::test]
async fn bytes_that_are_no_check_never_allow() -> Outcome {
    let bench = Bench::start().await?;
    let authz = &bench.product.addresses.authz;
    let garbage: Vec<u8> =
        (0u32..4096).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0)).collect();
    // Field 1, a length far beyond the end.
    let lying = vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    // Groups within groups, which recurse in a careless decoder.
    let nested = vec![0x0b; 100_000];
    for (name, message) in
        [("garbage", garbage), ("10 MB", vec![b'x'; 10 << 20]), ("a lying length", lying), ("nested groups", nested)]
    {
        match grpc::send_bytes(authz, message).await {
            Ok(answer) => {
                let status = answer.header("grpc-status");
                assert!(status.as_deref().is_some_and(|status| status != "0"), "{name}: {answer:?}");
            }
            // A connection that the product ended is a refusal as well.
            Err(error) => assert!(!error.is_timeout(), "{name}: {error:?}"),
        }
        assert_serves(&bench, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_check_of_ten_megabytes_never_allows() -> Outcome {
    let bench = Bench::start().await?;
    let bearer = format!("Bearer {}", bench.alice()?);
    let large = request(|http| http.body = "x".repeat(10 << 20), &bearer);
    // The refusal may cut the connection while we are still sending, which tonic reports as an error: good too.
    match grpc::send(&bench.product.addresses.authz, large).await? {
        Ok(response) => assert!(!grpc::allows(&response), "{response:?}"),
        Err(status) => println!("refused by gRPC: {status}"),
    }
    assert_serves(&bench, "ten megabytes").await
}

/// Says this much of a call, and nothing more, not even that it has ended. The gRPC status of the answer.
async fn unfinished(client: reqwest::Client, authz: String, said: Vec<u8>) -> Option<String> {
    let parts = stream::once(async move { Ok::<_, io::Error>(said) }).chain(stream::pending());
    let call = client.post(format!("http://{authz}/envoy.service.auth.v3.Authorization/Check"));
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    let answer = call.body(reqwest::Body::wrap_stream(parts)).send().await.ok()?;
    Some(answer.headers().get("grpc-status")?.to_str().ok()?.to_owned())
}

/// A prefix that announces this length, and what came of the message.
fn message(announced: u32, came: &[u8]) -> Vec<u8> {
    [vec![0], announced.to_be_bytes().to_vec(), came.to_vec()].concat()
}

/// Forty of them announce forty MiB, more than there is room for.
#[tokio::test]
async fn messages_that_never_end_are_bounded_and_harm_nobody() -> Outcome {
    let bench = Bench::start().await?;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let begun = message(1 << 20, &[0; 1024]);
        calls.spawn(unfinished(client.clone(), bench.product.addresses.authz.clone(), begun));
    }
    // RESOURCE_EXHAUSTED for what there is no room for; DEADLINE_EXCEEDED later for the rest.
    let refused = async {
        while let Some(status) = calls.join_next().await {
            match status.expect("no panic").as_deref() {
                Some("8") => return true,
                other => assert_eq!(other, Some("4")),
            }
        }
        false
    };
    assert!(timeout(LONG, refused).await.expect("they end"), "forty MiB were let in");
    assert_serves(&bench, "messages without an end").await?;
    drop(calls);
    assert_serves(&bench, "their end").await
}

/// Also where no message begins. One that is whole is answered, though its call does not end: nobody keeps it until then.
#[tokio::test]
async fn calls_that_never_end_are_ended() -> Outcome {
    let bench = Bench::start().await?;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let unknown_fields = b"\x7a\x00".repeat(1 << 15);
    for (said, status) in [
        (Vec::new(), Some("4")),
        (message(9, &[0]), Some("4")),
        // The status of an answer comes after it.
        (message(0, &[]), None),
        (message(1 << 16, &unknown_fields), None),
    ] {
        let ended = unfinished(client.clone(), bench.product.addresses.authz.clone(), said);
        assert_eq!(timeout(LONG, ended).await.expect("it ends").as_deref(), status);
    }
    assert_serves(&bench, "calls without an end").await
}

/// As many clients do where their calls are many: the end is a frame of its own. A connection bears it for more than a thousand calls.
#[tokio::test]
async fn calls_may_end_after_their_answer() -> Outcome {
    let bench = Bench::start().await?;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let url = format!("http://{}/envoy.service.auth.v3.Authorization/Check", bench.product.addresses.authz);
    let mut callers = JoinSet::new();
    for _ in 0..40 {
        let (client, url) = (client.clone(), url.clone());
        callers.spawn(async move {
            for _ in 0..40 {
                let (answered, is_answered) = oneshot::channel::<()>();
                let end = stream::once(is_answered).filter_map(async |_| None::<Result<Vec<u8>, io::Error>>);
                let parts = stream::once(async { Ok(message(0, &[])) }).chain(end);
                let call = client.post(&url).header("content-type", "application/grpc").header("te", "trailers");
                let answer = call.body(reqwest::Body::wrap_stream(parts)).send().await?;
                let _ = answered.send(());
                answer.bytes().await?;
            }
            Ok::<_, reqwest::Error>(())
        });
    }
    while let Some(done) = timeout(LONG, callers.join_next()).await.expect("they are answered") {
        done.expect("no panic").expect("every call is answered");
    }
    assert_serves(&bench, "ends that come late").await
}

/// A field of a message that is text, bytes or another message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut left = content.len();
    while left > 0x7F {
        field.extend(u8::try_from(left & 0x7F).map(|part| part | 0x80));
        left >>= 7;
    }
    field.extend(u8::try_from(left));
    [&field, content].concat()
}

/// Two bytes are a header without name and value, and take many times as much once they are read.
#[tokio::test]
async fn a_check_of_very_many_headers_is_refused_before_it_is_read() -> Outcome {
    let bench = Bench::start().await?;
    for (headers, status) in [(2_000, Some("0")), (2_100, Some("8")), (20_000, Some("8"))] {
        let http =
            [field(2, b"GET"), field(3, &[]).repeat(headers), field(4, b"/"), field(5, b"api.example.com")].concat();
        let check = field(1, &field(4, &field(2, &http)));
        let answer = grpc::send_bytes(&bench.product.addresses.authz, check).await.expect("an answer");
        // Of one that is read, the status comes after the answer.
        let found = answer.header("grpc-status");
        assert!(found.as_deref() == status || (status == Some("0") && found.is_none()), "{headers}: {answer:?}");
        assert_serves(&bench, "many headers").await?;
    }
    Ok(())
}

#[tokio::test]
async fn other_protocols_on_the_port_do_no_harm() -> Outcome {
    let bench = Bench::start().await?;
    let address = bench.product.addresses.authz.parse().expect("a TCP address");
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
    ] {
        let sent = client::send_and_close(address, bytes).await;
        assert!(sent.is_ok(), "the port takes connections: {sent:?}");
        assert_serves(&bench, "another protocol").await?;
    }
    Ok::<(), PeerError>(())
}

/// A thousand on each connection: their answers are made, and kept until somebody takes them. Further ones are reset.
#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_harm_nobody() -> Outcome {
    let bench = Bench::start().await?;
    let url = format!("http://{}/envoy.service.auth.v3.Authorization/Check", bench.product.addresses.authz);
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        // One byte of each answer fits, and the second is not read.
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(1);
        let client = client.build().expect("a client");
        for _ in 0..1000 {
            let call = client.post(&url).header("content-type", "application/grpc").header("te", "trailers");
            calls.spawn(call.body(message(0, &[])).send());
        }
    }
    let mut untaken = Vec::new();
    while let Some(answer) = timeout(LONG, calls.join_next()).await.expect("each is answered or reset") {
        untaken.extend(answer.expect("no panic"));
    }
    assert_serves(&bench, "answers that nobody takes").await?;
    let taken = stream::iter(untaken)
        .map(reqwest::Response::bytes)
        .buffer_unordered(6000)
        .map(|body| usize::from(body.is_ok()));
    let taken: usize = timeout(LONG, taken.fold(0, async |all, one| all + one)).await.expect("each ends");
    // 64 of each connection, and 4,096 of all together.
    assert!((4096..=4480).contains(&taken), "{taken} of 6000 were kept");
    assert_serves(&bench, "their end").await
}
