//! A histogram of plain atomics. The library's stands behind a lock, for which all threads that decide would stand in line.

use std::{
    array,
    fmt::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds in seconds: from a hit of the token cache (5 µs) to the end of a wait (150 ms).
const BOUNDS: [f64; 15] =
    [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 1.5e-1];

/// How long something took, in buckets of [`BOUNDS`]. A clone is the same histogram.
#[derive(Debug, Clone)]
pub(super) struct Latency(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    /// One for each bound, and one for what is over the last.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

// === impl Latency ===

impl Latency {
    /// Notes one more. Relaxed: a scrape may see a time whose count comes with the next one.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.0.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Arc::new(Cells { buckets: array::from_fn(|_| AtomicU64::new(0)), nanoseconds: AtomicU64::new(0) }))
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.buckets.iter().map(read)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(read(&self.0.nanoseconds)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn buckets_add_up_and_a_bound_belongs_to_its_own() {
        let (latency, mut registry) = (Latency::default(), Registry::default());
        registry.register("took", "A test", latency.clone());
        for took in [0, 4, 5, 6, 150_000, 150_001, 60_000_000] {
            latency.observe(Duration::from_micros(took));
        }
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for line in [
            "# TYPE took histogram",
            "took_bucket{le=\"0.000005\"} 3",
            "took_bucket{le=\"0.00001\"} 4",
            "took_bucket{le=\"0.1\"} 4",
            "took_bucket{le=\"0.15\"} 5",
            "took_bucket{le=\"+Inf\"} 7",
            "took_count 7",
            "took_sum 60.300016",
        ] {
            assert!(page.lines().any(|own| own == line), "{line} is not in\n{page}");
        }
    }
}
