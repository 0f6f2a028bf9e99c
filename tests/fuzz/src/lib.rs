//! What the targets share: a world to decide in, and a request that is written as text so that its corpus can be read and mutated.
//!
//! Owns stand-ins for everything that decides nothing: keys, answers of services, counters. A target asks the product's own functions and
//! states a property of what comes back; it panics where the property does not hold.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use authz::{
    cache::TokenCache,
    decide::{Awaited, Decision, Deps, Step, decide},
    keystore::{KeyState, KeyStore},
    limits::{LimitKey, LimitStore, Taken},
    remote::{AskId, Kept, RemoteStore, Reply},
    request::{Headers, RequestView},
    signers::NoKeys,
};
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::{KeySetId, Snapshot},
};

/// The moment of every target: 2027-01-15T08:00:00Z.
pub const NOW_MS: i64 = 1_800_000_000_000;

/// A policy set, and the one answer that every service gives.
pub struct World {
    pub snapshot: Snapshot,
    tokens: TokenCache,
    answer: Mutex<Option<Arc<Kept>>>,
}

/// Holds no key.
struct NoKeySets;

/// Every question of one world has one answer.
struct Answers<'a>(&'a World);

/// Counts nothing: a target's outcome must depend on its input alone.
struct NoLimits;

/// A request as text: `METHOD PATH`, then a line for each header.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub lines: Vec<(&'a str, &'a [u8])>,
}

// === impl World ===

impl World {
    /// Compiles documents; each of them must be good.
    pub fn new(documents: &str) -> Self {
        let mut objects = Objects::default();
        objects.read("fuzz.yaml", documents);
        assert!(objects.unreadable.is_empty(), "{:?}", objects.unreadable);
        let options = Options { lone_policy_answers_all: true, ..Options::default() };
        let compiled = Compiler::new(options, LastGood::default()).compile(&objects);
        for verdict in &compiled.verdicts {
            let good = !verdict.conditions.is_empty() && verdict.conditions.iter().all(|condition| condition.status);
            assert!(good, "{}: {:?}", verdict.name, verdict.conditions);
        }
        Self { snapshot: compiled.snapshot, tokens: TokenCache::new(1 << 16), answer: Mutex::new(None) }
    }

    /// What services say from now on.
    pub fn answer(&self, reply: Reply) {
        let kept = Kept { reply, until_ms: NOW_MS + 60_000 };
        *self.answer.lock().unwrap() = Some(Arc::new(kept));
    }

    /// Decides; nothing is waited for that is not there.
    pub fn ask(&self, request: &RequestView<'_>) -> Decision {
        self.ask_with(&TokenCache::new(1 << 10), request)
    }

    /// The same, with a token cache that lasts.
    pub fn ask_again(&self, request: &RequestView<'_>) -> Decision {
        self.ask_with(&self.tokens, request)
    }

    fn ask_with(&self, tokens: &TokenCache, request: &RequestView<'_>) -> Decision {
        let remote = Answers(self);
        let deps = Deps {
            snapshot: &self.snapshot,
            keys: &NoKeySets,
            remote: &remote,
            tokens,
            signers: &NoKeys,
            limits: &NoLimits,
            now_ms: NOW_MS,
        };
        match decide(&deps, request, &Awaited::default()) {
            Step::Done(decision) => decision,
            Step::Wait(need) => panic!("waits for {need:?}"),
        }
    }
}

impl KeyStore for NoKeySets {
    fn state(&self, _: &KeySetId) -> KeyState {
        KeyState::default()
    }
}

impl RemoteStore for Answers<'_> {
    fn kept(&self, _: &AskId) -> Option<Arc<Kept>> {
        self.0.answer.lock().unwrap().clone()
    }
}

impl LimitStore for NoLimits {
    fn take(&self, _: LimitKey, rate: u32, _: Duration, _: i64) -> Taken {
        Taken { allowed: true, remaining: rate, resets_ms: NOW_MS }
    }

    fn look(&self, _: &LimitKey, rate: u32, _: Duration, _: i64) -> Taken {
        Taken { allowed: true, remaining: rate, resets_ms: NOW_MS }
    }
}

// === impl Request ===

impl<'a> Request<'a> {
    /// Reads one; whatever is no line of a header is left out. Names are what Envoy lets through: lower-case tokens.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let mut rows = text.split(|byte| *byte == b'\n');
        let first = str::from_utf8(rows.next()?).ok()?;
        let (method, path) = first.split_once(' ')?;
        let lines = rows.filter_map(|row| {
            let colon = row.iter().position(|byte| *byte == b':')?;
            let name = str::from_utf8(&row[..colon]).ok().filter(|name| is_name(name))?;
            let value = row[colon + 1..].trim_ascii();
            // Envoy refuses these in any header before it asks anybody.
            (!value.iter().any(|byte| matches!(byte, 0 | b'\r'))).then_some((name, value))
        });
        let lines = lines.take(64).collect();
        Some(Self { method, path, lines })
    }

    /// As the decision sees it.
    pub fn view(&self) -> RequestView<'a> {
        let mut headers = Headers::default();
        self.lines.iter().for_each(|(name, value)| headers.push(name, value));
        RequestView {
            method: self.method,
            host: "a.test",
            path: self.path,
            scheme: "https",
            headers,
            proven_peer: true,
            ..RequestView::default()
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token)
}

/// A byte of a header's name in lower case (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What a client sent, written once more: its own bytes, but nothing that ends or breaks a line.
pub fn assert_written_back(name: &str, value: &str) {
    assert!(!value.chars().any(char::is_control), "{name}: {value:?} cannot be sent");
}

/// A name that HTTP/2 sends, with a value of ours.
pub fn assert_header(name: &str, value: &str) {
    assert!(is_name(name), "{name:?} is no header's name");
    assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?} cannot be sent");
    assert_eq!(value.trim_ascii(), value, "{name}: a blank at an end is lost on the way");
}
