//! Finding the keys of an issuer by its own word, and not believing everything it says.

use super::*;
use crate::jwks::fetch::discovery_url;

#[test]
fn there_is_exactly_one_slash_before_well_known() {
    let path = "/.well-known/openid-configuration";
    for (issuer, expected) in [
        ("https://a.example", Some("https://a.example")),
        ("https://a.example/", Some("https://a.example")),
        ("https://a.example/realms/main", Some("https://a.example/realms/main")),
        ("https://a.example/realms/main/", Some("https://a.example/realms/main")),
        ("https://a.example?x=1", None),
        ("https://a.example#x", None),
        ("ftp://a.example", None),
        ("accounts.example", None),
    ] {
        let url = discovery_url(issuer).map(|url| url.to_string());
        assert_eq!(url, expected.map(|base| format!("{base}{path}")), "{issuer}");
    }
}

#[tokio::test]
async fn discovery_finds_the_keys() {
    let provider = Provider::start(keys(&["a"])).await;
    let source = discovered(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert_eq!(fixture.status(&source).jwks_uri.unwrap(), provider.keys_url());
    fixture.refresh(&source).await;
    assert_eq!(
        (provider.hits().discovery, provider.hits().keys),
        (1, 2),
        "an unknown kid does not ask discovery again"
    );
}

/// Whoever answers must be exactly the configured issuer.
#[tokio::test]
async fn a_document_of_another_issuer_is_refused() {
    let provider = Provider::start(keys(&["a"])).await;
    let issuer = provider.issuer();
    for other in [
        format!("{issuer}/"),
        issuer.replace("http://", "HTTP://"),
        issuer.replace("127.0.0.1", "localhost"),
        format!("{issuer}/other"),
        "http://evil.example".to_owned(),
    ] {
        provider.discover(&other, &provider.keys_url());
        let source = discovered(&provider);
        let fixture = Fixture::new(options());
        fixture.cache.sync(vec![source.clone()]);
        fixture.refresh(&source).await;
        assert!(fixture.cache.state(&source.id).keys.is_none(), "{other}");
        let error = fixture.last_error(&source);
        assert!(error.contains("of another issuer") && !error.contains(&other), "{other}: {error}");
    }
    assert_eq!(provider.hits().keys, 0);
}

/// Where a discovery document must not lead.
#[tokio::test]
async fn a_jwks_uri_outside_of_the_allowed_networks_is_refused() {
    let provider = Provider::start(keys(&["a"])).await;
    for (jwks_uri, expected) in [
        ("http://169.254.169.254/latest/meta-data", "cloud metadata"),
        ("https://169.254.169.254/latest/meta-data", "cloud metadata"),
        ("https://[::ffff:169.254.169.254]/", "cloud metadata"),
        ("https://2852039166/", "cloud metadata"),
        ("https://0xa9.0xfe.0xa9.0xfe/", "cloud metadata"),
        ("https://0251.0376.0251.0376/", "cloud metadata"),
        ("https://[64:ff9b::a9fe:a9fe]/", "cloud metadata"),
        ("https://[2002:a9fe:a9fe::]/", "6to4"),
        ("https://[fec0::1]/", "site-local"),
        ("https://100.64.0.1/", "carrier-grade NAT"),
        ("https://10.0.0.1/", "private"),
        ("https://[fd00::1]/", "unique local"),
        ("https://0.0.0.0/", "unspecified"),
        ("http://93.184.216.34/keys", "plain http"),
        ("https://user:secret@issuer.example/keys", "user name or password"),
        ("ftp://issuer.example/keys", "only https"),
        ("file:///etc/passwd", "only https"),
        ("/keys", "no jwks_uri"),
        ("", "no jwks_uri"),
    ] {
        provider.discover(&provider.issuer(), jwks_uri);
        let source = discovered(&provider);
        let fixture = Fixture::new(options());
        fixture.cache.sync(vec![source.clone()]);
        fixture.refresh(&source).await;
        let error = fixture.last_error(&source);
        assert!(error.contains(expected), "{jwks_uri}: {error}");
        assert!(!error.contains("secret"), "{jwks_uri}: {error}");
        assert!(fixture.cache.state(&source.id).keys.is_none(), "{jwks_uri}");
    }
    assert_eq!(provider.hits().keys, 0);
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let provider = Provider::start(keys(&["a"])).await;
    let issuer = provider.issuer();
    let no_utf8 =
        [format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/keys","x":""#).as_bytes(), b"\xff\"}"].concat();
    let texts = [
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        format!(r#"["{issuer}","{issuer}/keys"]"#),
        format!(r#"{{"issuer":["{issuer}"],"jwks_uri":"{issuer}/keys"}}"#),
        format!(r#"{{"issuer":"{issuer}"}}"#),
        format!(r#"{{"issuer":"http://evil.example","issuer":"{issuer}","jwks_uri":"{issuer}/keys"}}"#),
    ];
    for body in texts.map(String::into_bytes).into_iter().chain([no_utf8]) {
        provider.serve_discovery(Mode::json(body.clone()));
        let source = discovered(&provider);
        let fixture = Fixture::new(options());
        fixture.cache.sync(vec![source.clone()]);
        fixture.refresh(&source).await;
        let (body, error) = (String::from_utf8_lossy(&body), fixture.last_error(&source));
        assert!(error.starts_with("discovery:"), "{body}: {error}");
    }
    assert_eq!(provider.hits().keys, 0);
}

/// Once keys came from one origin, discovery cannot lead to another; the old place goes on serving.
#[tokio::test]
async fn a_jwks_uri_does_not_move_to_another_origin() {
    let provider = Provider::start(keys(&["good"])).await;
    let attacker = Provider::start(keys(&["evil"])).await;
    let mut source = discovered(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    provider.discover(&provider.issuer(), &attacker.keys_url());
    source.max_age = Duration::ZERO;
    fixture.cache.sync(vec![source.clone()]);
    let before = provider.hits();
    provider.until(|hits| hits.discovery >= before.discovery + 2 && hits.keys >= before.keys + 2).await;
    assert_eq!(attacker.hits().keys, 0);
    assert_eq!(fixture.kids(&source).unwrap(), ["good"]);
    let error = fixture.last_error(&source);
    assert!(error.contains("moved to another origin") && error.contains(&provider.issuer()), "{error}");

    // Another path of the same origin is no move, and a new start may believe the new place.
    provider.discover(&provider.issuer(), &format!("{}?v=2", provider.keys_url()));
    within(async {
        while fixture.status(&source).last_error.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    provider.discover(&provider.issuer(), &attacker.keys_url());
    let restarted = Fixture::fetched(options(), &source).await;
    assert_eq!(restarted.kids(&source).unwrap(), ["evil"]);
}

/// Discovery that is down does not take known keys with it.
#[tokio::test]
async fn the_known_location_is_used_while_discovery_fails() {
    let provider = Provider::start(keys(&["a"])).await;
    let mut source = discovered(&provider);
    let fixture = Fixture::fetched(options(), &source).await;
    provider.serve_discovery(Mode::status("500 Internal Server Error"));
    provider.serve_keys(keys(&["b"]));
    source.max_age = Duration::ZERO;
    fixture.cache.sync(vec![source.clone()]);
    let before = provider.hits();
    provider.until(|hits| hits.keys >= before.keys + 2).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["b"]);
    assert!(!fixture.cache.state(&source.id).failing);
    assert!(fixture.last_error(&source).starts_with("discovery: the server answered with status 500"));
}

/// Two issuers may share one URL; each is a set of its own.
#[tokio::test]
async fn two_sets_may_share_one_url() {
    let provider = Provider::start(keys(&["shared"])).await;
    let one = source("https://one.example", Some(&provider.keys_url()));
    let two = source("https://two.example", Some(&provider.keys_url()));
    let fixture = Fixture::new(options());
    fixture.cache.sync(vec![one.clone(), two.clone()]);
    within(fixture.cache.fetched_once()).await;
    fixture.refresh(&one).await;
    assert!(!fixture.cache.state(&one.id).refreshable && fixture.cache.state(&two.id).refreshable);
    assert_eq!(provider.hits().keys, 3);
    let issuers: Vec<_> = fixture.cache.status().into_iter().map(|status| status.issuer).collect();
    assert_eq!(issuers, ["https://one.example", "https://two.example"]);
}
