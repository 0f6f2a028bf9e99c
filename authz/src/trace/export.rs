//! Spans on their way to an OTLP collector: a bounded queue, one thread, and counters of what became of them.
//!
//! Owns the promise that a check never waits for a collector: what finds the queue full is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Uri;
use opentelemetry::Context;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig, tonic_types::transport,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
    },
};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::time::Instant;
use tracing::warn;

use super::Traces;

/// Spans that wait for the collector; more are dropped. A span takes about 1 KiB.
const QUEUE: usize = 4096;
/// How long the collector may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two warnings about it.
const NEWS: Duration = Duration::from_mins(1);

/// Where spans go.
#[derive(Debug, Clone)]
pub struct Options {
    /// The collector's gRPC endpoint: `http://HOST:PORT`, or `https://` with the authorities of the system.
    pub endpoint: String,
    /// `service.name` of the resource.
    pub service: String,
    /// The part of traces that begin here which is recorded, from 0 to 1. Traces that began elsewhere are recorded if they are there.
    pub ratio: f64,
}

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Not a URL of a gRPC server.
    #[error("the OTLP endpoint is no URL of a gRPC server; write http://HOST:4317, or https://HOST:4317 for TLS")]
    Endpoint,
    /// The library refuses something else, such as an OTEL_EXPORTER_OTLP_* variable.
    #[error("spans cannot be exported: {0}")]
    Exporter(#[from] ExporterBuildError),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// What became of spans.
#[derive(Debug, Clone)]
struct Counts {
    sent: Counter,
    failed: Counter,
    dropped: Counter,
    /// Spans between their end and the collector.
    queued: Arc<AtomicUsize>,
}

/// Lets no more spans into the queue than it has room for.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    counts: Counts,
}

/// Counts what the collector took.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    counts: Counts,
    warned: Mutex<Option<Instant>>,
}

/// Begins to trace. The connection is made when there is something to send, by the tokio runtime in which this is called.
pub fn start(options: &Options, registry: &mut Registry) -> Result<Traces, TraceError> {
    let endpoint: Uri = options.endpoint.parse().map_err(|_| TraceError::Endpoint)?;
    let builder = OtlpExporter::builder().with_tonic().with_endpoint(&options.endpoint).with_timeout(TIMEOUT);
    let builder = match (endpoint.scheme_str(), endpoint.host()) {
        (Some("http"), Some(_)) => builder,
        (Some("https"), Some(_)) => builder.with_tls_config(transport::ClientTlsConfig::new().with_enabled_roots()),
        _ => return Err(TraceError::Endpoint),
    };
    Ok(traces(builder.build()?, options, registry))
}

/// Everything but the collector.
pub(super) fn traces<E: SpanExporter + 'static>(exporter: E, options: &Options, registry: &mut Registry) -> Traces {
    let counts = Counts::register(registry);
    let exporter = Counted { inner: exporter, counts: counts.clone(), warned: Mutex::default() };
    // Twice the room: what is taken out of the queue counts until it was sent.
    let config = BatchConfigBuilder::default().with_max_queue_size(2 * QUEUE).build();
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let resource = Resource::builder().with_service_name(options.service.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Bounded { inner, counts })
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.ratio))))
        .with_resource(resource)
        .build();
    Traces::new(provider)
}

// === impl Counts ===

impl Counts {
    fn register(registry: &mut Registry) -> Self {
        let spans = Family::<Labels, Counter>::default();
        let counter = |outcome| spans.get_or_create(&Labels { outcome }).clone();
        let counts = Self {
            sent: counter("sent"),
            failed: counter("failed"),
            dropped: counter("dropped"),
            queued: Arc::default(),
        };
        let help = "Spans taken by the collector, not taken by it, and dropped because too many waited";
        registry.register("gatewright_trace_spans", help, spans);
        counts
    }
}

// === impl Bounded ===

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.queued.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.inc();
        } else {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

// === impl Counted ===

impl<E> Counted<E> {
    /// The collector's own words are not repeated.
    fn failed(&self) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() >= NEWS) {
            *warned = Some(Instant::now());
            warn!("the OTLP collector does not take spans, which are lost; is --otlp-endpoint right, and is it up?");
        }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.counts.queued.fetch_sub(spans, Ordering::Relaxed);
        if result.is_ok() {
            self.counts.sent.inc_by(spans as u64);
        } else {
            self.failed();
            self.counts.failed.inc_by(spans as u64);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
