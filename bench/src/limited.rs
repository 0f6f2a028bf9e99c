//! `limited`: prints what a local limit costs a decision, in nanoseconds, for policies that differ in their limits only.
//!
//! Owns the policies, which are decided on in turn in one run. Asserts nothing: a machine that is slow today is no defect.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for people who measure: it prints, and ends where its own documents are wrong"
)]

use std::time::Instant;

use authz::{
    cache::TokenCache,
    decide::{Awaited, Deps, Step, Verdict, decide},
    limits::LocalLimits,
    request::{Headers, RequestView},
    signers::NoKeys,
};
use bench::Nothing;
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::Snapshot,
};

/// SHA-256 of `key`.
const DIGEST: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
const ROUNDS: usize = 40;
const DECISIONS: u32 = 20_000;

fn snapshot(limits: &str) -> Snapshot {
    let mut objects = Objects::default();
    objects.read(
        "p.yaml",
        &format!(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  externalHostnames: [a.test]\n  \
             authenticators: [{{name: keys, apiKey: {{sha256: {{secretRef: {{name: keys}}}}}}}}]\n  {limits}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: n}}\nstringData: {{{DIGEST}: '{{\"sub\":\"alice\"}}'}}\n"
        ),
    );
    Compiler::new(Options::default(), LastGood::default()).compile(&objects).snapshot
}

/// One policy with everything that a decision reads.
struct World {
    name: &'static str,
    snapshot: Snapshot,
    tokens: TokenCache,
    limits: LocalLimits,
    nanoseconds: Vec<f64>,
}

impl World {
    fn round(&mut self) {
        let begun = Instant::now();
        for number in 0..DECISIONS {
            let mut headers = Headers::default();
            headers.push("authorization", b"Bearer key");
            let request = RequestView {
                method: "GET",
                host: "a.test",
                path: "/v1/x?y=1",
                scheme: "https",
                headers,
                source: Some([192, 0, 2, 1].into()),
                proven_peer: true,
                ..RequestView::default()
            };
            let deps = Deps {
                snapshot: &self.snapshot,
                keys: &Nothing,
                remote: &Nothing,
                tokens: &self.tokens,
                signers: &NoKeys,
                limits: &self.limits,
                now_ms: 1_800_000_000_000 + i64::from(number),
            };
            match decide(&deps, &request, &Awaited::default()) {
                Step::Done(decision) if matches!(decision.verdict, Verdict::Allow(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        self.nanoseconds.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS));
    }

    fn median(&self) -> f64 {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

fn main() {
    let mut worlds: Vec<World> = [
        ("no limit", ""),
        ("by Global", "limits: {requests: {rate: 1000000, window: 1s, by: Global}}"),
        ("by IP", "limits: {requests: {rate: 1000000, window: 1s, by: IP}}"),
        ("by Principal", "limits: {requests: {rate: 1000000, window: 1s, by: Principal}}"),
        ("failures", "limits: {failedAuthentications: {rate: 10, window: 60s}}"),
    ]
    .into_iter()
    .map(|(name, limits)| World {
        name,
        snapshot: snapshot(limits),
        tokens: TokenCache::new(1 << 20),
        limits: LocalLimits::default(),
        nanoseconds: Vec::new(),
    })
    .collect();
    for _ in 0..ROUNDS {
        worlds.iter_mut().for_each(World::round);
    }
    let least = worlds[0].median();
    println!("{:<14} {:>10} {:>10}", "limits", "ns", "more");
    for world in &worlds {
        println!("{:<14} {:>10.0} {:>10.0}", world.name, world.median(), world.median() - least);
    }
}
