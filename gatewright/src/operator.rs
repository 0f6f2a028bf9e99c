//! `gatewright operator`: policies of a cluster to every data plane. Owns flags, the client of the API server, signals and the admin
//! listener; what an operator does is `operator::run`.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use authz::server::{AdminListener, LogLevel, Readiness, Registry};
use crds::hosts::HostPattern;
use kube::{Client, Config};
use operator::{
    run::{Operator, RunError, Settings},
    watch::Patience,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    USAGE,
    cli::OperatorArgs,
    fail, logging,
    process::{Stop, runtime},
};

/// Threads: the compile step keeps one, everything else waits for sockets.
const THREADS: usize = 2;
/// How long connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Where a pod reads its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Why it did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
enum OperatorError {
    #[error("no API server is known: {0}; run in a pod, or set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    #[error("the client of the API server cannot be made: {0}")]
    Client(#[from] kube::Error),
    #[error("cannot listen on {address}: {source}; is another process there?")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the admin listener ended: {0:?}")]
    Admin(Option<io::Error>),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the runtime cannot be made: {0}")]
    Runtime(#[from] io::Error),
}

/// Exit 0 after SIGTERM, 1 when something failed, 2 on usage.
pub(crate) fn command(args: &OperatorArgs) -> u8 {
    let log = match logging::start(&args.log_level, args.log_format) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    let namespace = args.namespace.clone().or_else(|| std::fs::read_to_string(NAMESPACE_FILE).ok());
    let Some(namespace) = namespace.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return fail(USAGE, "give --namespace: this is no pod that could be asked");
    };
    match run(args, namespace, log.level.clone()) {
        Ok(()) => 0,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn run(args: &OperatorArgs, namespace: String, log_level: LogLevel) -> Result<(), OperatorError> {
    let threads = runtime("operator", THREADS)?;
    let ended = threads.block_on(async {
        // First of all, or a signal during the start would end the process as a crash does.
        let mut stop = Stop::listen()?;
        let shutdown = CancellationToken::new();
        let (mut registry, readiness) = (Registry::default(), Readiness::default());
        logging::register(&mut registry);
        let (xds, admin) = (listen(args.xds_address).await?, listen(args.admin_address).await?);
        let (xds_address, admin_address) = (xds.local_addr()?, admin.local_addr()?);
        let operator =
            Operator::new(client().await?, settings(args, namespace, xds_address), &mut registry, &readiness);
        let settings = operator.shown();
        let dump = Arc::new(move || settings.clone());
        let listener = AdminListener {
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            dump,
            log_level,
            signers: None,
        };
        info!(version = env!("CARGO_PKG_VERSION"), xds = %xds_address, admin = %admin_address, "started");
        let mut running = Box::pin(operator.run(xds, shutdown.clone()));
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            ended = listener.serve(admin, shutdown.clone()) => return Err(OperatorError::Admin(ended.err())),
            () = stop.told() => {}
        }
        let _draining = readiness.wait_for("draining");
        info!("draining");
        shutdown.cancel();
        tokio::select! {
            ended = &mut running => Ok(ended?),
            () = stop.told() => Ok(()),
        }
    });
    threads.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// Without retries of its own: whoever calls knows how long an answer is of use.
async fn client() -> Result<Client, OperatorError> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    // Watches have timeouts of their own.
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address).await.map_err(|source| OperatorError::Bind { address, source })
}

fn settings(args: &OperatorArgs, namespace: String, xds: SocketAddr) -> Settings {
    let mut grants: BTreeMap<String, Vec<HostPattern>> = BTreeMap::new();
    for (namespace, pattern) in &args.grants {
        grants.entry(namespace.clone()).or_default().push(pattern.clone());
    }
    Settings {
        namespace,
        pod: args.pod_name.clone(),
        address: args.pod_ip.map(|ip| SocketAddr::new(ip, xds.port()).to_string()),
        account: args.service_account.clone(),
        service: args.service_name.clone(),
        authz_account: args.authz_service_account.clone(),
        authz_service: args.authz_service_name.clone(),
        signing_issuer: args.signing_issuer.clone().filter(|issuer| !issuer.is_empty()),
        watch_namespaces: args.watch_namespaces.clone(),
        values_namespaces: args.values_namespaces.clone(),
        given: args.tls_secret.clone(),
        owner: args.owner.clone(),
        grants,
        key_uses_every: args.key_use_interval,
        patience: Patience { silence: args.watch_silence },
    }
}
