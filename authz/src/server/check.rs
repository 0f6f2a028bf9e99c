//! `envoy.service.auth.v3.Authorization/Check`: decode, decide, wait where needed, encode, observe.

use std::{
    borrow::Cow,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crds::{code::Code, snapshot::SharedStore};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use futures_util::future::BoxFuture;
use opentelemetry::{Context as Trace, context::FutureExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    transport::server::UdsConnectInfo,
};
use tower::Service;
use tracing::error;

use super::{
    audit::Audit,
    connections::Connections,
    deadline::budget,
    metrics::Metrics,
    observe::{Observer, Seen},
    peers::Peers,
    reports::Reports,
    request, response,
    state::SnapshotCell,
    wire::{Check, CheckCodec},
};
use crate::{
    cache::TokenCache,
    decide::{Awaited, Decision, Deny, Deps, Facts, Need, Step, decide},
    errors::Asked,
    factors::{Attempt, LocalFactors, Redeemed},
    jwks::KeyCache,
    limits::LocalLimits,
    remote::calls::{self, RemoteCache},
    request::RequestView,
    shared::SharedStores,
    signers::{NoKeys, OwnKeys, SignerStore},
    tls,
    trace::Traces,
    uses::Ledger,
};

/// Largest CheckRequest. Envoy's own header limit is 60 KiB, sent twice at most; bodies are not part of a check here.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The one method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Limits of the check service.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Longest time a check may wait for keys. Envoy gives up after 200 ms by default and then answers 403; we answer before.
    pub deadline: Duration,
    /// Checks under way at once; one more is answered with `overloaded`.
    pub max_in_flight: usize,
    /// Where spans go.
    pub traces: Traces,
    /// Where decisions are written down.
    pub audit: Option<Audit>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(150), max_in_flight: 4096, traces: Traces::default(), audit: None }
    }
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct CheckService {
    inner: Arc<Inner>,
}

struct Inner {
    snapshots: Arc<SnapshotCell>,
    keys: Arc<KeyCache>,
    remote: Arc<RemoteCache>,
    stores: Arc<SharedStores>,
    connections: Arc<Connections>,
    tokens: Arc<TokenCache>,
    limits: LocalLimits,
    factors: LocalFactors,
    own_keys: OnceLock<Arc<OwnKeys>>,
    uses: OnceLock<Arc<Ledger>>,
    peers: OnceLock<Arc<Peers>>,
    metrics: Metrics,
    observer: Observer,
    slots: Semaphore,
    deadline: Duration,
}

/// A check under way. Counted back on drop: a proxy that gives up ends the future where it waits.
struct InFlight<'a>(&'a Gauge);

// === impl InFlight ===

impl<'a> InFlight<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl CheckService ===

impl CheckService {
    /// A service over what others keep up to date.
    pub fn new(
        snapshots: Arc<SnapshotCell>,
        keys: Arc<KeyCache>,
        remote: Arc<RemoteCache>,
        stores: Arc<SharedStores>,
        tokens: Arc<TokenCache>,
        metrics: Metrics,
        options: CheckOptions,
    ) -> Self {
        let CheckOptions { deadline, max_in_flight, traces, audit } = options;
        Self {
            inner: Arc::new(Inner {
                snapshots,
                keys,
                remote,
                connections: Arc::new(Connections::new(stores.clone(), metrics.clone())),
                stores,
                tokens,
                limits: LocalLimits::default(),
                factors: LocalFactors::default(),
                own_keys: OnceLock::new(),
                uses: OnceLock::new(),
                peers: OnceLock::new(),
                metrics,
                observer: Observer { audit, traces, ..Observer::default() },
                slots: Semaphore::new(max_in_flight),
                deadline,
            }),
        }
    }
}

impl CheckService {
    /// Signs tokens with keys of our own from now on. Without, requests that need one are refused. Only the first call counts.
    pub fn sign_with(&self, keys: Arc<OwnKeys>) {
        let _ = self.inner.own_keys.set(keys);
    }

    /// Notes the uses of API keys there from now on. Without, they are not noted. Only the first call counts.
    pub fn note_uses(&self, uses: Arc<Ledger>) {
        let _ = self.inner.uses.set(uses);
    }

    /// Notes from now on which proxies proved themselves, and which were refused a secret. Only the first call counts.
    pub fn note_peers(&self, peers: Arc<Peers>) {
        let _ = self.inner.peers.set(peers);
    }

    pub(super) fn peers(&self) -> Option<Arc<Peers>> {
        self.inner.peers.get().cloned()
    }

    /// Hears what proxies tell of the connections that checks have let in, until it drains.
    pub(super) fn reports(&self, drain: CancellationToken) -> AccessLogServiceServer<Reports> {
        Reports::service(self.inner.snapshots.clone(), self.inner.connections.clone(), drain)
    }

    async fn check(self, request: Request<Check>) -> Result<Response<Vec<u8>>, Status> {
        let began = Instant::now();
        let deadline = began + budget(&request, self.inner.deadline);
        let proven = is_on_this_machine(&request) || tls::by_proven_proxy(request.extensions());
        let from = tls::address(request.extensions());
        let check = request.into_inner();
        let now_ms = now_ms();
        let view = request::view(&check, proven);
        let request_id = request::id(&check, view.as_ref().ok())
            .unwrap_or_else(|| Cow::Owned(format!("gw-{:016x}", fastrand::u64(..))));
        let asked = view
            .as_ref()
            .map_or_else(|_| Asked::unread(&request_id, now_ms), |view| Asked::of(view, &request_id, now_ms));
        let trace = self.inner.observer.begin(view.as_ref().ok());
        let decision = match &view {
            Ok(view) => self.inner.decide(view, deadline, now_ms, trace.as_ref()).await,
            Err(deny) => Decision::refusal(deny.clone()),
        };
        if let Some(ask) = &decision.facts.renew {
            self.inner.remote.renew(ask);
        }
        if decision.facts.withheld
            && let (Some(peers), Some((policy, _)), Some(from)) = (self.inner.peers.get(), &decision.facts.policy, from)
        {
            peers.withheld(policy, from, Instant::now());
        }
        self.inner.metrics.decided(&decision, began.elapsed());
        self.inner.note_use(&decision.facts, now_ms);
        let seen = Seen { view: view.as_ref().ok(), request_id: &request_id, now_ms, trace };
        self.inner.observer.end(&seen, &decision);
        Ok(Response::new(response::respond(decision, &asked)))
    }
}

impl UnaryService<Check> for CheckService {
    type Response = Vec<u8>;
    type Future = BoxFuture<'static, Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Check>) -> Self::Future {
        Box::pin(self.clone().check(request))
    }
}

/// What `envoy_types` generates, with our codec.
impl Service<http::Request<Body>> for CheckService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != CHECK {
                return Ok(Status::unimplemented("only Check is served here").into_http());
            }
            let mut grpc = Grpc::new(CheckCodec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Ok(grpc.unary(service, request).await)
        })
    }
}

impl NamedService for CheckService {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

// === impl Inner ===

impl Inner {
    /// Shedding comes first and costs one atomic: refusing late would spend what is short.
    async fn decide(&self, view: &RequestView<'_>, deadline: Instant, now_ms: i64, trace: Option<&Trace>) -> Decision {
        let Ok(_slot) = self.slots.try_acquire() else {
            self.metrics.shed.inc();
            return Decision::refusal(Deny::new(Code::Overloaded, "too many checks under way"));
        };
        let _in_flight = InFlight::begin(&self.metrics.in_flight);
        self.decide_in_slot(view, deadline, now_ms, trace).await
    }

    /// One snapshot from start to end. Each need is waited for once, so this ends.
    async fn decide_in_slot(
        &self,
        view: &RequestView<'_>,
        deadline: Instant,
        now_ms: i64,
        trace: Option<&Trace>,
    ) -> Decision {
        let snapshot = self.snapshots.load_full();
        let mut awaited = Awaited::default();
        loop {
            let deps = Deps {
                snapshot: &snapshot,
                keys: &*self.keys,
                remote: &*self.remote,
                tokens: &self.tokens,
                signers: self.own_keys.get().map_or(&NoKeys as &dyn SignerStore, |keys| &**keys),
                limits: &self.limits,
                now_ms,
            };
            // A panic is a bug of ours: this request is refused, the process and every other request live on.
            let step = catch_unwind(AssertUnwindSafe(|| decide(&deps, view, &awaited)));
            match step {
                Ok(Step::Done(decision)) => return decision,
                Ok(Step::Wait(need)) => {
                    let trace = trace.cloned().unwrap_or_default();
                    self.fetch(need, deadline, now_ms, &mut awaited).with_context(trace).await;
                }
                Err(_) => {
                    self.metrics.panics.inc();
                    error!("a check panicked and was refused; please report this with the panic message above");
                    return Decision::refusal(Deny::new(Code::Unavailable, "internal error"));
                }
            }
        }
    }

    /// Waits until the deadline. What comes too late is kept for the next request; this one is decided like without it.
    async fn fetch(&self, need: Need, deadline: Instant, now_ms: i64, awaited: &mut Awaited) {
        let in_time = match need {
            Need::Keys(id) => {
                let in_time = tokio::time::timeout_at(deadline, self.keys.refresh(&id)).await.is_ok();
                awaited.note_keys(id);
                in_time
            }
            Need::Remote(ask) => {
                let answer = tokio::time::timeout_at(deadline, self.remote.ask(&ask)).await;
                let in_time = answer.is_ok();
                awaited.note_reply(ask.id, answer.unwrap_or_else(|_| calls::late()));
                in_time
            }
            Need::Signer(algorithm) => {
                let made = self.own_keys.get().cloned().map(|keys| {
                    // RSA takes its time, which is nobody else's.
                    tokio::task::spawn_blocking(move || keys.make(algorithm))
                });
                let in_time = match made {
                    Some(made) => tokio::time::timeout_at(deadline, made).await.is_ok(),
                    None => true,
                };
                awaited.note_signer(algorithm);
                in_time
            }
            Need::Code(attempt, store) => {
                let redeemed = self.redeem(&attempt, store.as_ref(), deadline, now_ms).await;
                awaited.note_code(attempt, redeemed);
                Instant::now() < deadline
            }
            Need::Lease(ask) => {
                let leased = self.connections.open(&ask, now_ms, deadline).await;
                awaited.note_lease(ask, leased);
                Instant::now() < deadline
            }
            Need::Count(tally) => {
                let tallied = self.stores.count(&tally, now_ms, deadline).await;
                awaited.note_count(tally, tallied);
                Instant::now() < deadline
            }
        };
        if !in_time {
            self.metrics.deadlines.inc();
        }
    }

    /// A key was used once it was found good, whatever else was decided then.
    fn note_use(&self, facts: &Facts, now_ms: i64) {
        let used = facts.proven.as_ref().and_then(|proven| proven.used.as_ref());
        let (Some(used), Some(uses), Some((policy, _))) = (used, self.uses.get(), &facts.policy) else { return };
        let now_s = u32::try_from(now_ms / 1000).unwrap_or(0);
        if let (Some(id), Some((namespace, _))) = (used.due(now_s), policy.split_once('/')) {
            uses.note(namespace, id, now_s);
        }
    }

    /// Here, and where all replicas do it together if there is such a store. What is refused here is a failure there too.
    async fn redeem(
        &self,
        attempt: &Attempt,
        store: Option<&Arc<SharedStore>>,
        deadline: Instant,
        now_ms: i64,
    ) -> Redeemed {
        let own = self.factors.redeem(attempt, now_ms);
        let Some(store) = store else { return own };
        let step = attempt.step.filter(|_| own == Redeemed::Accepted);
        let shared = self.stores.redeem(store, &Attempt { step, ..*attempt }, now_ms, deadline).await;
        match shared {
            Some(shared) => own.and(shared),
            // The policy's choice: a code that is good here may have been used at another replica.
            None if store.pass_uncounted => own,
            None => {
                // Nobody gets in by it, so it is as good as before: the client is asked to send it again.
                self.factors.give_back(&Attempt { step, ..*attempt });
                own.and(Redeemed::Unknown)
            }
        }
    }
}

/// Unix sockets and loopback: whoever can reach those already runs beside us.
pub(super) fn is_on_this_machine<T>(request: &Request<T>) -> bool {
    if request.extensions().get::<UdsConnectInfo>().is_some() {
        return true;
    }
    request.remote_addr().is_some_and(|address| address.ip().to_canonical().is_loopback())
}

/// Milliseconds since the epoch; before it, every token has yet to begin.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
