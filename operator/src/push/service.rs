//! The gRPC method: who is it, and a task for the stream.

use std::{pin::Pin, sync::Arc, time::Duration};

use authz::tls::{self, Identified, PeerId};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::AggregatedDiscoveryService,
};
use futures_util::{Stream, stream::unfold};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Inner,
    stream::{self, Peer},
    table::Audience,
};

/// How long the labels of a pod may take.
const LABELS: Duration = Duration::from_secs(5);

/// The aggregated discovery service: its delta variant, for peers with a certificate.
pub struct Discovery {
    inner: Arc<Inner>,
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Discovery ===

impl Discovery {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Who asks: a workload, by its certificate. A proxy's certificate is for asking decisions only.
    async fn peer<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let peer = request.extensions().get::<tls::Peer>().and_then(|peer| peer.identified.as_deref());
        let Some(Identified { id, not_after }) = peer.cloned() else {
            return Err(Status::unauthenticated("connect with a certificate of this operator"));
        };
        let PeerId::Workload { namespace, account, pod } = id else {
            return Err(Status::permission_denied("this certificate is for asking decisions, not for configuration"));
        };
        let options = &self.inner.options;
        let name = format!("{namespace}/{pod}");
        let audience = if namespace == options.namespace && account == options.account {
            Audience::Own
        } else {
            let labels = timeout(LABELS, options.proofs.labels(&namespace, &pod)).await;
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
