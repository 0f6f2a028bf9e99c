//! How we prove who we are, and what a refusal tells.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use crds::{
    signing::SigningKey,
    snapshot::{AuthenticatorKind, ClientAuthentication, Endpoint, OAuthClient, Tls},
};
use serde_json::Value;

use super::{
    server::{Mode, Seen, Service},
    *,
};
use crate::remote::{
    oauth::{OAuthError, Refusal, post_form},
    transport::{CallError, Transport},
};

fn endpoint(service: &Service) -> Endpoint {
    let url = url::Url::parse(&service.url("/token")).unwrap();
    Endpoint { url, timeout: Duration::from_secs(5), tls: Tls::default(), id: [1; 32] }
}

fn client(id: &str, authentication: Option<ClientAuthentication>) -> OAuthClient {
    OAuthClient { id: id.into(), authentication }
}

async fn posted(client: &OAuthClient) -> Seen {
    let service = Service::start(Mode::json(r#"{"access_token":"t"}"#)).await;
    let form = [("grant_type", "client_credentials"), ("scope", "a b")];
    let answer = post_form(&Transport::new(loopback()), &endpoint(&service), client, &form).await.unwrap();
    assert_eq!(answer["access_token"], "t");
    service.seen().remove(0)
}

fn pairs(body: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn basic_is_form_encoded_first() {
    let secret = Secret::new(*b"p:w %+/=\xc3\xa4");
    let seen = posted(&client("id:1 &", Some(ClientAuthentication::SecretBasic(secret)))).await;
    let value = seen.header("authorization").unwrap().strip_prefix("Basic ").unwrap();
    let pair = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
    assert_eq!(pair, "id%3A1+%26:p%3Aw+%25%2B%2F%3D%C3%A4");
    assert_eq!(seen.body, "grant_type=client_credentials&scope=a+b", "nothing about the client in the body");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn post_is_in_the_body_alone() {
    let secret = Secret::new(*b"s&e=cret");
    let seen = posted(&client("gw", Some(ClientAuthentication::SecretPost(secret)))).await;
    assert_eq!(seen.header("authorization"), None);
    let all = pairs(&seen.body);
    assert_eq!(
        all[2..],
        [("client_id".to_owned(), "gw".to_owned()), ("client_secret".to_owned(), "s&e=cret".to_owned())]
    );
}

fn pem(der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der)).into_bytes()
}

#[tokio::test]
async fn an_assertion_is_signed_short_and_used_once() {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa = pem(AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref());
    let p256 = pem(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref());
    let ed25519 = pem(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref());
    for (algorithm, pem) in [("RS256", rsa), ("ES256", p256), ("EdDSA", ed25519)] {
        let key = Box::new(SigningKey::private(&pem).unwrap().with_key_id(Some("k1")));
        let mut seen = Vec::new();
        for audience in [None, Some("https://as.test".into())] {
            let authentication = ClientAuthentication::PrivateKeyJwt { key: key.clone(), audience };
            seen.push(posted(&client("gw", Some(authentication))).await);
        }
        let mut ids = Vec::new();
        for (seen, audience) in seen.iter().zip([None, Some("https://as.test")]) {
            assert_eq!(seen.header("authorization"), None);
            let all: std::collections::HashMap<_, _> = pairs(&seen.body).into_iter().collect();
            assert_eq!(all["client_id"], "gw");
            assert_eq!(all["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            let part = |index: usize| -> Value {
                let text = all["client_assertion"].split('.').nth(index).unwrap();
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
            };
            assert_eq!((&part(0)["alg"], &part(0)["kid"]), (&algorithm.into(), &"k1".into()));
            let claims = part(1);
            assert_eq!((&claims["iss"], &claims["sub"]), (&"gw".into(), &"gw".into()));
            let aud = claims["aud"].as_str().unwrap();
            assert!(audience.map_or(aud.ends_with("/token"), |own| own == aud), "{aud}");
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert!(ids[0] != ids[1] && ids[0].len() >= 22, "{ids:?}");
    }
    assert!(SigningKey::private(b"no key").is_none());
}

#[tokio::test]
async fn refusals_are_words_of_the_registry() {
    let service = Service::start(Mode::Hang).await;
    let own = client("gw", Some(ClientAuthentication::SecretBasic(Secret::new(*b"s"))));
    let json = "content-type: application/json\r\n";
    for (status, headers, body, expected) in [
        (
            "400 Bad Request",
            json,
            r#"{"error":"invalid_grant","error_description":"<token>"}"#,
            Ok(Refusal::InvalidGrant),
        ),
        ("401 Unauthorized", json, r#"{"error":"invalid_client"}"#, Ok(Refusal::InvalidClient)),
        ("400 Bad Request", json, r#"{"error":"invalid_target"}"#, Ok(Refusal::InvalidTarget)),
        ("400 Bad Request", json, r#"{"error":"no_invalid_grant"}"#, Ok(Refusal::Other)),
        ("400 Bad Request", json, r#"{"error":7}"#, Ok(Refusal::Other)),
        ("401 Unauthorized", "", "", Ok(Refusal::Other)),
        ("403 Forbidden", json, r#"{"error":"invalid_grant"}"#, Err(CallError::Status)),
        ("500 Oops", json, r#"{"error":"invalid_grant"}"#, Err(CallError::Status)),
        ("307 Elsewhere", "location: /\r\n", "", Err(CallError::Redirect)),
        ("200 OK", "content-type: text/html\r\n", "{}", Err(CallError::ContentType)),
    ] {
        service.set(Mode::answer(status, headers, body.as_bytes()));
        let error = post_form(&Transport::new(loopback()), &endpoint(&service), &own, &[]).await.unwrap_err();
        match (&error, expected) {
            (OAuthError::Refused { error, .. }, Ok(expected)) => assert_eq!(*error, expected, "{status} {body}"),
            (OAuthError::Call(error), Err(expected)) => assert_eq!(*error, expected, "{status} {body}"),
            (error, expected) => panic!("{status} {body}: {error:?} is not {expected:?}"),
        }
        assert!(!error.to_string().contains("<token>"));
    }
}

#[tokio::test]
async fn without_the_secret_nobody_is_asked() {
    let service = Service::start(Mode::json("{}")).await;
    let error =
        post_form(&Transport::new(loopback()), &endpoint(&service), &client("gw", None), &[]).await.unwrap_err();
    assert_eq!(error, OAuthError::Call(CallError::Incomplete));
    // As a policy whose Secret is missing compiles.
    let url = service.url("/introspect");
    let missing = authenticator(
        &format!(
            "introspection: {{endpoint: '{url}', client: {{clientID: gw, clientSecretRef: {{name: gone, key: k}}}}}}"
        ),
        "",
    );
    assert!(matches!(&missing.kind, AuthenticatorKind::Introspection(rules) if rules.client.authentication.is_none()));
    assert!(failed(&reply(&cache(), &token(&missing, "opaque")).await).contains("missing"));
    assert!(service.seen().is_empty());
}
