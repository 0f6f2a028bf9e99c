//! WebSocket handshakes: the one request whose cookies a foreign page can send and whose answer it can read.

use tests::{Answer, Bench, Call, bench::policy, upstream::PROTOCOL_HEADER};

use crate::{Outcome, assert_refused};

const FRIEND: &str = "https://ui.example.com";

async fn bench() -> Result<Bench, tests::PeerError> {
    Bench::with(|issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api");
        let sources = format!(
            "  credentials:\n  - {{header: Authorization, scheme: Bearer}}\n  - {{cookie: session, allowedOrigins: [\"{FRIEND}\"]}}\n"
        );
        vec![("socket.yaml".to_owned(), text + &sources)]
    })
    .await
}

/// Asserts that the application took the handshake and saw who it is, and neither token nor cookie.
#[track_caller]
fn assert_connected(bench: &Bench, answer: &Answer) {
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer:?}");
    let seen = bench.upstream.seen().pop().expect("the handshake reached the application");
    assert_eq!(seen.header("x-auth-subject").as_deref(), Some("alice"), "{seen:?}");
    assert_eq!((seen.header("authorization"), seen.header("cookie")), (None, None), "{seen:?}");
}

#[tokio::test]
async fn a_header_or_a_cookie_of_an_own_page_connects() -> Outcome {
    let bench = bench().await?;
    let cookie = format!("session={}", bench.alice()?);
    let socket = || bench.call().path("/ws").websocket();
    for call in [
        socket().bearer(&bench.alice()?),
        // A bearer token is not sent by a browser on its own: its page does not matter.
        socket().bearer(&bench.alice()?).header("origin", "https://evil.example.net"),
        socket().header("cookie", &cookie),
        socket().header("cookie", &cookie).header("origin", "http://api.example.com"),
        socket().header("cookie", &cookie).header("origin", FRIEND),
        socket().header("cookie", &cookie).header("sec-fetch-site", "same-origin"),
    ] {
        assert_connected(&bench, &call.http1().await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_cookie_sent_from_a_foreign_page_is_refused() -> Outcome {
    let bench = bench().await?;
    let cookie = format!("session={}", bench.alice()?);
    let socket = || bench.call().path("/ws").websocket().header("cookie", &cookie);
    for call in [
        socket().header("origin", "https://evil.example.net"),
        socket().header("origin", "null"),
        socket().header("origin", "https://api.example.com.evil.example.net"),
        socket().header("origin", "http://api.example.com:8080"),
        socket().header("sec-fetch-site", "cross-site"),
        // The page is what Origin says, whatever else is claimed.
        socket().header("origin", "https://evil.example.net").header("sec-fetch-site", "same-origin"),
        // Any method but a reading one is as dangerous as an upgrade.
        bench.call().method("POST").header("cookie", &cookie).header("origin", "https://evil.example.net").body("x"),
    ] {
        assert_refused(&call.http1().await?, 403, "forbidden");
    }
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_handshake_without_a_credential_is_refused() -> Outcome {
    let bench = bench().await?;
    let answer = bench.call().path("/ws").websocket().http1().await?;
    assert_refused(&answer, 401, "missing_credential");
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_credential_cookie_twice_is_malformed_also_when_split() -> Outcome {
    let bench = bench().await?;
    let token = bench.alice()?;
    let split = bench.call().header("cookie", &format!("session={token}")).header("cookie", "session=other");
    assert_refused(&split.http2().await?, 400, "malformed_request");
    let joined = bench.call().header("cookie", &format!("session={token}; session=other"));
    assert_refused(&joined.http1().await?, 400, "malformed_request");
    let one = bench.call().header("cookie", "theme=dark").header("cookie", &format!("session={token}"));
    let answer = one.http2().await?;
    let seen = answer.seen().unwrap_or_else(|| panic!("one credential among split cookies is good: {answer:?}"));
    assert_eq!(seen.header("x-auth-subject").as_deref(), Some("alice"));
    assert_eq!(seen.header("cookie").as_deref(), Some("theme=dark"), "the other cookie stays");
    Ok(())
}

/// Two lines of HTTP/1 are one value with a comma where Envoy sends no raw headers: a credential on a line of its own is neither read as
/// part of another cookie nor handed on.
#[tokio::test]
async fn a_credential_cookie_on_a_line_of_its_own_does_not_hide() -> Outcome {
    let bench = bench().await?;
    let token = bench.alice()?;
    let cookie = format!("session={token}");
    for listener in [bench.envoy.plain, bench.envoy.hardened] {
        let twice = Call::to(listener).header("cookie", &cookie).header("cookie", "session=forged");
        assert_refused(&twice.http1().await?, 400, "malformed_request");
        let joined = Call::to(listener).bearer(&token).header("cookie", "theme=dark,session=forged");
        assert_refused(&joined.http1().await?, 400, "malformed_request");
        let comma = Call::to(listener).header("cookie", &format!("theme=dark,light; {cookie}")).http1().await?;
        let seen = comma.seen().unwrap_or_else(|| panic!("a comma in another cookie is none of ours: {comma:?}"));
        assert_eq!(seen.header("cookie").as_deref(), Some("theme=dark,light"), "{seen:?}");

        let lines = Call::to(listener).bearer(&token).header("cookie", "theme=dark").header("cookie", "session=forged");
        let answer = lines.http1().await?;
        match answer.seen() {
            Some(seen) if listener == bench.envoy.hardened => {
                assert_eq!(seen.header("cookie").as_deref(), Some("theme=dark"), "{seen:?}");
            }
            _ => assert_refused(&answer, 400, "malformed_request"),
        }
    }
    assert!(!format!("{:?}", bench.upstream.seen()).contains("forged"), "{:?}", bench.upstream.seen());
    Ok(())
}

async fn page_bench() -> Result<Bench, tests::PeerError> {
    Bench::with(|issuer| {
        let text = policy("api", "api.example.com", &issuer.url(), "api");
        let sources = "  credentials:\n  - {header: Authorization, scheme: Bearer}\n  - {webSocketProtocol: app-bearer}\n  - {query: token, onlyOn: WebSocket}\n";
        vec![("socket.yaml".to_owned(), text + sources)]
    })
    .await
}

#[tokio::test]
async fn a_page_sends_its_token_as_protocol_and_one_protocol_is_selected() -> Outcome {
    let bench = page_bench().await?;
    let token = bench.alice()?;
    for (offered, chosen, selected, rest) in [
        ("", None, "app-bearer", "app-bearer"),
        // The application echoes the name itself: it must not stand there twice.
        ("", Some("app-bearer"), "app-bearer", "app-bearer"),
        (", chat", Some("chat"), "chat", "app-bearer, chat"),
        (", chat", None, "app-bearer", "app-bearer, chat"),
    ] {
        let mut call = bench
            .call()
            .path("/ws")
            .websocket()
            .header("sec-websocket-protocol", &format!("app-bearer, {token}{offered}"));
        if let Some(chosen) = chosen {
            call = call.header(PROTOCOL_HEADER, chosen);
        }
        let answer = call.http1().await?;
        assert_connected(&bench, &answer);
        assert_eq!(
            answer.header("sec-websocket-protocol").as_deref(),
            Some(selected),
            "{offered} {chosen:?}: {answer:?}"
        );
        let seen = bench.upstream.seen().pop().expect("the handshake reached the application");
        assert_eq!(seen.header("sec-websocket-protocol").as_deref(), Some(rest), "{offered} {chosen:?}");
    }
    Ok(())
}

/// The name must come first and the token right behind it, however the lines are cut; the token goes no further than here.
#[tokio::test]
async fn a_protocol_is_a_credential_in_one_place_only() -> Outcome {
    let bench = page_bench().await?;
    let token = bench.alice()?;
    bench.good()?.http1_when_available().await?;
    let reached = bench.upstream.seen().len();
    let offered = |lines: &[&str]| {
        let call = bench.call().path("/ws").websocket();
        lines.iter().fold(call, |call, line| call.header("sec-websocket-protocol", &line.replace("TOKEN", &token)))
    };
    for (lines, code) in [
        (&["app-bearer"][..], "missing_credential"),
        (&["app-bearer,"], "missing_credential"),
        (&["TOKEN"], "missing_credential"),
        (&["TOKEN, app-bearer"], "missing_credential"),
        (&["App-Bearer, TOKEN"], "missing_credential"),
        (&["chat, app-bearer, TOKEN"], "missing_credential"),
        (&["chat", "app-bearer, TOKEN"], "missing_credential"),
        (&["app-bearer-2, TOKEN"], "missing_credential"),
        (&["app-bearer TOKEN"], "missing_credential"),
        (&["app-bearer, chat, TOKEN"], "invalid_token"),
        (&["app-bearer, \"TOKEN\""], "invalid_token"),
        (&["app-bearer, Bearer TOKEN"], "invalid_token"),
        (&["app-bearer, TOKENx"], "invalid_token"),
        (&["app-bearer, app-bearer, TOKEN"], "invalid_token"),
    ] {
        let answer = offered(lines).http1().await?;
        assert_refused(&answer, 401, code);
        assert_eq!(answer.header("sec-websocket-protocol"), None, "{lines:?}: {answer:?}");
    }
    assert_eq!(bench.upstream.seen().len(), reached);
    for (lines, rest) in [
        (&["app-bearer,TOKEN"][..], "app-bearer"),
        (&["app-bearer", "TOKEN"], "app-bearer"),
        (&["app-bearer, TOKEN", "chat"], "app-bearer, chat"),
    ] {
        let answer = offered(lines).http1().await?;
        assert_connected(&bench, &answer);
        assert_eq!(answer.header("sec-websocket-protocol").as_deref(), Some("app-bearer"), "{lines:?}: {answer:?}");
        let seen = bench.upstream.seen().pop().expect("the handshake reached the application");
        assert_eq!(seen.header("sec-websocket-protocol").as_deref(), Some(rest), "{lines:?}");
        assert!(!format!("{seen:?}").contains(&token), "the token reached the application: {seen:?}");
    }
    // No handshake: the header is no place.
    let plain = bench.call().header("sec-websocket-protocol", &format!("app-bearer, {token}")).http1().await?;
    assert_refused(&plain, 401, "missing_credential");
    Ok(())
}

#[tokio::test]
async fn a_token_in_the_query_is_gone_before_the_application() -> Outcome {
    let bench = page_bench().await?;
    let token = bench.alice()?;
    // Envoy writes what remains in order of names, values of one name in their order, each with its `=`.
    for (query, rest) in [
        (format!("token={token}"), ""),
        (format!("thread=7&token={token}"), "?thread=7"),
        (format!("a=%20x+y&%74oken={token}&b=%C3%A9"), "?a=%20x+y&b=%C3%A9"),
        (format!("z=2&z=1&token={token}&b"), "?b=&z=2&z=1"),
    ] {
        let answer = bench.call().path(&format!("/ws?{query}")).websocket().http1().await?;
        assert_connected(&bench, &answer);
        let seen = bench.upstream.seen().pop().expect("the handshake reached the application");
        assert_eq!(seen.path, format!("/ws{rest}"));
    }
    // No upgrade: the parameter is the application's.
    let answer = bench.good()?.path("/page?token=other").http1().await?;
    assert_eq!(answer.seen().map(|seen| seen.path).as_deref(), Some("/page?token=other"), "{answer:?}");
    let answer = bench.call().path(&format!("/page?token={token}")).http1().await?;
    assert_refused(&answer, 401, "missing_credential");
    Ok(())
}
