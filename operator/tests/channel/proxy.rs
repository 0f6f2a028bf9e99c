//! Proxies ask over TLS; only those that proved themselves are given secrets and believed about policies.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use authz::{
    cache::TokenCache,
    jwks::{self, KeyCache},
    net::Networks,
    remote::calls::{self, RemoteCache},
    server::{self, Address, CheckOptions, CheckService, Metrics, Registry, Serving},
    shared::SharedStores,
};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};
use operator::push::{Proxies, Standing};
use rcgen::CertificateParams;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::{
    raw::{Pair, sign},
    world::{Api, DataPlane, Operator, Start, policy, secret, until},
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Serves decisions of a data plane on an address of this machine that is not loopback, so that only certificates prove anything.
async fn listen(plane: &DataPlane) -> Option<SocketAddr> {
    let address = Address::Tcp(SocketAddr::new(outer_address()?, 0));
    let keys = KeyCache::new(jwks::Options::default(), &mut Registry::default()).unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    let tokens = Arc::new(TokenCache::new(1 << 20));
    let handle = tokio::runtime::Handle::current();
    let remote = RemoteCache::new(calls::Options::default(), &mut Registry::default(), handle);
    let stores = SharedStores::new(Networks::default(), &mut Registry::default());
    let service =
        CheckService::new(plane.snapshots.clone(), keys, remote, stores, tokens, metrics, CheckOptions::default());
    service.note_peers(plane.peers.clone());
    let config = plane.credentials.borrow().as_ref().unwrap().server_config().unwrap();
    let bound = server::bind(&address).await.unwrap().secured(Arc::new(ArcSwap::new(config)));
    let Address::Tcp(address) = *bound.address() else { return None };
    tokio::spawn(server::serve(bound, service, Serving::default()));
    Some(address)
}

/// The address by which this machine would leave; no packet is sent.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

async fn ask(
    operator: &Operator,
    address: SocketAddr,
    pair: Option<&Pair>,
    extensions: &[(&str, &str)],
) -> CheckResponse {
    let authorities = operator.identity.ca_bundle().borrow().to_string();
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authorities))
        .domain_name("gatewright-authz.gatewright.svc");
    if let Some(Pair { certificate, key }) = pair {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let mut client = AuthorizationClient::new(endpoint.connect().await.unwrap());
    let headers = [("authorization".to_owned(), format!("Bearer {}", token()))];
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "x.test".to_owned(),
        path: "/".to_owned(),
        headers: headers.into(),
        ..HttpRequest::default()
    };
    let extensions = extensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let attributes = AttributeContext {
        request: Some(Request { http: Some(http), ..Request::default() }),
        context_extensions: extensions.collect(),
        ..AttributeContext::default()
    };
    let request = CheckRequest { attributes: Some(attributes) };
    client.check(request).await.unwrap().into_inner()
}

fn status(response: &CheckResponse) -> i32 {
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied.status.as_ref().map_or(0, |status| status.code),
        Some(HttpResponse::OkResponse(_)) => 200,
        _ => 0,
    }
}

/// A token that the policy's static key signed.
fn token() -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(r#"{"sub":"me","exp":4102444800}"#));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_proxy_that_proved_itself_is_given_secrets_and_believed() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    let secretive = ", authenticators: [{name: app, jwt: {audienceCheck: Disabled, keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}], \
        forward: {replaceCredential: {static: {header: X-API-Key, secretKeyRef: {name: app, key: other}}}}";
    operator.publish(&[
        policy("a", "secretive", "x.test", secretive),
        policy("a", "open", "y.test", ", requireAuth: false"),
        secret("a", KEY),
    ]);
    plane.holds(&["a/open", "a/secretive"]).await;
    let address = listen(&plane).await.expect("this machine has an address besides loopback");
    let proxies = || operator.push.standings().proxies["a/secretive"].clone();
    operator.stands("a/secretive", &Standing::Programmed { replicas: 1 }).await;
    assert_eq!(proxies(), Proxies::default(), "nobody asked yet");

    let proxy = operator.identity.client_certificate("edge").unwrap();
    let proxy = Pair { certificate: proxy.certificate, key: proxy.key };
    let answer = ask(&operator, address, Some(&proxy), &[]).await;
    assert_eq!(status(&answer), 200, "{answer:?}");
    assert!(format!("{answer:?}").contains("not-for-anybody"), "the replaced credential is set");
    until("a proxy is known that proved itself", || proxies() == Proxies { proved: true, strangers: BTreeSet::new() })
        .await;
    // A stranger, and a data plane of anybody's: any pod may have such a certificate.
    let pod = sign(&operator, "gatewright-operator b thief thief-0", CertificateParams::default()).await.unwrap();
    for pair in [None, Some(&pod)] {
        let answer = ask(&operator, address, pair, &[]).await;
        assert_eq!(status(&answer), 503, "{answer:?}");
        assert!(!format!("{answer:?}").contains("not-for-anybody"));
    }
    // The operator hears of the stranger, and of the policy that it could not have all of.
    let strangers = BTreeSet::from([address.ip()]);
    until("a stranger is known", || proxies() == Proxies { proved: true, strangers: strangers.clone() }).await;
    assert_eq!(operator.push.standings().proxies["a/open"].strangers, BTreeSet::new());
    // The policy that a route names.
    let named = [("gatewright.dev/policy", "a/open")];
    assert!(!format!("{:?}", ask(&operator, address, Some(&proxy), &named).await).contains("not-for-anybody"));
    assert_eq!(status(&ask(&operator, address, Some(&proxy), &named).await), 200);
    assert_eq!(status(&ask(&operator, address, None, &named).await), 503, "not believed: its host's policy decides");

    // A data plane that starts has met nobody: that a proxy can prove itself is known all the same.
    plane.stop().await;
    until("it left", || operator.push.standings().replicas == 0).await;
    let plane = Start::own("authz-1").run(&operator);
    plane.holds(&["a/open", "a/secretive"]).await;
    operator.stands("a/secretive", &Standing::Programmed { replicas: 1 }).await;
    assert_eq!(proxies(), Proxies { proved: true, strangers: BTreeSet::new() });
}
