//! Counters of questions. Labels are fixed words: neither a policy nor a service becomes one.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    outcome: &'static str,
}

/// Questions by kind and outcome, and those under way.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    calls: Family<Labels, Counter>,
    underway: Gauge,
}

/// Counts a question as under way until it is dropped.
pub(super) struct Underway(Gauge);

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { calls: Family::default(), underway: Gauge::default() };
        registry.register(
            "gatewright_service_calls",
            "Questions to other services, by kind and outcome",
            metrics.calls.clone(),
        );
        registry.register(
            "gatewright_service_calls_in_flight",
            "Questions to other services that wait for their answer",
            metrics.underway.clone(),
        );
        metrics
    }

    pub(super) fn answered(&self, kind: &'static str, outcome: &'static str) {
        self.calls.get_or_create(&Labels { kind, outcome }).inc();
    }

    pub(super) fn underway(&self) -> Underway {
        self.underway.inc();
        Underway(self.underway.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.dec();
    }
}
