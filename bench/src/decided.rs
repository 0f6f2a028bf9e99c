//! Decisions without a server: policies that differ in their names and hosts, requests that have to pass, and a clock that stands.
//!
//! Owns what `decisions` counts and the benchmark `decide` times.

#![allow(clippy::panic, reason = "for people who measure: it ends where its own documents are wrong")]

use std::error::Error;

use authz::{
    cache::TokenCache,
    decide::{Awaited, Deps, Step, Verdict, decide},
    limits::LocalLimits,
    request::{Headers, RequestView},
    signers::NoKeys,
};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::Snapshot,
};
use serde_json::{Value, json};

use crate::Nothing;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://sso.example.com";
const PATH: &str = "/v1/x?y=1";
const API_KEY: &str = "a-key-of-some-length-that-nobody-has-but-this-program";

/// Policies and what a decision reads beside them.
pub struct World {
    /// The host of each policy.
    pub hosts: Vec<String>,
    snapshot: Snapshot,
    cache: TokenCache,
    limits: LocalLimits,
}

/// A key set, and tokens that it signed.
pub struct Tokens {
    /// The key set, as JSON.
    pub keys: String,
    /// `Authorization` values, all of one length.
    pub authorizations: Vec<String>,
}

// === impl World ===

impl World {
    /// So many policies for tokens of these keys and for API keys. `remember`: bytes of verified tokens that are kept.
    #[must_use]
    pub fn new(keys: &str, policies: usize, remember: u64) -> Self {
        let hosts: Vec<String> = (0..policies).map(|index| format!("h{index}.example.com")).collect();
        let (snapshot, cache) = (snapshot(keys, &hosts), TokenCache::new(remember));
        Self { hosts, snapshot, cache, limits: LocalLimits::default() }
    }

    /// Decides on one request.
    ///
    /// # Panics
    /// It does not pass.
    pub fn allowed(&self, host: &str, authorization: &str) {
        let deps = Deps {
            snapshot: &self.snapshot,
            keys: &Nothing,
            remote: &Nothing,
            tokens: &self.cache,
            signers: &NoKeys,
            limits: &self.limits,
            now_ms: NOW * 1000,
        };
        let mut headers = Headers::with_capacity(10);
        crate::headers(host, PATH).into_iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
        headers.push("authorization", authorization.as_bytes());
        let request = RequestView {
            method: "GET",
            host,
            path: PATH,
            scheme: "http",
            headers,
            source: Some([127, 0, 0, 1].into()),
            proven_peer: true,
            ..RequestView::default()
        };
        match decide(&deps, &request, &Awaited::default()) {
            Step::Done(decision) if matches!(decision.verdict, Verdict::Allow(_)) => {}
            other => panic!("not allowed: {other:?}"),
        }
    }
}

/// The `Authorization` of an API key that every policy knows.
#[must_use]
pub fn api_key() -> String {
    format!("Bearer {API_KEY}")
}

// === impl Tokens ===

impl Tokens {
    /// A new RS256 key and so many tokens.
    ///
    /// # Errors
    /// No key could be made.
    pub fn new(count: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
        let number = |bytes: &[u8]| BASE64URL.encode(bytes);
        let jwk = json!({"kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256",
                         "n": number(modulus.big_endian_without_leading_zero()), "e": number(exponent.big_endian_without_leading_zero())});
        let mut authorizations = Vec::with_capacity(count);
        let groups = ["a-group-of-some-length"; 6];
        for index in 0..count {
            // Of one length: a longer token costs more.
            let claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "email": "alice@example.com", "name": "Alice Example",
                                "iat": NOW, "exp": NOW + 3600, "jti": format!("{index:032}"), "groups": groups});
            let header = json!({"alg": "RS256", "typ": "JWT", "kid": "a"});
            let signed = format!("{}.{}", number(header.to_string().as_bytes()), number(claims.to_string().as_bytes()));
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
            authorizations.push(format!("Bearer {signed}.{}", number(&signature)));
        }
        Ok(Self { keys: json!({"keys": [jwk]}).to_string(), authorizations })
    }
}

/// A policy for each host, for tokens and keys.
fn snapshot(keys: &str, hosts: &[String]) -> Snapshot {
    let sha256 = crds::digest::hex(digest(&SHA256, API_KEY.as_bytes()).as_ref());
    let mut documents = vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys", "namespace": "demo"}, "data": {"jwks": keys}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "people", "namespace": "demo"},
               "stringData": {(sha256): r#"{"sub":"alice"}"#}}),
    ];
    documents.extend(hosts.iter().enumerate().map(|(index, host)| policy(&format!("p{index}"), host)));
    let mut objects = Objects::default();
    objects.read("documents.yaml", &documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"));
    Compiler::new(Options::default(), LastGood::default()).compile(&objects).snapshot
}

fn policy(name: &str, host: &str) -> Value {
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": name, "namespace": "demo"},
           "spec": {"externalHostnames": [host],
               "routes": [{"name": "wide", "paths": ["/v1/{**}"]}, {"name": "one", "paths": ["/v2/{id}"]}, {"name": "exact", "paths": ["/v3/a"]}],
               "authenticators": [
                   {"name": "sso", "jwt": {"issuer": ISSUER, "audiences": ["api"], "jwks": {"configMapKeyRef": {"name": "keys", "key": "jwks"}}}},
                   {"name": "keys", "apiKey": {"sha256": {"secretRef": {"name": "people"}}}}]}})
}
