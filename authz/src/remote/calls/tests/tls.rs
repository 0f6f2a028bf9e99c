//! Whom we believe over TLS, and who we are: authorities and certificates of the policy, for services and for issuers.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority of our own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key, both in PEM.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Settings of a service of this name; with `clients`, only for those whose certificate that authority signed.
pub(super) fn config(authority: &Authority, name: &str, clients: Option<&Authority>) -> ServerConfig {
    let (certificate, key) = authority.issue(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
}

/// A service over TLS that answers every connection with this.
async fn serve(authority: &Authority, name: &str, clients: Option<&Authority>, body: String) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config(authority, name, clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, body) = (acceptor.clone(), body.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

pub(super) fn document(kind: &str, name: &str, data: &serde_json::Value) -> String {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n"}, field: data}).to_string()
        + "\n---\n"
}

const GOOD: &str = r#"{"authenticated":true,"claims":{"sub":"alice"},"sub":"alice"}"#;

#[tokio::test]
async fn only_the_policys_authorities_are_believed() {
    let (own, other) = (Authority::new(), Authority::new());
    let address = serve(&own, "127.0.0.1", None, GOOD.to_owned()).await;
    let misnamed = serve(&own, "other.test", None, GOOD.to_owned()).await;
    let documents = document("ConfigMap", "own", &json!({"ca.crt": own.pem()}))
        + &document("ConfigMap", "both", &json!({"ca.crt": other.pem() + &own.pem()}))
        + &document("ConfigMap", "other", &json!({"ca.crt": other.pem()}))
        + &document(
            "ConfigMap",
            "bad",
            &json!({"ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
        );
    let bundle = |name: &str| format!(", caBundleRef: {{configMapKeyRef: {{name: {name}, key: ca.crt}}}}");
    for (address, bundle, expected) in [
        (address, bundle("own"), Ok("alice")),
        (address, bundle("both"), Ok("alice")),
        (address, bundle("other"), Err("the TLS handshake with the service failed")),
        (address, String::new(), Err("the TLS handshake with the service failed")),
        (address, bundle("bad"), Err("a Secret or ConfigMap that is needed to ask the service is missing")),
        (address, bundle("gone"), Err("a Secret or ConfigMap that is needed to ask the service is missing")),
        (misnamed, bundle("own"), Err("the TLS handshake with the service failed")),
    ] {
        let info = authenticator(&format!("userInfo: {{endpoint: 'https://{address}/'{bundle}}}"), &documents);
        let hook = authenticator(&format!("webhook: {{url: 'https://{address}/'{bundle}}}"), &documents);
        for question in [token(&info, "opaque"), credential(&hook, "opaque")] {
            let answer = reply(&cache(), &question).await;
            match expected {
                Ok(expected) => assert_eq!(subject(&answer), Some(expected), "{bundle}: {answer:?}"),
                Err(expected) => assert_eq!(failed(&answer), expected, "{bundle}"),
            }
        }
    }
}

#[tokio::test]
async fn our_certificate_is_shown_where_one_is_wanted() {
    let (own, clients) = (Authority::new(), Authority::new());
    let address = serve(&own, "127.0.0.1", Some(&clients), GOOD.to_owned()).await;
    let (certificate, key) = clients.issue("gateway.test");
    let (stranger, stranger_key) = own.issue("stranger.test");
    let pair = |name: &str, certificate: &str, key: &str| {
        document("Secret", name, &json!({"tls.crt": certificate, "tls.key": key}))
    };
    let documents = document("ConfigMap", "own", &json!({"ca.crt": own.pem()}))
        + &pair("good", &certificate, &key)
        + &pair("stranger", &stranger, &stranger_key)
        + &pair("mixed", &certificate, &stranger_key)
        + &pair("keyless", &certificate, &certificate);
    let certificate = |name: &str| format!(", clientCertificateRef: {{name: {name}}}");
    let missing = "a Secret or ConfigMap that is needed to ask the service is missing";
    for (more, expected) in [
        (certificate("good"), None),
        (String::new(), Some("")),
        (certificate("stranger"), Some("")),
        (certificate("mixed"), Some("there is no client for the service; its certificates cannot be used")),
        (certificate("keyless"), Some(missing)),
        (certificate("gone"), Some(missing)),
    ] {
        let kind = format!(
            "webhook: {{url: 'https://{address}/', caBundleRef: {{configMapKeyRef: {{name: own, key: ca.crt}}}}{more}}}"
        );
        let answer = reply(&cache(), &credential(&authenticator(&kind, &documents), "opaque")).await;
        match expected {
            None => assert_eq!(subject(&answer), Some("alice"), "{more}: {answer:?}"),
            Some("") => assert!(!failed(&answer).is_empty(), "{more}"),
            Some(expected) => assert_eq!(failed(&answer), expected, "{more}"),
        }
    }
}

#[tokio::test]
async fn keys_of_an_issuer_come_from_whom_the_policy_believes() {
    use crate::{
        jwks::{self, KeyCache},
        jwt::testkit::P256,
        keystore::KeyStore,
    };
    let (own, other) = (Authority::new(), Authority::new());
    let address = serve(&own, "127.0.0.1", None, json!({"keys": [P256.jwk()]}).to_string()).await;
    let documents = document("ConfigMap", "own", &json!({"ca.crt": own.pem()}))
        + &document("ConfigMap", "other", &json!({"ca.crt": other.pem()}));
    for (name, found) in [("own", true), ("other", false)] {
        let text = format!(
            "{documents}apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  authenticators: [{{name: sso, jwt: {{issuer: 'https://{address}', jwksURI: 'https://{address}/keys', audiences: [a], caBundleRef: {{configMapKeyRef: {{name: {name}, key: ca.crt}}}}}}}}]\n"
        );
        let mut objects = Objects::default();
        objects.read("p.yaml", &text);
        let options =
            CompileOptions { lone_policy_answers_all: true, fallback_namespace: None, ..CompileOptions::default() };
        let compiled = Compiler::new(options, LastGood::default()).compile(&objects);
        let options = jwks::Options { networks: loopback(), ..jwks::Options::default() };
        let keys = KeyCache::new(options, &mut Registry::default()).unwrap();
        let sets = compiled.snapshot.key_sets().to_vec();
        let id = sets[0].id.clone();
        keys.sync(sets);
        if found {
            tokio::time::timeout(Duration::from_secs(30), keys.fetched_once()).await.unwrap();
        } else {
            // The first fetch has failed when somebody is told so.
            let failing = async {
                while !keys.state(&id).failing {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), failing).await.unwrap();
        }
        assert_eq!(keys.state(&id).keys.is_some(), found, "{name}");
        keys.shutdown().await;
    }
}
