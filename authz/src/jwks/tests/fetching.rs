//! What counts as an answer: everything else leaves the last good keys in force.

use super::{gzip, *};

/// Every bad answer to a later fetch, with what the status must say of it.
fn bad_answers() -> Vec<(&'static str, Mode, &'static str)> {
    let json = "content-type: application/json\r\n";
    let good = || key_set(&["evil"]);
    let html = "<html><title>Sign in</title></html>";
    let redirect = format!("{json}location: /other\r\n");
    vec![
        ("HTML", Mode::answer("200 OK", "content-type: text/html\r\n", html), "content-type"),
        ("keys as HTML", Mode::answer("200 OK", "content-type: text/html; charset=utf-8\r\n", good()), "content-type"),
        ("HTML without type", Mode::answer("200 OK", "", html), "not a JSON object"),
        ("204", Mode::answer("204 No Content", "", ""), "status 204"),
        ("206", Mode::answer("206 Partial Content", json, good()), "status 206"),
        ("304", Mode::answer("304 Not Modified", "", ""), "status 304"),
        ("a 301 to good keys", Mode::answer("301 Moved Permanently", &redirect, good()), "redirect (status 301)"),
        ("a 307", Mode::answer("307 Temporary Redirect", &redirect, ""), "redirect (status 307)"),
        ("500", Mode::status("500 Internal Server Error"), "status 500"),
        ("404", Mode::status("404 Not Found"), "status 404"),
        ("201", Mode::answer("201 Created", json, good()), "status 201"),
        ("half JSON", Mode::json(r#"{"keys":[{"kty""#), "not a JSON object"),
        ("not HTTP", Mode::answer("OK\0", "", "x"), "not valid HTTP"),
        ("no keys member", Mode::json(r#"{"error":"x"}"#), "no array `keys`"),
        ("keys is no array", Mode::json(r#"{"keys":{"a":1}}"#), "no array `keys`"),
        ("too many entries", Mode::json(format!(r#"{{"keys":[{}]}}"#, vec!["null"; 10_000].join(","))), "more than"),
        ("no usable key", Mode::json(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#), "no key that can verify"),
        ("5 MB", Mode::json(vec![b' '; 5 << 20]), "larger than 1048576 bytes"),
        ("without end", Mode::Endless, "larger than 1048576 bytes"),
        (
            "a gzip bomb",
            Mode::answer("200 OK", &format!("{json}content-encoding: gzip\r\n"), gzip::bomb(4 << 20)),
            "larger than 1048576 bytes",
        ),
        (
            "brotli, not asked for",
            Mode::answer("200 OK", &format!("{json}content-encoding: br\r\n"), good()),
            "compressed in a way",
        ),
        (
            "broken gzip",
            Mode::answer("200 OK", &format!("{json}content-encoding: gzip\r\n"), "{\"keys\":[]}"),
            "compression is broken",
        ),
        ("a cut connection", Mode::Cut, "cut before"),
    ]
}

#[tokio::test]
async fn bad_answers_leave_the_last_good_keys() {
    let provider = Provider::start(keys(&["good"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(eager(), &source).await;
    for (what, mode, expected) in bad_answers() {
        let before = provider.hits().keys;
        provider.serve_keys(mode);
        fixture.refresh(&source).await;
        assert_eq!(provider.hits().keys, before + 1, "{what}: asked once, and nowhere else");
        assert_eq!(fixture.kids(&source).unwrap(), ["good"], "{what}");
        let error = fixture.last_error(&source);
        assert!(error.contains(expected), "{what}: {error}");
        assert!(!error.contains("Sign in") && !error.contains("evil"), "{what}: {error}");
        assert!(fixture.cache.state(&source.id).failing, "{what}");
    }
    provider.serve_keys(keys(&["next"]));
    fixture.refresh(&source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["next"]);
    let state = fixture.cache.state(&source.id);
    assert!(!state.failing && fixture.status(&source).last_error.is_none());
}

/// The deadline covers the whole answer, not each read of it.
#[tokio::test]
async fn slow_answers_end_at_the_deadline() {
    let provider = Provider::start(keys(&["good"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(Options { fetch_timeout: Duration::from_millis(300), ..eager() }, &source).await;
    for (nth, mode) in [Mode::Hang, Mode::HeadOnly, Mode::Drip].into_iter().enumerate() {
        provider.serve_keys(mode.clone());
        fixture.refresh(&source).await;
        assert!(fixture.last_error(&source).contains("no complete answer in time"), "{mode:?}");
        assert_eq!(fixture.kids(&source).unwrap(), ["good"], "{mode:?}");
        provider.until(|hits| hits.abandoned == nth + 1).await;
    }
}

#[tokio::test]
async fn servers_that_do_not_know_the_media_type_are_understood() {
    let provider = Provider::start(keys(&["first"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(eager(), &source).await;
    for (kid, headers) in [
        ("a", ""),
        ("b", "content-type: application/jwk-set+json\r\n"),
        ("c", "content-type: Application/JSON; charset=utf-8\r\n"),
        ("d", "content-type: application/octet-stream\r\n"),
        ("e", "content-type: text/plain\r\n"),
    ] {
        provider.serve_keys(Mode::answer("200 OK", headers, key_set(&[kid])));
        fixture.refresh(&source).await;
        assert_eq!(fixture.kids(&source).unwrap(), [kid], "{headers}");
    }
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    provider.serve_keys(Mode::answer("200 OK", headers, gzip::stored(key_set(&["zipped"]).as_bytes())));
    fixture.refresh(&source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["zipped"]);
}

/// What is bad in a set is left out and told, the rest is used.
#[tokio::test]
async fn bad_entries_are_skipped_one_by_one() {
    let body = format!(
        r#"{{"keys":[null,{{"kty":"new","kid":"x"}},{{"kty":"EC","crv":"P-256","kid":"off","x":"AAAA","y":"AAAA"}},{},7],"more":1}}"#,
        jwk("good")
    );
    let provider = Provider::start(Mode::json(body)).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["good"]);
    let skipped: Vec<_> = fixture.status(&source).skipped.iter().map(|entry| entry.index).collect();
    assert_eq!(skipped, [0, 1, 2, 4]);
    assert!(fixture.metrics().contains(&format!("gatewright_jwks_skipped_keys{{issuer=\"{}\"}} 4.0\n", source.issuer)));
}

/// Refused before anything is sent, unless allowed.
#[tokio::test]
async fn a_location_outside_of_the_allowed_networks_is_never_asked() {
    let provider = Provider::start(keys(&["a"])).await;
    let port = provider.issuer().rsplit(':').next().unwrap().to_owned();
    let strict = Options { networks: Networks::without_proxy(Vec::new()), ..options() };
    let fixture = Fixture::new(strict);
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::1]"] {
        for scheme in ["http", "https"] {
            let source = source("https://issuer.example", Some(&format!("{scheme}://{host}:{port}/keys")));
            fixture.cache.sync(vec![source.clone()]);
            fixture.refresh(&source).await;
            let error = fixture.last_error(&source);
            assert!(error.contains("--allow-network"), "{scheme}://{host}: {error}");
        }
    }
    assert_eq!(provider.hits(), super::server::Hits::default());
}

/// A server that cannot prove who it is.
#[tokio::test]
async fn a_broken_tls_handshake_is_told_apart() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = source("https://issuer.example", Some(&provider.keys_url().replace("http:", "https:")));
    let fixture = Fixture::new(Options { fetch_timeout: Duration::from_secs(1), ..options() });
    fixture.cache.sync(vec![source.clone()]);
    fixture.refresh(&source).await;
    assert!(fixture.cache.state(&source.id).keys.is_none());
    assert!(!fixture.last_error(&source).is_empty());
}
