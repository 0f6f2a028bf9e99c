//! An OTLP collector: keeps the spans that it is sent, as an operator would see them. It may hang.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::{
    PeerError,
    secrets::hex,
    wait::{self, LONG},
};

/// A running collector; it ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    hangs: bool,
}

/// A span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// The same of the span above it; empty: none.
    pub parent: String,
    /// What it says.
    pub attributes: BTreeMap<String, String>,
    /// Whether it ended in an error.
    pub failed: bool,
    /// `service.name` of who sent it.
    pub service: String,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Result<Self, PeerError> {
        Self::serve(false).await
    }

    /// One that takes spans and never answers.
    pub async fn hanging() -> Result<Self, PeerError> {
        Self::serve(true).await
    }

    async fn serve(hangs: bool) -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the collector"))?;
        let address = listener.local_addr().map_err(PeerError::io("the collector's address"))?;
        let collector = Self { address, received: Arc::default(), hangs };
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
        });
        Ok(collector)
    }

    /// Its value of `--otlp-endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().flat_map(|request| &request.resource_spans).flat_map(read).collect()
    }

    /// Everything it was sent, as text.
    pub fn text(&self) -> String {
        format!("{:?}", self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `count` spans of a trace have come; they are in the order of their ends.
    pub async fn until(&self, trace: &str, count: usize) -> Result<Vec<Span>, PeerError> {
        let of_trace = || self.spans().into_iter().filter(|span| span.trace == trace).collect::<Vec<_>>();
        let what = format!("{count} spans of trace {trace}");
        wait::until(&what, LONG, || async { Some(of_trace()).filter(|spans| spans.len() >= count) }).await
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(from: &v1::ResourceSpans) -> Vec<Span> {
    let resource = from.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
    let service = resource.get("service.name").cloned().unwrap_or_default();
    let spans = from.scope_spans.iter().flat_map(|scope| &scope.spans);
    spans
        .map(|span| Span {
            name: span.name.clone(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            attributes: attributes(&span.attributes),
            failed: span.status.as_ref().is_some_and(|status| status.code() == v1::status::StatusCode::Error),
            service: service.clone(),
        })
        .collect()
}

fn attributes(from: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    from.iter().map(|one| (one.key.clone(), text(one))).collect()
}
