//! `decisions`: makes the same decision many times, so that `bench/instructions` can count what one costs, and says how long one took.
//!
//! Owns policies that differ in their names and hosts, and the requests. Two steps, because making a key takes another number of instructions each time:
//!
//! ```text
//! decisions prepare FILE N     a key set, then N RS256 tokens that it signed, one a line
//! decisions KIND FILE N        reads all of FILE, then decides N times, with --policies for the hosts of so many policies in turn
//! ```

#![allow(clippy::panic, reason = "a program for people who measure: it ends where its own documents are wrong")]

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

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
use bench::Nothing;
use clap::{Parser, ValueEnum};
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::Snapshot,
};
use mimalloc::MiMalloc;
use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

// As in the product: what it costs to allocate is part of a decision.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://sso.example.com";
const PATH: &str = "/v1/x?y=1";
const API_KEY: &str = "a-key-of-some-length-that-nobody-has-but-this-program";

/// Decide many times.
#[derive(Parser)]
struct Args {
    /// What is decided, or what makes FILE.
    kind: Kind,
    /// A key set and tokens.
    file: PathBuf,
    /// How many tokens, or how many decisions.
    count: usize,
    /// How many policies there are.
    #[arg(long, default_value_t = 1)]
    policies: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Makes FILE.
    Prepare,
    /// A token that was verified before.
    Warm,
    /// Tokens that come for the first time.
    Cold,
    /// An API key.
    Key,
}

fn main() -> Result<(), Failure> {
    let Args { kind, file, count, policies } = Args::parse();
    if matches!(kind, Kind::Prepare) {
        return Ok(fs::write(file, prepare(count)?)?);
    }
    let text = fs::read_to_string(file)?;
    let (keys, tokens) = text.split_once('\n').ok_or("the file holds no key set")?;
    let mut authorizations: Vec<String> = tokens.lines().map(|token| format!("Bearer {token}")).collect();
    match kind {
        Kind::Cold if authorizations.len() < count => return Err("the file holds fewer tokens".into()),
        Kind::Warm => authorizations.truncate(1),
        Kind::Key => authorizations = vec![format!("Bearer {API_KEY}")],
        Kind::Cold | Kind::Prepare => {}
    }
    let hosts: Vec<String> = (0..policies).map(|index| format!("h{index}.example.com")).collect();
    let (snapshot, cache, limits) = (snapshot(keys, &hosts), TokenCache::new(32 << 20), LocalLimits::default());
    let deps = Deps {
        snapshot: &snapshot,
        keys: &Nothing,
        remote: &Nothing,
        tokens: &cache,
        signers: &NoKeys,
        limits: &limits,
        now_ms: NOW * 1000,
    };
    let requests = || authorizations.iter().cycle().zip(hosts.iter().cycle());
    // Of what has to be known before, each once and not measured.
    if policies > 1 {
        requests().take(policies).for_each(|(authorization, host)| allowed(&deps, host, authorization));
    }
    let began = Instant::now();
    requests().take(count).for_each(|(authorization, host)| allowed(&deps, host, authorization));
    let nanoseconds = began.elapsed().as_nanos() / u128::try_from(count.max(1))?;
    writeln!(io::stdout(), "{nanoseconds} ns a decision")?;
    Ok(())
}

/// Decides on one request, which has to pass.
fn allowed(deps: &Deps<'_>, host: &str, authorization: &str) {
    let mut headers = Headers::with_capacity(10);
    bench::headers(host, PATH).into_iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
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
    match decide(deps, &request, &Awaited::default()) {
        Step::Done(decision) if matches!(decision.verdict, Verdict::Allow(_)) => {}
        other => panic!("not allowed: {other:?}"),
    }
}

/// A policy for each host, for tokens and keys.
fn snapshot(keys: &str, hosts: &[String]) -> Snapshot {
    let sha256 = hex(digest(&SHA256, API_KEY.as_bytes()).as_ref());
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

fn prepare(count: usize) -> Result<String, Failure> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
    let number = |bytes: &[u8]| BASE64URL.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256",
                     "n": number(modulus.big_endian_without_leading_zero()), "e": number(exponent.big_endian_without_leading_zero())});
    let mut lines = vec![json!({"keys": [jwk]}).to_string()];
    let groups = ["a-group-of-some-length"; 6];
    for index in 0..count {
        // Of one length: a longer token costs more.
        let claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "email": "alice@example.com", "name": "Alice Example",
                            "iat": NOW, "exp": NOW + 3600, "jti": format!("{index:032}"), "groups": groups});
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": "a"});
        let signed = format!("{}.{}", number(header.to_string().as_bytes()), number(claims.to_string().as_bytes()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        lines.push(format!("{signed}.{}", number(&signature)));
    }
    Ok(lines.join("\n"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
