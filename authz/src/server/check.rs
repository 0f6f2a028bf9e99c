//! `envoy.service.auth.v3.Authorization/Check`: decode, decide, wait where needed, encode, observe.

use std::{
    borrow::Cow,
    future::{Ready, ready},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crds::{code::Code, snapshot::Snapshot};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use futures_util::future::{BoxFuture, Either};
use opentelemetry::{Context as Trace, context::FutureExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::error;

use super::{
    audit::Audit,
    connections::Connections,
    deadline::budget,
    http2::Caller,
    metrics::Metrics,
    observe::{Observer, Seen},
    peers::Peers,
    reports::Reports,
    request, response,
    state::SnapshotCell,
    wire::Check,
};
use crate::{
    cache::TokenCache,
    decide::{Awaited, Decision, Deny, Deps, Facts, Need, Step, decide},
    errors::Asked,
    factors::LocalFactors,
    jwks::KeyCache,
    limits::LocalLimits,
    remote::calls::RemoteCache,
    request::RequestView,
    shared::SharedStores,
    signers::{NoKeys, OwnKeys, SignerStore},
    trace::Traces,
    uses::Ledger,
};

/// Limits of the check service.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Longest time a check may wait: for keys, services, stores, codes. Envoy gives up after 200 ms by default and then answers 403; we answer before.
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

pub(super) struct Inner {
    snapshots: Arc<SnapshotCell>,
    pub(super) keys: Arc<KeyCache>,
    pub(super) remote: Arc<RemoteCache>,
    pub(super) stores: Arc<SharedStores>,
    pub(super) connections: Arc<Connections>,
    tokens: Arc<TokenCache>,
    limits: LocalLimits,
    pub(super) factors: LocalFactors,
    pub(super) own_keys: OnceLock<Arc<OwnKeys>>,
    uses: OnceLock<Arc<Ledger>>,
    peers: OnceLock<Arc<Peers>>,
    pub(super) metrics: Metrics,
    observer: Observer,
    slots: Semaphore,
    deadline: Duration,
}

/// What a check came with.
pub(super) struct Arrived {
    check: Check,
    began: Instant,
    deadline: Instant,
    now_ms: i64,
    /// Whether the proxy proved itself.
    proven: bool,
    from: Option<IpAddr>,
    /// For a request without an id of its own.
    id: u64,
}

/// The answer of a check, as bytes.
type Answered = Result<Response<Vec<u8>>, Status>;
/// A check that waits for nothing costs no future.
pub(super) type Answering = Either<Ready<Answered>, BoxFuture<'static, Answered>>;

/// A check that has to wait: for what first, and its span.
struct Waiting {
    need: Need,
    trace: Option<Trace>,
}

/// A check under way. Counted back on drop: a proxy that gives up ends the future where it waits.
struct InFlight<'a>(&'a Gauge);

// === impl Arrived ===

impl Arrived {
    fn new(request: Request<Check>, caller: &Caller, deadline: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            deadline: began + budget(&request, deadline),
            now_ms: now_ms(),
            proven: caller.is_proven(),
            from: caller.address(),
            id: fastrand::u64(..),
            check: request.into_inner(),
        }
    }

    /// The request as it is decided on, and its id.
    fn read(&self) -> (Result<RequestView<'_>, Deny>, Cow<'_, str>) {
        let view = request::view(&self.check, self.proven);
        let id = request::id(&self.check, view.as_ref().ok());
        (view, id.unwrap_or_else(|| Cow::Owned(format!("gw-{:016x}", self.id))))
    }
}

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

    /// Answers one check. Nearly every one is decided without waiting for anything.
    pub(super) fn check(&self, request: Request<Check>, caller: &Caller) -> Answering {
        let arrived = Arrived::new(request, caller, self.inner.deadline);
        match self.inner.at_once(&arrived) {
            Ok(answer) => Either::Left(ready(Ok(Response::new(answer)))),
            Err(waiting) => {
                let inner = self.inner.clone();
                Either::Right(Box::pin(async move { Ok(Response::new(inner.later(&arrived, waiting).await)) }))
            }
        }
    }

    pub(super) fn peers(&self) -> Option<Arc<Peers>> {
        self.inner.peers.get().cloned()
    }

    /// Hears what proxies tell of the connections that checks have let in, until it drains.
    pub(super) fn reports(&self, drain: CancellationToken) -> AccessLogServiceServer<Reports> {
        Reports::service(self.inner.snapshots.clone(), self.inner.connections.clone(), drain)
    }
}

// === impl Inner ===

impl Inner {
    /// The answer, if nothing has to be waited for; else the first thing that has. Shedding comes first and costs one atomic: refusing
    /// late would spend what is short.
    fn at_once(&self, arrived: &Arrived) -> Result<Vec<u8>, Waiting> {
        let (view, request_id) = arrived.read();
        let trace = self.observer.begin(view.as_ref().ok());
        let decision = match &view {
            Ok(view) => match self.slots.try_acquire() {
                Ok(_slot) => match self.step(&self.snapshots.load(), view, &Awaited::default(), arrived.now_ms) {
                    Step::Done(decision) => decision,
                    Step::Wait(need) => return Err(Waiting { need, trace }),
                },
                Err(_) => self.shed(),
            },
            Err(deny) => Decision::refusal(deny.clone()),
        };
        let seen = Seen { view: view.as_ref().ok(), request_id: &request_id, now_ms: arrived.now_ms, trace };
        Ok(self.conclude(arrived, &seen, decision))
    }

    /// The answer, whatever has to be waited for. Nothing was counted before, so that beginning anew counts nothing twice.
    async fn later(&self, arrived: &Arrived, Waiting { need, trace }: Waiting) -> Vec<u8> {
        let (view, request_id) = arrived.read();
        let decision = match &view {
            Ok(view) => self.decide(view, arrived, trace.as_ref(), need).await,
            Err(deny) => Decision::refusal(deny.clone()),
        };
        let seen = Seen { view: view.as_ref().ok(), request_id: &request_id, now_ms: arrived.now_ms, trace };
        self.conclude(arrived, &seen, decision)
    }

    fn shed(&self) -> Decision {
        self.metrics.shed.inc();
        Decision::refusal(Deny::new(Code::Overloaded, "too many checks under way"))
    }

    /// One snapshot from start to end. Each need is waited for once, so this ends.
    async fn decide(
        &self,
        view: &RequestView<'_>,
        arrived: &Arrived,
        trace: Option<&Trace>,
        mut need: Need,
    ) -> Decision {
        let Ok(_slot) = self.slots.try_acquire() else { return self.shed() };
        let _in_flight = InFlight::begin(&self.metrics.in_flight);
        let snapshot = self.snapshots.load_full();
        let mut awaited = Awaited::default();
        loop {
            let trace = trace.cloned().unwrap_or_default();
            self.fetch(need, arrived.deadline, arrived.now_ms, &mut awaited).with_context(trace).await;
            match self.step(&snapshot, view, &awaited, arrived.now_ms) {
                Step::Done(decision) => return decision,
                Step::Wait(next) => need = next,
            }
        }
    }

    fn step(&self, snapshot: &Snapshot, view: &RequestView<'_>, awaited: &Awaited, now_ms: i64) -> Step {
        let deps = Deps {
            snapshot,
            keys: &*self.keys,
            remote: &*self.remote,
            tokens: &self.tokens,
            signers: self.own_keys.get().map_or(&NoKeys as &dyn SignerStore, |keys| &**keys),
            limits: &self.limits,
            now_ms,
        };
        // A panic is a bug of ours: this request is refused, the process and every other request live on.
        catch_unwind(AssertUnwindSafe(|| decide(&deps, view, awaited))).unwrap_or_else(|_| {
            self.metrics.panics.inc();
            error!("a check panicked and was refused; please report this with the panic message above");
            Step::Done(Decision::refusal(Deny::new(Code::Unavailable, "internal error")))
        })
    }

    /// Tells whom it concerns, and writes the answer.
    fn conclude(&self, arrived: &Arrived, seen: &Seen<'_>, decision: Decision) -> Vec<u8> {
        if let Some(ask) = &decision.facts.renew {
            self.remote.renew(ask);
        }
        if decision.facts.withheld
            && let (Some(peers), Some((policy, _)), Some(from)) =
                (self.peers.get(), &decision.facts.policy, arrived.from)
        {
            peers.withheld(policy, from, Instant::now());
        }
        self.metrics.decided(&decision, arrived.began.elapsed());
        self.note_use(&decision.facts, arrived.now_ms);
        self.observer.end(seen, &decision);
        let asked = seen.view.map_or_else(
            || Asked::unread(seen.request_id, seen.now_ms),
            |view| Asked::of(view, seen.request_id, seen.now_ms),
        );
        response::respond(decision, &asked)
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
}

/// Milliseconds since the epoch; before it, every token has yet to begin.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
