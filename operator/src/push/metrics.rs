//! Numbers of the channel. No labels.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    pub(super) clients: Gauge,
    pub(super) publications: Counter,
    pub(super) messages: Counter,
    pub(super) resources: Counter,
    pub(super) rejections: Counter,
    pub(super) refusals: Counter,
    pub(super) strangers: Counter,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register("gatewright_push_clients", "Data planes connected to this replica", own.clients.clone());
        let counters = [
            ("gatewright_push_publications", "Policy sets published, after coalescing", &own.publications),
            ("gatewright_push_messages", "Messages sent to data planes", &own.messages),
            ("gatewright_push_resources", "Resources sent to data planes", &own.resources),
            ("gatewright_push_rejections", "Changes that a data plane took but for some resources", &own.rejections),
            ("gatewright_push_refusals", "Changes that a data plane refused as a whole", &own.refusals),
            (
                "gatewright_push_strangers",
                "Streams refused as the peer did not prove to be one that may open them",
                &own.strangers,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        own
    }
}
