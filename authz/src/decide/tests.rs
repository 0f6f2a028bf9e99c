//! Ring 0 of the decision: real documents, real signatures, no socket. Locks the order of steps and what reaches the upstream.

mod answers;
mod authorization;
mod basics;
mod certificates;
mod clock;
mod confusion;
mod connections;
mod credentials;
mod every_kind;
mod failures;
mod granted;
mod keys;
mod lifetime;
mod limits;
mod memory;
mod places;
mod replace;
mod second_factor;
mod service_accounts;
mod services;
mod shared_limits;
mod standing;
mod together;

use std::collections::HashMap;

use crds::{
    algorithm::Algorithm,
    code::Code,
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::Snapshot,
};

use super::*;
use crate::{
    cache::TokenCache,
    factors::LocalFactors,
    jwt::testkit::{ED25519, P256, ROGUE_P256, TestKey, header, set as key_set, with},
    keystore::KeyState,
    limits::LocalLimits,
    request::Headers,
    signers::OwnKeys,
};

const NOW_MS: i64 = 1_800_000_000_000;
const ISSUER: &str = "https://sso.test";
const CLUSTER: &str = "https://kubernetes.default.svc";

/// A world of one policy set, one signing key and a switchable key store.
struct World {
    snapshot: Snapshot,
    tokens: TokenCache,
    limits: LocalLimits,
    factors: LocalFactors,
    signers: Arc<OwnKeys>,
    store: Store,
    services: Services,
    signer: &'static TestKey,
}

#[derive(Default)]
struct Store {
    sets: HashMap<String, KeyState>,
}

impl KeyStore for Store {
    fn state(&self, id: &KeySetId) -> KeyState {
        self.sets.get(id.0.split('\n').next().unwrap_or_default()).cloned().unwrap_or_default()
    }
}

/// Answers that are kept, whatever the question of that name was.
#[derive(Default)]
struct Services {
    kept: std::sync::Mutex<HashMap<AskId, Arc<Kept>>>,
}

impl RemoteStore for Services {
    fn kept(&self, id: &AskId) -> Option<Arc<Kept>> {
        self.kept.lock().unwrap().get(id).cloned()
    }
}

impl World {
    fn new(text: &str) -> Self {
        let mut objects = Objects::default();
        objects.read("p.yaml", text);
        assert!(objects.unreadable.is_empty(), "{:?}", objects.unreadable);
        let options = Options { lone_policy_answers_all: true, fallback_namespace: None, ..Options::default() };
        let compiled = Compiler::new(options, LastGood::default()).compile(&objects);
        let mut world = Self {
            snapshot: compiled.snapshot,
            tokens: TokenCache::new(1 << 20),
            limits: LocalLimits::default(),
            factors: LocalFactors::default(),
            signers: OwnKeys::open(None, "http://127.0.0.1:9002"),
            store: Store::default(),
            services: Services::default(),
            signer: &P256,
        };
        world.keys(ISSUER, true, false, false);
        world.cluster_keys(true, false, false);
        world
    }

    fn keys(&mut self, issuer: &str, known: bool, refreshable: bool, failing: bool) {
        let keys = known.then(|| Arc::new(key_set(&[self.signer.jwk()])));
        self.store.sets.insert(issuer.to_owned(), KeyState { keys, refreshable, failing, issuer: None });
    }

    /// The keys of the cluster: the same as the issuer's, so that only the issuer tells their tokens apart.
    fn cluster_keys(&mut self, known: bool, refreshable: bool, failing: bool) {
        self.keys("", known, refreshable, failing);
        if let Some(state) = self.store.sets.get_mut("").filter(|_| known) {
            state.issuer = Some(CLUSTER.into());
        }
    }

    fn token(&self, claims: serde_json::Value) -> String {
        token_of(self.signer, Algorithm::ES256, claims)
    }

    fn step(&self, request: &Ask<'_>, awaited: &Awaited, now_ms: i64) -> Step {
        let mut headers = Headers::default();
        request.headers.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
        let view = RequestView {
            method: request.method,
            host: request.host,
            path: request.path,
            scheme: "https",
            headers,
            source: request.source,
            certificate: request.certificate,
            policy: None,
            forced_external: request.forced_external,
            proven_peer: request.proven_peer,
        };
        decide(
            &Deps {
                snapshot: &self.snapshot,
                keys: &self.store,
                remote: &self.services,
                tokens: &self.tokens,
                signers: &*self.signers,
                limits: &self.limits,
                now_ms,
            },
            &view,
            awaited,
        )
    }

    fn ask(&self, request: &Ask<'_>) -> Decision {
        match self.step(request, &Awaited::default(), NOW_MS) {
            Step::Done(decision) => decision,
            Step::Wait(need) => panic!("waits for {need:?}"),
        }
    }
}

fn token_of(signer: &TestKey, algorithm: Algorithm, claims: serde_json::Value) -> String {
    let claims = with(serde_json::json!({"iss": ISSUER, "aud": "api", "exp": NOW_MS / 1000 + 600}), claims);
    signer.token(algorithm, &header(algorithm).to_string(), claims.to_string())
}

struct Ask<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    source: Option<std::net::IpAddr>,
    certificate: Option<&'a str>,
    forced_external: bool,
    proven_peer: bool,
}

fn get<'a>(path: &'a str, headers: &[(&'a str, &'a str)]) -> Ask<'a> {
    Ask {
        method: "GET",
        host: "a.test",
        path,
        headers: headers.to_vec(),
        source: None,
        certificate: None,
        forced_external: false,
        proven_peer: true,
    }
}

fn code(decision: &Decision) -> Result<(), Code> {
    match &decision.verdict {
        Verdict::Allow(_) | Verdict::Answer(_) => Ok(()),
        Verdict::Deny(deny) => Err(deny.code),
    }
}

fn changes(decision: &Decision) -> &HeaderChanges {
    match &decision.verdict {
        Verdict::Allow(changes) => changes,
        other => panic!("{other:?}"),
    }
}

fn set<'a>(decision: &'a Decision, name: &str) -> Option<&'a str> {
    changes(decision).set_headers().iter().find(|(own, _)| **own == *name).map(|(_, value)| &**value)
}

fn removed(decision: &Decision, name: &str) -> bool {
    changes(decision).removed_headers().iter().any(|own| **own == *name)
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  externalHostnames: [a.test]\n  \
         authenticators: [{{name: sso, jwt: {{issuer: '{ISSUER}', audiences: [api]}}}}]\n  {}\n",
        spec.replace('\n', "\n  ")
    )
}
