//! A peer that speaks the protocol by hand, and a cable that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use authz::channel::sign::{SIGN, SignRequest, SignResponse};
use crds::push::RESOURCE_TYPE;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use futures_util::stream::unfold;
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use crate::world::Operator;

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A stream by hand.
pub(crate) struct Raw {
    pub(crate) requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(crate) responses: Streaming<DeltaDiscoveryResponse>,
}

/// Connects, with a certificate or without.
pub(crate) async fn dial(operator: &Operator, pair: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
    let authorities = operator.identity.ca_bundle().borrow().to_string();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
    if let Some(Pair { certificate, key }) = pair {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let url = format!("https://localhost:{}", operator.address.port());
    Endpoint::from_shared(url)?.tls_config(tls)?.connect().await
}

/// Asks for a certificate as a pod would.
pub(crate) async fn sign(operator: &Operator, token: &str, params: CertificateParams) -> Result<Pair, Status> {
    let key = KeyPair::generate().unwrap();
    sign_for(operator, token, params, &key).await
}

/// Asks for a certificate for this key.
pub(crate) async fn sign_for(
    operator: &Operator,
    token: &str,
    params: CertificateParams,
    key: &KeyPair,
) -> Result<Pair, Status> {
    let request = params.serialize_request(key).unwrap().der().to_vec();
    let mut request = Request::new(SignRequest { request });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut grpc = Grpc::new(dial(operator, None).await.unwrap());
    grpc.ready().await.unwrap();
    let codec: ProstCodec<SignRequest, SignResponse> = ProstCodec::default();
    let answer = grpc.unary(request, http::uri::PathAndQuery::from_static(SIGN), codec).await?;
    Ok(Pair { certificate: answer.into_inner().certificate, key: key.serialize_pem() })
}

impl Raw {
    /// Opens a stream and says that nothing is held.
    pub(crate) async fn open(operator: &Operator, pair: Option<&Pair>) -> Result<Self, Status> {
        Self::open_with(operator, pair, hello()).await
    }

    /// Opens a stream with this first message.
    pub(crate) async fn open_with(
        operator: &Operator,
        pair: Option<&Pair>,
        hello: DeltaDiscoveryRequest,
    ) -> Result<Self, Status> {
        let channel = dial(operator, pair).await.map_err(|error| Status::unknown(format!("{error:?}")))?;
        let (requests, inbound) = mpsc::channel(16);
        requests.send(hello).await.unwrap();
        let outbound = unfold(inbound, async |mut inbound| Some((inbound.recv().await?, inbound)));
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(16 << 20);
        let responses = client.delta_aggregated_resources(Box::pin(outbound)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    /// The next message, acknowledged.
    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        let message = self.responses.message().await.unwrap().expect("the stream stands");
        let ack = DeltaDiscoveryRequest {
            type_url: RESOURCE_TYPE.to_owned(),
            response_nonce: message.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(ack).await.unwrap();
        message
    }

    /// Names of all resources of the next change, and of what it removes.
    pub(crate) async fn change(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut names, mut removed) = (Vec::new(), Vec::new());
        loop {
            let message = self.next().await;
            names.extend(message.resources.into_iter().map(|one| one.name));
            removed.extend(message.removed_resources);
            if names.last().is_some_and(|name| name == "state") {
                names.pop();
                return (names, removed);
            }
        }
    }
}

pub(crate) fn hello() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: RESOURCE_TYPE.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

/// A cable between data planes and an operator.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    /// Every connection ends when this moves.
    cut: watch::Sender<u64>,
    /// Bytes towards the data plane after which a connection ends.
    limit: Arc<AtomicUsize>,
}

impl Cable {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let (cut, cuts) = watch::channel(0);
        let limit = Arc::new(AtomicUsize::new(usize::MAX));
        let (to, bytes) = (target.clone(), limit.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (to, bytes, mut cuts) = (*to.lock(), bytes.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        () = carry(near, far, bytes.load(Ordering::Relaxed)) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, target, cut, limit }
    }

    /// Where new connections lead; those that stand are cut.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = target;
        self.cut();
    }

    /// Cuts everything that stands.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Ends every new connection after this many bytes towards the data plane.
    pub(crate) fn limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }
}

async fn carry(near: TcpStream, far: TcpStream, limit: usize) {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let up = async { tokio::io::copy(&mut near_in, &mut far_out).await.ok() };
    let down = async {
        let (mut left, mut buffer) = (limit, vec![0; 16 * 1024]);
        while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
            let carried = read.min(left);
            near_out.write_all(&buffer[..carried]).await.ok()?;
            left -= carried;
            if left == 0 {
                break;
            }
        }
        Some(())
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}
