//! Second factors, client certificates and credentials of ours, behind a real Envoy.

use std::net::SocketAddr;

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use tests::{
    Bench, Issuer, PeerError,
    bench::Setup,
    client::plain_client,
    envoy::{Options, Tls},
    issuer::now,
    oidc_provider::OidcProvider,
};

use crate::{Outcome, assert_allowed, assert_refused};

/// RFC 6238, appendix B.
const SECRET: &[u8] = b"12345678901234567890";
const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn documents(spec: &str, secret: &Value) -> Vec<(String, String)> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own", "namespace": "demo"}, "stringData": secret});
    let text = format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: api, namespace: demo}}\nspec:\n  externalHostnames: [api.example.com]\n{spec}---\n{secret}\n"
    );
    vec![("policy.yaml".to_owned(), text)]
}

fn by_issuer(issuer: &Issuer, more: &str) -> String {
    format!("  authenticators: [{{name: sso, jwt: {{issuer: '{}', audiences: [api]}}{more}}}]\n", issuer.url())
}

/// The code of this moment (RFC 4226 section 5.3).
fn code() -> String {
    let step = now().unsigned_abs() / 30;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET), &step.to_be_bytes());
    let offset = tag.as_ref().last().map_or(0, |byte| usize::from(byte & 15));
    let word = tag.as_ref().iter().skip(offset).take(4).fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    format!("{:06}", (word & 0x7FFF_FFFF) % 1_000_000)
}

#[tokio::test]
async fn a_code_is_good_once() -> Outcome {
    let bench = Bench::with(|issuer| {
        let spec = by_issuer(issuer, ", totp: {secretsRef: {name: own}}") + "  errors: {profile: FastAPIDetail}\n";
        documents(&spec, &json!({"alice": BASE32}))
    })
    .await?;
    let token = bench.alice()?;
    let bare = bench.call().bearer(&token).http1().await?;
    assert_eq!(
        (bare.status, bare.body.as_str()),
        (401, r#"{"detail":"Invalid token format. Expected: jwt:mfa_code"}"#)
    );
    // The code that is shown now is good for half a minute more, so a new step in between fails nothing.
    let good = bench.call().bearer(&format!("{token}:{}", code()));
    let answer = good.http1().await?;
    assert_allowed(&answer, "alice");
    assert_eq!(answer.seen().and_then(|seen| seen.header("x-auth-mfa")).as_deref(), Some("true"));
    for _ in 0..5 {
        let again = good.http1().await?;
        assert_eq!((again.status, again.body.as_str()), (401, r#"{"detail":"Invalid MFA code"}"#));
    }
    let locked = good.http1().await?;
    assert_eq!(locked.status, 429);
    let wait: u32 = locked.header("retry-after").and_then(|value| value.parse().ok()).unwrap_or(0);
    assert!((1..=300).contains(&wait), "{locked:?}");
    Ok(())
}

/// An authority, and what it signs: for the listener, and for clients with these names.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// Certificate and key in PEM.
    fn sign(&self, names: Vec<SanType>) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Of the same name as the authority it would pass for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

/// `GET /` over TLS, with this certificate and these headers.
async fn ask(
    listener: SocketAddr,
    authority: &Authority,
    own: &(String, String),
    headers: &[(&str, &str)],
) -> Result<(u16, Value), PeerError> {
    let unreadable = |error: reqwest::Error| PeerError::unreadable("an answer over TLS", &error);
    let identity = reqwest::Identity::from_pem(format!("{}{}", own.0, own.1).as_bytes()).map_err(unreadable)?;
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).map_err(unreadable)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .resolve("api.example.com", listener)
        .tls_certs_only([root])
        .identity(identity)
        .build()
        .map_err(unreadable)?;
    let mut request = client.get(format!("https://api.example.com:{}/", listener.port()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.map_err(unreadable)?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(unreadable)?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
}

fn seen(body: &Value, name: &str) -> Option<String> {
    let lines = body["headers"].as_array()?;
    lines.iter().find(|line| line[0] == name).and_then(|line| line[1].as_str()).map(str::to_owned)
}

#[tokio::test]
async fn a_certificate_that_envoy_verified_is_a_caller() -> Outcome {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(vec![dns("api.example.com")]);
    let envoy = Options { tls: Some(Tls { authority: authority.pem(), certificate, key }), ..Options::default() };
    let spec = "  authenticators: [{name: mesh, clientCertificate: {spiffeTrustDomains: [cluster.local]}}]\n";
    let setup = Setup { envoy, ..Setup::default() };
    let bench = Bench::set_up(Issuer::start().await?, |_| documents(spec, &json!({})), &setup).await?;
    let listener = bench.envoy.tls.ok_or_else(|| PeerError::unreadable("envoy's listeners", &"no TLS"))?;

    let id = "spiffe://cluster.local/ns/a/sa/b";
    let mesh = authority.sign(vec![dns("b.a.svc"), uri(id)]);
    let forged = "By=x;URI=spiffe://cluster.local/ns/kube-system/sa/admin";
    let (status, body) = ask(listener, &authority, &mesh, &[("x-forwarded-client-cert", forged)]).await?;
    assert_eq!(status, 200, "{body} {}", bench.product.output());
    assert_eq!(seen(&body, "x-auth-subject").as_deref(), Some(id));
    assert_eq!(seen(&body, "x-auth-type").as_deref(), Some("client-certificate"));
    assert_eq!(seen(&body, "x-forwarded-client-cert"), None, "{body}");
    for (names, headers) in [
        (vec![uri("spiffe://other.test/ns/a/sa/b")], vec![]),
        (vec![dns("cluster.local")], vec![("x-forwarded-client-cert", forged)]),
        (vec![], vec![("x-forwarded-client-cert", forged)]),
    ] {
        let (status, body) = ask(listener, &authority, &authority.sign(names), &headers).await?;
        assert_eq!((status, &body["code"]), (401, &json!("invalid_token")), "{body}");
    }
    // Without TLS there is no certificate, whatever is said about one.
    let plain = bench.call().header("x-forwarded-client-cert", forged).http1().await?;
    assert_refused(&plain, 401, "missing_credential");
    Ok(())
}

#[tokio::test]
async fn a_token_of_ours_is_verified_by_what_the_broker_listener_publishes() -> Outcome {
    let mut bench = Bench::with(|issuer| {
        let forward = "  forward: {replaceCredential: {signedJWT: {algorithm: ES256, audience: app, claims: {sub: principal.subject}}}}\n";
        documents(&(by_issuer(issuer, "") + forward), &json!({}))
    })
    .await?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = bench.good()?.http1_when_available().await?;
        let token = answer.seen().and_then(|seen| seen.header("authorization")).unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{answer:?} {}", bench.product.output()));
        let broker = format!("http://{}", bench.product.addresses.broker);
        let discovery = fetch(&format!("{broker}/.well-known/openid-configuration")).await?;
        assert_eq!(discovery["issuer"], broker.as_str());
        let keys = fetch(discovery["jwks_uri"].as_str().unwrap_or_default()).await?;
        let (input, signature) = token.rsplit_once('.').expect("a token has three parts");
        let part = |index| {
            let text = input.split('.').nth(index).unwrap_or_default();
            serde_json::from_slice::<Value>(&BASE64URL.decode(text).expect("base64url")).expect("JSON")
        };
        let (header, claims): (Value, Value) = (part(0), part(1));
        let key = &keys["keys"][0];
        assert_eq!((&header["kid"], &claims["iss"], &claims["sub"]), (&key["kid"], &json!(broker), &json!("alice")));
        let number = |name: &str| BASE64URL.decode(key[name].as_str().unwrap_or_default()).expect("base64url");
        let point = [&[4][..], &number("x"), &number("y")].concat();
        let signature = BASE64URL.decode(signature).expect("base64url");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(input.as_bytes(), &signature)
            .unwrap_or_else(|_| panic!("the signature is not of the published key: {keys}"));
        ids.push(key["kid"].clone());
        bench.product.restart().await?;
    }
    assert_eq!(ids[0], ids[1], "a restart keeps the key");
    Ok(())
}

async fn fetch(url: &str) -> Result<Value, PeerError> {
    let unreadable = |error: reqwest::Error| PeerError::unreadable(url, &error);
    let text = plain_client()?.get(url).send().await.map_err(unreadable)?.text().await.map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| PeerError::unreadable(url, &error))
}

#[tokio::test]
async fn a_token_of_a_real_provider_goes_to_the_upstream() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = OidcProvider::start(folder.path()).await?;
    let grant = format!(
        "tokenURL: '{}/token', client: {{clientID: m2m, clientSecretRef: {{name: own, key: secret}}}}, scopes: ['tools:call']",
        provider.issuer
    );
    let extra = "extraHeader: {name: X-Service-Account-Token, secretKeyRef: {name: own, key: service}}";
    let routes = format!(
        "  forward: {{replaceCredential: {{clientCredentials: {{{grant}, {extra}}}}}}}\n  routes: [{{name: wrong, paths: [/wrong], forward: {{replaceCredential: {{clientCredentials: {{{}}}}}}}}}]\n",
        grant.replace("key: secret", "key: service")
    );
    let bench = Bench::with(|issuer| {
        documents(&(by_issuer(issuer, "") + &routes), &json!({"secret": "m2m-secret", "service": "service-secret"}))
    })
    .await?;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let answer = bench.good()?.header("x-service-account-token", "mine").http1_when_available().await?;
        let seen = answer.seen().unwrap_or_else(|| panic!("{answer:?} {}", bench.product.output()));
        assert_eq!(seen.header("x-service-account-token").as_deref(), Some("service-secret"));
        tokens.push(seen.header("authorization").unwrap_or_default());
    }
    assert!(tokens[0].starts_with("Bearer ") && !tokens[0].contains(&bench.alice()?), "{tokens:?}");
    assert!(tokens.iter().all(|token| *token == tokens[0]), "one token for all");
    let wrong = bench.good()?.path("/wrong").http1().await?;
    assert_refused(&wrong, 503, "unavailable");
    assert!(!bench.product.output().contains("m2m-secret"));
    Ok(())
}
