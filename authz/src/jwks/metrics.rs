//! The metrics of the key cache, computed from the slots at each scrape.
//!
//! Owns names and labels. The only label with a value from outside is the issuer, which comes from policies, never from tokens; a
//! series ends with its set because nothing but the set itself is remembered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::{Slots, slot::Slot};

/// Name, help text, and where the value is.
type Definition<T> = (&'static str, &'static str, fn(&Issuer) -> T);

/// Reads the current slots.
pub(super) struct Metrics(Slots);

/// The sets of one issuer taken together; most issuers have one.
#[derive(Default)]
struct Issuer {
    ok: u64,
    error: u64,
    unknown_kid: u64,
    unsaved: u64,
    keys: u64,
    skipped: u64,
    /// Of the oldest set; absent while there are no keys.
    age: Option<f64>,
    /// Of the set that was fetched longest ago; absent before the first fetch.
    last_success: Option<u64>,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn new(slots: Slots) -> Self {
        Self(slots)
    }

    fn by_issuer(&self) -> BTreeMap<String, Issuer> {
        let mut issuers = BTreeMap::<String, Issuer>::new();
        for slot in self.0.load().values() {
            issuers.entry(slot.issuer().to_owned()).or_default().add(slot);
        }
        issuers
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let issuers = self.by_issuer();
        let fetches = issuers.iter().flat_map(|(issuer, one)| {
            [("ok", one.ok), ("error", one.error)]
                .map(|(outcome, count)| ([("issuer", issuer.as_str()), ("outcome", outcome)], ConstCounter::new(count)))
        });
        family(&mut encoder, "gatewright_jwks_fetches", "Attempts to fetch a key set", fetches)?;
        let counters: [Definition<u64>; 2] = [
            ("gatewright_jwks_unknown_kid_fetches", "Attempts made because a token named an unknown key", |one| {
                one.unknown_kid
            }),
            ("gatewright_jwks_save_failures", "Fetched key sets that could not be saved for a restart", |one| {
                one.unsaved
            }),
        ];
        for (name, help, read) in counters {
            let rows =
                issuers.iter().map(|(issuer, one)| ([("issuer", issuer.as_str())], ConstCounter::new(read(one))));
            family(&mut encoder, name, help, rows)?;
        }
        let gauges: [Definition<Option<f64>>; 4] = [
            ("gatewright_jwks_age_seconds", "Time since the keys in memory were fetched", |one| one.age),
            ("gatewright_jwks_keys", "Usable keys in force", |one| Some(float(one.keys))),
            ("gatewright_jwks_skipped_keys", "Entries of the key set that cannot be used", |one| {
                Some(float(one.skipped))
            }),
            ("gatewright_jwks_last_success_timestamp_seconds", "When a fetch last succeeded, in Unix time", |one| {
                one.last_success.map(float)
            }),
        ];
        for (name, help, read) in gauges {
            let rows = issuers
                .iter()
                .filter_map(|(issuer, one)| Some(([("issuer", issuer.as_str())], ConstGauge::new(read(one)?))));
            family(&mut encoder, name, help, rows)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn family<'a, M: EncodeMetric, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = ([(&'a str, &'a str); N], M)>,
) -> fmt::Result {
    let mut rows = rows.peekable();
    let Some((_, first)) = rows.peek() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    rows.try_for_each(|(labels, value)| value.encode(metric.encode_family(&labels)?))
}

// === impl Issuer ===

impl Issuer {
    fn add(&mut self, slot: &Slot) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.ok += read(&slot.counts.ok);
        self.error += read(&slot.counts.error);
        self.unknown_kid += read(&slot.counts.unknown_kid);
        self.unsaved += read(&slot.counts.unsaved);
        if let Some((held, _)) = slot.held() {
            let age = held.age().as_secs_f64();
            self.age = Some(self.age.map_or(age, |other| other.max(age)));
            self.skipped += held.set.skipped().len() as u64;
        }
        self.keys += slot.keys_in_force().map_or(0, |keys| keys.keys().len() as u64);
        if let Some(success) = Some(read(&slot.counts.last_success)).filter(|at| *at > 0) {
            self.last_success = Some(self.last_success.map_or(success, |other| other.min(success)));
        }
    }
}

/// Exact far beyond any count or time here.
#[allow(clippy::cast_precision_loss, reason = "gauges are floating-point numbers in the exposition format")]
fn float(count: u64) -> f64 {
    count as f64
}
