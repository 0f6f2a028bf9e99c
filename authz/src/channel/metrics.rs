//! Numbers of the channel. No labels.

use std::time::SystemTime;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::Credentials;

#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    pub(super) connected: Gauge,
    pub(super) failures: Counter,
    pub(super) not_kept: Counter,
    pub(super) refused: Counter,
    certificate_end: Gauge,
    applied: Counter,
    epoch: Gauge,
    policies: Gauge,
    rejected: Gauge,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        let gauges = [
            ("gatewright_channel_connected", "Whether a stream to the operator stands", &own.connected),
            (
                "gatewright_channel_certificate_end_seconds",
                "End of the certificate's life, since 1970",
                &own.certificate_end,
            ),
            ("gatewright_channel_epoch", "The leadership whose state is in force", &own.epoch),
            ("gatewright_channel_policies", "Policies in force", &own.policies),
            ("gatewright_channel_rejected", "Resources that this build refuses", &own.rejected),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("gatewright_channel_changes", "Changes put in force", &own.applied),
            ("gatewright_channel_refusals", "Changes refused as a whole", &own.refused),
            (
                "gatewright_channel_failures",
                "Failed attempts to reach the operator, and streams that broke",
                &own.failures,
            ),
            ("gatewright_channel_write_errors", "Failed writes of the sealed copies", &own.not_kept),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        own
    }

    pub(super) fn certificate(&self, own: &Credentials) {
        if let Ok(Ok(end)) = own.not_after().map(|end| end.duration_since(SystemTime::UNIX_EPOCH)) {
            self.certificate_end.set(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn applied(&self, epoch: u64, policies: usize, rejected: usize) {
        self.applied.inc();
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.rejected.set(i64::try_from(rejected).unwrap_or(i64::MAX));
    }
}
