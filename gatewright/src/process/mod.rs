//! What every serving process is made of, wherever its policies come from.
//!
//! Two runtimes: one decides, the other fetches keys, takes what an operator sends and answers the admin listener, so that no control
//! work delays a check; `run` reads and compiles documents on threads of their own. Owns start, order and end.

mod audit;
mod data;
mod serve;
mod telemetry;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use authz::{
    cache::TokenCache,
    jwks::{self, KeyCache},
    net::Networks,
    remote::calls::{self, RemoteCache},
    server::{
        Address, Admin, CheckOptions, CheckService, Dump, LogLevel, Metrics, Peers, Pending, Readiness, Registry,
        SnapshotCell,
    },
    shared::SharedStores,
    signers::OwnKeys,
    tls,
    uses::Ledger,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinSet,
};

pub(crate) use data::DataDir;
pub(crate) use serve::{Ended, Stop, named};
use telemetry::Telemetry;

use crate::{USAGE, cli::ProcessArgs, config::ConfigError, fail, logging};

/// Threads for control work: compiling and fetching are rare, and never in the way.
const CONTROL_THREADS: usize = 2;

/// Why the process did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] authz::server::ListenError),
    #[error("cannot listen on {address}: {source}; is another process there?")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the client for issuers cannot be made: {0}")]
    Client(String),
    #[error("cannot write {path}: {source}")]
    AddressesFile { path: String, source: io::Error },
    #[error("the sealing key {path} cannot be used: {reason}")]
    SealKey { path: String, reason: String },
    #[error("the audit log {path} cannot be opened: {source}")]
    AuditLog { path: String, source: io::Error },
    #[error(transparent)]
    Traces(#[from] authz::trace::TraceError),
    #[error("a background task ended: {0}; the process ends with it rather than serving what nobody updates")]
    Task(&'static str),
    #[error("the runtime cannot be made: {0}")]
    Runtime(#[from] io::Error),
}

/// Where to listen.
pub(crate) struct Addresses {
    pub(crate) authz: Address,
    pub(crate) broker: Option<Broker>,
    pub(crate) admin: SocketAddr,
}

/// The listener that publishes the public halves of our signing keys, and where those are kept.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// The `iss` of what we sign; `None`: the listener's own URL.
    pub(crate) issuer: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
}

/// What a process starts from: everything that does not depend on where policies come from.
pub(crate) struct Core {
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) remote: Arc<RemoteCache>,
    pub(crate) stores: Arc<SharedStores>,
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) uses: Arc<Ledger>,
    pub(crate) readiness: Readiness,
    /// Keeps readiness down until the sockets serve.
    pub(crate) starting: Pending,
    telemetry: Telemetry,
}

/// Resolves when something is in force, with the TLS of the ext_authz listener if it shall have one.
pub(crate) type Prepared = Pin<Box<dyn Future<Output = Option<tls::Shared>> + Send>>;

/// What is left to do when the last check was answered, before the process ends. Bounded in time by itself.
pub(crate) type Farewell = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A process that is about to serve.
pub(crate) struct Parts {
    keys: Arc<KeyCache>,
    service: CheckService,
    admin: Admin,
    readiness: Readiness,
    starting: Pending,
    addresses: Addresses,
    tasks: JoinSet<Ended>,
    prepared: Prepared,
    farewell: Farewell,
    telemetry: Telemetry,
}

/// Exit 0 after a drain, 1 when something failed, 2 on usage and unreadable configuration.
pub(crate) fn command(args: &ProcessArgs, start: impl AsyncFnOnce(LogLevel) -> Result<Parts, ProcessError>) -> u8 {
    let log = match logging::start(&args.log_level, args.log_format) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    match run(args, log.level.clone(), start) {
        Ok(()) => 0,
        Err(error @ (ProcessError::Config(_) | ProcessError::Traces(_))) => fail(USAGE, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn run(
    args: &ProcessArgs,
    log_level: LogLevel,
    start: impl AsyncFnOnce(LogLevel) -> Result<Parts, ProcessError>,
) -> Result<(), ProcessError> {
    let workers = args.workers.map_or_else(|| std::thread::available_parallelism().map_or(2, usize::from), usize::from);
    let data = runtime("check", workers)?;
    let control = runtime("control", CONTROL_THREADS)?;
    let ended = control.block_on(async {
        // First of all, or a signal during the start would end the process as a crash does.
        let stop = Stop::listen()?;
        let mut parts = start(log_level).await?;
        let telemetry = std::mem::take(&mut parts.telemetry);
        let ended = serve::until_drained(parts, args, data.handle(), stop).await;
        telemetry.end().await;
        ended
    });
    // Whatever is still under way after the drain is not waited for.
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// A runtime of so many threads of this name.
pub(crate) fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

// === impl Core ===

impl Core {
    /// Nothing is in force yet. `networks` may be dialled beside public addresses.
    pub(crate) fn new(args: &ProcessArgs, data_dir: Option<&Path>, networks: Networks) -> Result<Self, ProcessError> {
        let mut registry = Registry::default();
        logging::register(&mut registry);
        let metrics = Metrics::register(&mut registry);
        let telemetry = Telemetry::start(&args.telemetry, &mut registry)?;
        let cluster = args.cluster.cluster();
        let options = jwks::Options {
            data_dir: data_dir.map(Path::to_owned),
            networks: networks.clone(),
            cluster: cluster.clone(),
            max_stale: args.max_stale_keys,
            traces: telemetry.traces.clone(),
            ..jwks::Options::default()
        };
        let keys = KeyCache::new(options, &mut registry).map_err(|error| ProcessError::Client(error.to_string()))?;
        let traces = telemetry.traces.clone();
        let options = calls::Options { networks: networks.clone(), cluster, traces, ..calls::Options::default() };
        let remote = RemoteCache::new(options, &mut registry, Handle::current());
        let stores = SharedStores::new(networks, &mut registry);
        let (snapshots, readiness) = (Arc::new(SnapshotCell::default()), Readiness::default());
        let uses = Arc::new(Ledger::default());
        uses.register(&mut registry);
        let starting = readiness.wait_for("sockets");
        Ok(Self { registry, metrics, keys, remote, stores, snapshots, uses, readiness, starting, telemetry })
    }

    /// Around what is in force, or will be once `prepared` resolves.
    pub(crate) fn parts(
        self,
        args: &ProcessArgs,
        addresses: Addresses,
        log_level: LogLevel,
        verdicts: Dump,
        prepared: Prepared,
    ) -> Parts {
        let Self { registry, metrics, keys, remote, stores, snapshots, uses, readiness, starting, telemetry } = self;
        let options = CheckOptions {
            deadline: args.check_timeout,
            max_in_flight: usize::try_from(args.max_checks).unwrap_or(usize::MAX),
            traces: telemetry.traces.clone(),
            audit: telemetry.audit.clone(),
        };
        let tokens = Arc::new(TokenCache::new(u64::from(args.token_cache) * 1024 * 1024));
        let service = CheckService::new(snapshots.clone(), keys.clone(), remote, stores, tokens, metrics, options);
        service.note_uses(uses);
        let admin = Admin {
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            snapshots,
            keys: keys.clone(),
            verdicts,
            log_level,
            signers: None,
        };
        let (tasks, farewell) = (JoinSet::new(), Box::pin(std::future::ready(())));
        Parts { keys, service, admin, readiness, starting, addresses, tasks, prepared, farewell, telemetry }
    }
}

// === impl Parts ===

impl Parts {
    /// Signs with these keys, and publishes them on the admin listener.
    pub(crate) fn sign_with(&mut self, keys: Arc<OwnKeys>) {
        self.service.sign_with(keys.clone());
        self.admin.signers = Some(keys);
    }

    /// What the checks see of proxies goes there.
    pub(crate) fn note_peers(&self, peers: Arc<Peers>) {
        self.service.note_peers(peers);
    }

    /// Work beside serving; if it ends, the process does.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = Ended> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Done after the last check was answered.
    pub(crate) fn at_the_end(&mut self, farewell: impl Future<Output = ()> + Send + 'static) {
        self.farewell = Box::pin(farewell);
    }
}
