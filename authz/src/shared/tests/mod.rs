//! Against a real Redis, and against servers that are none.

mod counting;
mod failing;
mod leases;
mod server;
mod tls;

use std::time::Duration;

use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    snapshot::{Entry, LimitId, SharedStore},
};
use tokio::time::Instant;

use super::*;
use crate::{
    limits::{Count, CounterName, LimitKey, Subject, Taken},
    net::Networks,
};

const NOW: i64 = 1_800_000_000_000;
const MINUTE: Duration = Duration::from_mins(1);
/// Longer than any count here takes on a busy machine.
const PATIENT: &str = "timeout: 5s";

/// A replica: its connections, and its metrics.
struct Replica {
    stores: Arc<SharedStores>,
    registry: Registry,
}

impl Replica {
    fn new() -> Self {
        Self::reaching(&["127.0.0.0/8"])
    }

    fn reaching(networks: &[&str]) -> Self {
        let networks = Networks::without_proxy(networks.iter().map(|net| net.parse().unwrap()).collect());
        let mut registry = Registry::default();
        Self { stores: SharedStores::new(networks, &mut registry), registry }
    }

    async fn count(&self, tally: &Tally) -> Tallied {
        self.stores.count(tally, NOW, Instant::now() + Duration::from_secs(30)).await
    }

    /// The count of one counter.
    async fn one(&self, tally: &Tally) -> Option<Taken> {
        self.count(tally).await.map(|all| all[0])
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// How many calls had this outcome.
    fn calls(&self, outcome: &str) -> u64 {
        let ending = format!("outcome=\"{outcome}\"}}");
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with("gatewright_limit_store_calls_total"));
        lines
            .filter_map(|line| line.rsplit_once(' ').filter(|(name, _)| name.ends_with(&ending)))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum()
    }
}

/// The store of a policy that says this about it, with these documents beside.
fn store(spec: &str, beside: &str) -> Arc<SharedStore> {
    let mut objects = Objects::default();
    objects.read(
        "p.yaml",
        &format!(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  externalHostnames: [a.test]\n  requireAuth: false\n  \
             limits: {{store: {{redis: {{{spec}}}}}}}\n---\n{beside}"
        ),
    );
    assert!(objects.unreadable.is_empty(), "{:?}", objects.unreadable);
    let compiled = Compiler::new(Options::default(), LastGood::default()).compile(&objects);
    let Some(Entry::InForce(one)) = compiled.snapshot.by_name("n/p") else { panic!("{:?}", compiled.verdicts) };
    one.policy.rules.limits.store.clone().unwrap()
}

fn secret(name: &str, key: &str, value: &str) -> String {
    let entries = std::collections::BTreeMap::from([(key, value)]);
    serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"}, "stringData": entries})
        .to_string()
}

fn counter(who: &str, rate: u32, window: Duration) -> Count {
    let key = LimitKey { limit: LimitId(7), subject: Subject::Principal(who.into()) };
    Count { name: CounterName::of(&key), rate, window }
}

fn take(store: &Arc<SharedStore>, counts: &[Count]) -> Tally {
    Tally { store: store.clone(), counts: counts.iter().copied().collect(), take: true }
}

/// Waits until it holds. The only place that sleeps.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
