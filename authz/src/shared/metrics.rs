//! Counters of shared stores. Labels are fixed words: neither a policy nor a store becomes one.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Seconds; a store beside us answers in the first, and no request waits for the last.
const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    outcome: &'static str,
}

/// Counts by kind and outcome, their time, and how connections fare.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    calls: Family<CallLabels, Counter>,
    seconds: Histogram,
    connections: Family<ConnectionLabels, Counter>,
    up: Gauge,
}

/// Counts a store as up until it is dropped.
pub(super) struct Up(Gauge);

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            seconds: Histogram::new(BUCKETS),
            connections: Family::default(),
            up: Gauge::default(),
        };
        // There from the start, so that an alert on an increase sees the first one.
        for kind in ["count", "look", "code", "lease", "report"] {
            metrics.calls.get_or_create(&CallLabels { kind, outcome: "ok" }).inc_by(0);
        }
        metrics.connections.get_or_create(&ConnectionLabels { outcome: "ok" }).inc_by(0);
        registry.register(
            "gatewright_limit_store_calls",
            "Counts in shared stores, by kind and outcome",
            metrics.calls.clone(),
        );
        registry.register(
            "gatewright_limit_store_seconds",
            "How long a count in a shared store took, whatever came of it",
            metrics.seconds.clone(),
        );
        registry.register(
            "gatewright_limit_store_connections",
            "Attempts to connect to shared stores, by outcome",
            metrics.connections.clone(),
        );
        registry.register("gatewright_limit_stores_up", "Shared stores that are connected", metrics.up.clone());
        metrics
    }

    pub(super) fn called(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { kind, outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn connected(&self, outcome: &'static str) {
        self.connections.get_or_create(&ConnectionLabels { outcome }).inc();
    }

    pub(super) fn up(&self) -> Up {
        self.up.inc();
        Up(self.up.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.dec();
    }
}
