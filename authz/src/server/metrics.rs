//! Counters of the decision path. Labels are fixed words: nothing a client sends becomes one.

use std::{sync::Arc, time::Duration};

use crds::code::Code;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::latency::Latency;
use crate::decide::{Decision, Told};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    decision: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabel {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    kind: &'static str,
}

/// Handles resolved once, so that a request adds to an atomic and looks nothing up.
#[derive(Debug, Clone)]
pub struct Metrics {
    allowed: Counter,
    refused: Arc<[(Code, Counter)]>,
    audited: Arc<[(Code, Counter)]>,
    took_allowed: Latency,
    took_refused: Latency,
    took_audited: Latency,
    remembered: Counter,
    verified: Counter,
    /// Checks that wait for somebody.
    pub(super) in_flight: Gauge,
    /// Checks answered with `overloaded` without being decided.
    pub(super) shed: Counter,
    /// Panics that were caught and answered with a refusal.
    pub(super) panics: Counter,
    /// Checks whose wait ended at the deadline.
    pub(super) deadlines: Counter,
    leases: Family<LeaseLabels, Counter>,
    reports: Family<ReportLabels, Counter>,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything. Every series is there from the start, so that an alert on an increase sees the first one.
    pub fn register(registry: &mut Registry) -> Self {
        let checks = Family::<CheckLabels, Counter>::default();
        let counter = |decision, reason| checks.get_or_create(&CheckLabels { decision, reason }).clone();
        let durations = Family::<DecisionLabel, Latency>::default();
        let took = |decision| durations.get_or_create(&DecisionLabel { decision }).clone();
        let metrics = Self {
            allowed: counter("allow", ""),
            refused: Code::ALL.into_iter().map(|code| (code, counter("deny", code.as_str()))).collect(),
            audited: Code::ALL.into_iter().map(|code| (code, counter("audit", code.as_str()))).collect(),
            took_allowed: took("allow"),
            took_refused: took("deny"),
            took_audited: took("audit"),
            remembered: Counter::default(),
            verified: Counter::default(),
            in_flight: Gauge::default(),
            shed: Counter::default(),
            panics: Counter::default(),
            deadlines: Counter::default(),
            leases: Family::default(),
            reports: Family::default(),
        };
        for outcome in ["granted", "full", "unknown"] {
            metrics.leases.get_or_create(&LeaseLabels { outcome }).inc_by(0);
        }
        for kind in ["alive", "ended", "skipped"] {
            metrics.reports.get_or_create(&ReportLabels { kind }).inc_by(0);
        }
        registry.register(
            "gatewright_connection_leases",
            "Handshakes under a limit of connections, by what came of them",
            metrics.leases.clone(),
        );
        registry.register("gatewright_connection_reports", "What proxies told of connections", metrics.reports.clone());
        registry.register("gatewright_checks", "Checks answered, by decision and reason", checks);
        registry.register_with_unit(
            "gatewright_check_duration",
            "Time from a check's arrival to its decision, waits included",
            Unit::Seconds,
            durations,
        );
        registry.register(
            "gatewright_token_cache_hits",
            "Credentials that were verified before and are remembered",
            metrics.remembered.clone(),
        );
        registry.register(
            "gatewright_token_cache_misses",
            "Credentials that had to be verified, good or not",
            metrics.verified.clone(),
        );
        registry.register("gatewright_checks_in_flight", "Checks that wait for somebody", metrics.in_flight.clone());
        registry.register(
            "gatewright_checks_shed",
            "Checks refused because too many were under way",
            metrics.shed.clone(),
        );
        registry.register("gatewright_check_panics", "Panics caught while deciding", metrics.panics.clone());
        registry.register(
            "gatewright_check_deadlines",
            "Checks that ended at their deadline while waiting",
            metrics.deadlines.clone(),
        );
        metrics
    }

    /// Counts a decision that took this long.
    pub(super) fn decided(&self, decision: &Decision, took: Duration) {
        let (counter, latency) = match decision.told() {
            Told::Allow => (Some(&self.allowed), &self.took_allowed),
            Told::Deny(code) => (of(&self.refused, code), &self.took_refused),
            Told::Audit(code) => (of(&self.audited, code), &self.took_audited),
        };
        counter.map(Counter::inc);
        latency.observe(took);
        match decision.facts.remembered {
            Some(true) => self.remembered.inc(),
            Some(false) => self.verified.inc(),
            None => 0,
        };
    }

    /// Counts a handshake under a limit of connections.
    pub(super) fn leased(&self, outcome: &'static str) {
        self.leases.get_or_create(&LeaseLabels { outcome }).inc();
    }

    /// Counts a report of a proxy.
    pub(super) fn reported(&self, kind: &'static str) {
        self.reports.get_or_create(&ReportLabels { kind }).inc();
    }
}

fn of(counters: &[(Code, Counter)], code: Code) -> Option<&Counter> {
    counters.iter().find(|(own, _)| *own == code).map(|(_, counter)| counter)
}

/// Numbers of the configuration in force.
#[derive(Debug, Clone)]
pub struct PublishMetrics {
    accepted: Gauge,
    rejected: Gauge,
    unreadable: Gauge,
    published: Counter,
    not_kept: Counter,
}

// === impl PublishMetrics ===

impl PublishMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Gauge::default(),
            rejected: Gauge::default(),
            unreadable: Gauge::default(),
            published: Counter::default(),
            not_kept: Counter::default(),
        };
        registry.register(
            "gatewright_objects_accepted",
            "Objects whose newest version is accepted",
            metrics.accepted.clone(),
        );
        registry.register(
            "gatewright_objects_rejected",
            "Objects whose newest version is rejected",
            metrics.rejected.clone(),
        );
        registry.register(
            "gatewright_documents_unreadable",
            "Documents that cannot be read or parsed",
            metrics.unreadable.clone(),
        );
        registry.register("gatewright_snapshots", "Snapshots put in force", metrics.published.clone());
        registry.register(
            "gatewright_last_good_write_errors",
            "Failed writes of the last good versions",
            metrics.not_kept.clone(),
        );
        metrics
    }

    /// A snapshot was put in force.
    pub fn published(&self, accepted: usize, rejected: usize, unreadable: usize) {
        for (gauge, value) in [(&self.accepted, accepted), (&self.rejected, rejected), (&self.unreadable, unreadable)] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.published.inc();
    }

    /// The last good versions could not be written.
    pub fn not_kept(&self) {
        self.not_kept.inc();
    }
}
