//! `gatewright run`: everything in one process, from files.
//!
//! Two runtimes: one decides, the other compiles, fetches keys and answers the admin listener, so that no control work delays a
//! check. Owns start, order and end; the rest lives in [`publish`] and [`serve`].

mod data;
mod publish;
mod serve;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use authz::{
    cache::TokenCache,
    jwks::{self, KeyCache},
    remote::calls::{self, RemoteCache},
    server::{Admin, CheckOptions, CheckService, LogLevel, Metrics, Pending, Readiness, Registry, SnapshotCell},
};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::info;

use crate::{
    USAGE,
    cli::RunArgs,
    config::{ConfigError, Watch},
    fail, logging,
};
use data::DataDir;
use publish::Publisher;
use serve::Stop;

/// Threads for control work: compiling and fetching are rare, and never in the way.
const CONTROL_THREADS: usize = 2;

/// Why the process did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] authz::server::ListenError),
    #[error("cannot listen on {address}: {source}; is another process there?")]
    Bind { address: std::net::SocketAddr, source: io::Error },
    #[error("the client for issuers cannot be made: {0}")]
    Client(String),
    #[error("cannot write {path}: {source}")]
    AddressesFile { path: String, source: io::Error },
    #[error("a background task ended: {0}; the process ends with it rather than serving what nobody updates")]
    Task(&'static str),
    #[error("the runtime cannot be made: {0}")]
    Runtime(#[from] io::Error),
}

/// What the parts share.
struct Parts {
    keys: Arc<KeyCache>,
    service: CheckService,
    admin: Admin,
    readiness: Readiness,
    publisher: Publisher,
    watch: Watch,
    /// Keeps readiness down until the sockets serve.
    starting: Pending,
    data_dir: Option<PathBuf>,
}

/// Exit 0 after a drain, 1 when something failed, 2 on usage and unreadable configuration.
pub(crate) fn command(args: &RunArgs) -> u8 {
    let log = match logging::start(&args.log_level, args.log_format) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    match run(args, log.level.clone()) {
        Ok(()) => 0,
        Err(error @ RunError::Config(_)) => fail(USAGE, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn run(args: &RunArgs, log_level: LogLevel) -> Result<(), RunError> {
    let workers = args.workers.map_or_else(|| std::thread::available_parallelism().map_or(2, usize::from), usize::from);
    let data = runtime("check", workers)?;
    let control = runtime("control", CONTROL_THREADS)?;
    let ended = control.block_on(async {
        // First of all, or a signal during the start would end the process as a crash does.
        let stop = Stop::listen()?;
        let parts = start(args, log_level).await?;
        serve::until_drained(parts, args, data.handle(), stop).await
    });
    // Whatever is still under way after the drain is not waited for.
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
    ended
}

fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

/// Reads the configuration and puts it in force, before any socket is open.
async fn start(args: &RunArgs, log_level: LogLevel) -> Result<Parts, RunError> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let data_dir = DataDir::open(args.data_dir.clone().or_else(default_data_dir));
    let saved = data_dir.path().map(Path::to_owned);
    let options = jwks::Options {
        data_dir: data_dir.path().map(Path::to_owned),
        networks: args.network.networks(),
        max_stale: args.max_stale_keys,
        ..jwks::Options::default()
    };
    let keys = KeyCache::new(options, &mut registry).map_err(|error| RunError::Client(error.to_string()))?;
    let options = calls::Options { networks: args.network.networks(), ..calls::Options::default() };
    let remote = RemoteCache::new(options, &mut registry, Handle::current());
    let (snapshots, readiness) = (Arc::new(SnapshotCell::default()), Readiness::default());
    let starting = readiness.wait_for("sockets");
    let (watch, objects) = Watch::start(&args.config.paths).await?;
    let mut publisher = Publisher::new(data_dir, snapshots.clone(), keys.clone(), &mut registry);
    publisher.publish(objects);
    let options = CheckOptions {
        deadline: args.check_timeout,
        max_in_flight: usize::try_from(args.max_checks).unwrap_or(usize::MAX),
    };
    let tokens = Arc::new(TokenCache::new(u64::from(args.token_cache) * 1024 * 1024));
    let service = CheckService::new(snapshots.clone(), keys.clone(), remote, tokens, metrics, options);
    let admin = Admin {
        readiness: readiness.clone(),
        registry: Arc::new(registry),
        snapshots: snapshots.clone(),
        keys: keys.clone(),
        verdicts: publisher.verdicts(),
        log_level,
    };
    info!(version = env!("CARGO_PKG_VERSION"), policies = snapshots.load().entries().len(), "started");
    Ok(Parts { keys, service, admin, readiness, publisher, watch, starting, data_dir: saved })
}

fn default_data_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("gatewright"))
}
