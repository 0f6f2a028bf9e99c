//! The gRPC method: who is it, and a task for the stream.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use authz::tls::{self, Identified, PeerId};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
};
use futures_util::{Stream, future::BoxFuture, stream::unfold};
use http::Extensions;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Request, Response, Status, Streaming, body::Body, server::NamedService};

use super::{
    Inner,
    stream::{self, Peer},
    table::Audience,
};

/// How long the labels of a pod may take.
const LABELS: Duration = Duration::from_secs(5);
/// Largest message of a data plane of ours. The first one names everything that it holds: a hundred thousand resources, or forty thousand of
/// the longest names. One that did not fit could never connect again.
const OWN_BYTES: usize = 16 * 1024 * 1024;
/// The same of anybody else, who holds a few policies of one namespace.
const BYTES: usize = 1024 * 1024;

/// The aggregated discovery service: its delta variant, for peers with a certificate.
struct Discovery {
    inner: Arc<Inner>,
}

/// The service, for our own data planes and for others: any pod may have a certificate, and is not to fill our memory.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    own: AggregatedDiscoveryServiceServer<Discovery>,
    others: AggregatedDiscoveryServiceServer<Discovery>,
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Service ===

impl Service {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let server = |bytes| {
            AggregatedDiscoveryServiceServer::new(Discovery { inner: inner.clone() }).max_decoding_message_size(bytes)
        };
        let (own, others) = (server(OWN_BYTES), server(BYTES));
        Self { inner, own, others }
    }

    fn is_own(&self, request: &Extensions) -> bool {
        let peer = request.get::<tls::Peer>().and_then(|peer| peer.identified.as_deref());
        peer.is_some_and(|peer| match &peer.id {
            PeerId::Workload { namespace, account, .. } => self.inner.is_own(namespace, account),
            PeerId::Gateway { .. } => false,
        })
    }
}

impl NamedService for Service {
    const NAME: &'static str = AggregatedDiscoveryServiceServer::<Discovery>::NAME;
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = if self.is_own(request.extensions()) { &mut self.own } else { &mut self.others };
        tower::Service::call(server, request)
    }
}

// === impl Discovery ===

impl Discovery {
    /// Who asks: a workload, by its certificate. A proxy's certificate is for asking decisions only.
    async fn peer<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let peer = request.extensions().get::<tls::Peer>().and_then(|peer| peer.identified.as_deref());
        let Some(Identified { id, not_after }) = peer.cloned() else {
            return Err(Status::unauthenticated("connect with a certificate of this operator"));
        };
        let PeerId::Workload { namespace, account, pod } = id else {
            return Err(Status::permission_denied("this certificate is for asking decisions, not for configuration"));
        };
        let name = format!("{namespace}/{pod}");
        let audience = if self.inner.is_own(&namespace, &account) {
            Audience::Own
        } else {
            let labels = timeout(LABELS, self.inner.options.proofs.labels(&namespace, &pod)).await;
            let labels = labels.map_err(|_| Status::unavailable("the API server does not answer; try again"))?;
            let labels = labels.map_err(|error| Status::unavailable(error.to_string()))?;
            Audience::Workload { namespace, labels }
        };
        Ok(Peer { name, audience, not_after })
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Outbound<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("ask for the delta variant: this one cannot resume"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = self.peer(&request).await.inspect_err(|_| {
            self.inner.metrics.strangers.inc();
        })?;
        // One message in flight: a peer that does not read is given the newest state when it does.
        let (outbound, messages) = mpsc::channel(1);
        tokio::spawn(stream::run(self.inner.clone(), peer, request.into_inner(), outbound));
        let messages = unfold(messages, async |mut messages| Some((messages.recv().await?, messages)));
        Ok(Response::new(Box::pin(messages)))
    }
}
