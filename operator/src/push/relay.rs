//! Replicas to their leader: only the leader writes status, and data planes are connected to any of them.
//!
//! `gatewright.v1alpha1.Replicas/Report`: a stream from each other replica, with everything it knows whenever that changes. What a
//! replica said is forgotten when its stream ends: its data planes connect to another one then.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use authz::tls::{self, PeerId};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codegen::http::{self, uri::PathAndQuery},
    server::{ClientStreamingService, Grpc, NamedService},
    transport::Endpoint,
};
use tonic_prost::ProstCodec;
use tracing::{debug, info, warn};

use super::{Inner, Push, clients::Tallies};
use crate::identity::Identity;

const SERVICE: &str = "gatewright.v1alpha1.Replicas";
const REPORT: &str = "/gatewright.v1alpha1.Replicas/Report";
/// Least time between two reports.
const PACE: Duration = Duration::from_millis(100);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Time that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest report: ten thousand policies with long reasons.
const MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Report {
    /// [`Known`] as JSON.
    #[prost(bytes = "vec", tag = "1")]
    known: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Ended {}

/// Everything a replica knows.
#[derive(Serialize, Deserialize)]
struct Known {
    tallies: Tallies,
    /// The highest leadership that its data planes have seen.
    highest: u64,
    /// What is new about the use of API keys: everything in the first report, and no more than once in [`super::Options::uses`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses: Option<String>,
}

/// What a stream of reports has told.
struct Telling {
    inner: Arc<Inner>,
    changes: watch::Receiver<u64>,
    /// No report before.
    next: Instant,
    /// When the use of API keys is due.
    uses_due: Instant,
    /// The next reading of the ledger.
    uses_from: u32,
}

/// The service.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<Inner>,
}

/// A stream of reports that is heard. What it said is worth nothing once it has ended.
pub(super) struct Hearing {
    replica: String,
    id: u64,
    inner: Arc<Inner>,
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

// === impl Push ===

impl Push {
    /// The gRPC service that other replicas report to.
    pub fn replicas(&self) -> Replicas {
        Replicas { inner: self.inner.clone() }
    }

    /// Reports to the leader at `HOST:PORT`; `None`: there is none, or it is this replica. For ever.
    pub async fn report_to(&self, identity: &Identity, mut leader: watch::Receiver<Option<String>>) {
        let mut told = String::new();
        loop {
            let address = leader.borrow_and_update().clone();
            let Some(address) = address else {
                if leader.changed().await.is_err() {
                    // Nobody will name a leader any more.
                    std::future::pending::<()>().await;
                }
                continue;
            };
            tokio::select! {
                Err(error) = self.report(identity, &address) => {
                    let reason = error.message();
                    if told == reason {
                        debug!(leader = address, reason, "the leader still does not hear what is in force here");
                    } else {
                        warn!(leader = address, reason, "the leader does not hear what is in force here; trying again");
                        reason.clone_into(&mut told);
                    }
                    sleep(RETRY).await;
                }
                Ok(()) = leader.changed() => told.clear(),
            }
        }
    }

    async fn report(&self, identity: &Identity, address: &str) -> Result<(), Status> {
        let failed = |error: tonic::transport::Error| Status::unavailable(format!("it cannot be reached: {error}"));
        let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(failed)?;
        let endpoint = endpoint
            .tls_config(identity.client_config())
            .map_err(failed)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = timeout(CONNECT, endpoint.connect()).await;
        let channel = channel.map_err(|_| Status::unavailable("it does not answer"))?.map_err(failed)?;
        let mut grpc = client::Grpc::new(channel);
        grpc.ready().await.map_err(failed)?;
        info!(leader = address, "reporting to the leader");
        let mut changes = self.changes();
        changes.mark_changed();
        let now = Instant::now();
        let telling = Telling { inner: self.inner.clone(), changes, next: now, uses_due: now, uses_from: 0 };
        let reports = unfold(telling, async |mut telling| {
            let known = telling.next().await?;
            Some((Report { known: serde_json::to_vec(&known).ok()? }, telling))
        });
        let codec: ProstCodec<Report, Ended> = ProstCodec::default();
        let request = Request::new(Box::pin(reports));
        grpc.client_streaming(request, PathAndQuery::from_static(REPORT), codec).await?;
        Err(Status::unavailable("it ended the stream"))
    }
}

// === impl Telling ===

impl Telling {
    /// The next report, once there is something to tell; `None`: never more.
    async fn next(&mut self) -> Option<Known> {
        loop {
            let changed = tokio::select! {
                changed = self.changes.changed() => changed.map(|()| true).ok()?,
                () = sleep_until(self.uses_due) => false,
            };
            // The first change after silence at once, then what came meanwhile.
            sleep_until(self.next).await;
            let uses = self.new_uses();
            if changed || uses.is_some() {
                self.changes.mark_unchanged();
                self.next = Instant::now() + PACE;
                let (tallies, highest) = (self.inner.tallies().said(), *self.inner.highest.borrow());
                return Some(Known { tallies, highest, uses });
            }
        }
    }

    fn new_uses(&mut self) -> Option<String> {
        let now = Instant::now();
        if now < self.uses_due {
            return None;
        }
        let (uses, next) = self.inner.new_uses(self.uses_from);
        (self.uses_due, self.uses_from) = (now + self.inner.options.uses, next);
        uses
    }
}

// === impl Replicas ===

impl Replicas {
    /// The pod, if it is one of the operator's own.
    fn replica<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let peer = request.extensions().get::<tls::Peer>().and_then(|peer| peer.identified.as_deref());
        let options = &self.inner.options;
        match peer.map(|peer| &peer.id) {
            Some(PeerId::Workload { namespace, account, pod })
                if *namespace == options.namespace && *account == options.operator_account =>
            {
                Ok(pod.clone())
            }
            Some(_) => Err(Status::permission_denied("only replicas of the operator report here")),
            None => Err(Status::unauthenticated("connect with a certificate of this operator")),
        }
    }

    async fn hear(self, request: Request<Streaming<Report>>) -> Result<Response<Ended>, Status> {
        let replica = self.replica(&request).inspect_err(|_| {
            self.inner.metrics.strangers.inc();
        })?;
        let mut reports = request.into_inner();
        let hearing = Hearing::new(replica, self.inner.clone());
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = self.inner.ends.cancelled() => None,
            };
            let Some(report) = report else { return Ok(Response::new(Ended {})) };
            let known: Known = serde_json::from_slice(&report.known)
                .map_err(|_| Status::invalid_argument("the report is of another version"))?;
            self.inner.saw(known.highest);
            if let Some(uses) = &known.uses {
                self.inner.merge_uses(uses);
            }
            hearing.note(known.tallies);
        }
    }
}

// === impl Hearing ===

impl Hearing {
    pub(super) fn new(replica: String, inner: Arc<Inner>) -> Self {
        Self { replica, id: inner.stream_id(), inner }
    }

    /// The newest that it says, unless a later stream of the same replica has spoken.
    pub(super) fn note(&self, tallies: Tallies) {
        {
            let mut reported = self.inner.reported.lock();
            if reported.get(&self.replica).is_some_and(|(by, _)| *by > self.id) {
                return;
            }
            reported.insert(self.replica.clone(), (self.id, tallies));
        }
        self.inner.clients.moved();
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        {
            let mut reported = self.inner.reported.lock();
            // A replica may be here again before the end of its old connection is seen.
            if reported.get(&self.replica).is_none_or(|(by, _)| *by != self.id) {
                return;
            }
            reported.remove(&self.replica);
        }
        self.inner.clients.moved();
    }
}

impl NamedService for Replicas {
    const NAME: &'static str = SERVICE;
}

impl ClientStreamingService<Report> for Replicas {
    type Response = Ended;
    type Future = Answer<Result<Response<Ended>, Status>>;

    fn call(&mut self, request: Request<Streaming<Report>>) -> Self::Future {
        Box::pin(self.clone().hear(request))
    }
}

impl tower::Service<http::Request<Body>> for Replicas {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            if request.uri().path() != REPORT {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec: ProstCodec<Ended, Report> = ProstCodec::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_BYTES);
            Ok(grpc.client_streaming(own, request).await)
        })
    }
}
