//! Tokens for the upstream: one question for everybody, early renewal, and what a server that refuses or is down costs.

use crds::snapshot::{ClientAuthentication, Endpoint, Grant, GrantKind, OAuthClient, Tls};

use super::{
    server::{Mode, Service},
    *,
};
use crate::remote::grant::Issued;

const TOKEN: &str = r#"{"access_token":"one","token_type":"Bearer","expires_in":3600}"#;

fn question(service: &Service, kind: GrantKind, subject: Option<&str>) -> Arc<Ask> {
    let url = url::Url::parse(&service.url("/token")).unwrap();
    let endpoint = Endpoint { url, timeout: Duration::from_secs(5), tls: Tls::default(), id: [7; 32] };
    let authentication = Some(ClientAuthentication::SecretPost(Secret::new(*b"s3cret")));
    let client = OAuthClient { id: "gw".into(), authentication };
    let form = vec![("grant_type", "g".into())];
    let grant = Arc::new(Grant { endpoint, client, kind, form, fingerprint: [8; 32] });
    let subject = subject.map(|text| Secret::new(text.as_bytes()));
    let id = AskId::of(&[&grant.fingerprint, subject.as_ref().map_or(&[], |token| token.expose())]);
    Arc::new(Ask { id, what: What::Grant(grant, subject), fresh: false })
}

fn own(service: &Service) -> Arc<Ask> {
    question(service, GrantKind::ClientCredentials { renew_before: Duration::from_mins(5) }, None)
}

fn bearer(kept: &Arc<Kept>) -> String {
    match &kept.reply {
        Reply::Issued(Issued { authorization, .. }) => String::from_utf8(authorization.expose().to_vec()).unwrap(),
        other => panic!("{other:?} is no token"),
    }
}

#[tokio::test]
async fn many_requests_ask_once() {
    let service = Service::start(Mode::json(TOKEN)).await;
    let (cache, question) = (cache(), own(&service));
    let all = futures_util::future::join_all((0..50).map(|_| ask(&cache, &question))).await;
    assert!(all.iter().all(|kept| bearer(kept) == "Bearer one"));
    let seen = service.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, "grant_type=g&client_id=gw&client_secret=s3cret");
}

#[tokio::test]
async fn renewal_brings_the_next_token_and_its_failure_keeps_this_one() {
    let service = Service::start(Mode::json(TOKEN)).await;
    let (cache, question) = (cache(), own(&service));
    ask(&cache, &question).await;
    service.set(Mode::answer("500 Internal Server Error", "", b""));
    for _ in 0..20 {
        cache.renew(&question);
    }
    service.until(2).await;
    assert_eq!(bearer(&ask(&cache, &question).await), "Bearer one", "what is good stays");
    assert_eq!(service.seen().len(), 2, "a server that is down is left alone for a while");
    // Another question of the same kind has its own pause.
    let other =
        self::question(&service, GrantKind::ClientCredentials { renew_before: Duration::from_mins(5) }, Some("x"));
    service.set(Mode::json(TOKEN));
    ask(&cache, &other).await;
    service.set(Mode::json(&TOKEN.replace("one", "two")));
    cache.renew(&other);
    service.until(4).await;
    let renewed = async {
        while bearer(&ask(&cache, &other).await) != "Bearer two" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renewed).await.expect("the new token is never there");
}

#[tokio::test]
async fn refusals_are_about_us_or_about_the_callers_token() {
    for (status, error, subject, refused) in [
        ("400 Bad Request", "invalid_grant", Some("token"), true),
        ("400 Bad Request", "invalid_grant", None, false),
        ("401 Unauthorized", "invalid_client", Some("token"), false),
        ("400 Bad Request", "invalid_target", Some("token"), false),
        ("400 Bad Request", "invalid_request", Some("token"), false),
    ] {
        let body = format!(r#"{{"error":"{error}"}}"#);
        let service = Service::start(Mode::answer(status, "content-type: application/json\r\n", body.as_bytes())).await;
        let question = question(&service, GrantKind::TokenExchange, subject);
        let reply = reply(&cache(), &question).await;
        assert_eq!(matches!(reply, Reply::Refused(_)), refused, "{error} {subject:?}");
        assert_eq!(matches!(reply, Reply::Failed(_)), !refused, "{error} {subject:?}");
    }
}
