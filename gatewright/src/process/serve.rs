//! Sockets, signals and the end: serve until told to stop, then finish what is under way.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use authz::{
    jwks::KeyCache,
    server::{self, Pending, Readiness, Serving},
    signers::OwnKeys,
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Parts, ProcessError};
use crate::cli::ProcessArgs;

/// How often start-up looks whether keys have come.
const LOOK: Duration = Duration::from_millis(20);

/// How often is looked whether a signing key is due.
const TURN: Duration = Duration::from_mins(5);

/// The real addresses; no port is 0.
#[derive(Debug, serde::Serialize)]
struct Addresses {
    authz: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    admin: String,
}

/// SIGTERM and SIGINT, from the moment this is made.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
}

// === impl Stop ===

impl Stop {
    /// Takes the signals over.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Resolves at the next signal.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// How a background task ended, and which.
pub(crate) type Ended = (&'static str, io::Result<()>);

/// Serves on `data` until SIGTERM or SIGINT, then drains.
pub(crate) async fn until_drained(
    parts: Parts,
    args: &ProcessArgs,
    data: &Handle,
    mut stop: Stop,
) -> Result<(), ProcessError> {
    let Parts { keys, service, admin, readiness, starting, addresses, mut tasks, mut prepared, farewell, telemetry: _ } =
        parts;
    let (serving, ends) = (Serving::default(), CancellationToken::new());

    let authz = server::bind(&addresses.authz).await?;
    let admin_socket = listen(addresses.admin).await?;
    let broker = match addresses.broker {
        Some(broker) => Some((listen(broker.address).await?, broker)),
        None => None,
    };
    let addresses = Addresses {
        authz: authz.address().to_string(),
        broker: broker.as_ref().map(|(socket, _)| bound(socket)).transpose()?.map(|address| address.to_string()),
        admin: bound(&admin_socket)?.to_string(),
    };
    info!(authz = addresses.authz, broker = addresses.broker, admin = addresses.admin, "listening");
    tasks.spawn(named("admin listener", admin.serve(admin_socket, ends.clone())));
    if let Some((socket, broker)) = broker {
        let issuer =
            broker.issuer.unwrap_or_else(|| format!("http://{}", addresses.broker.as_deref().unwrap_or_default()));
        let own_keys = OwnKeys::open(broker.data_dir.as_deref(), &issuer);
        service.sign_with(own_keys.clone());
        tasks.spawn(turn(own_keys.clone()));
        tasks.spawn(named("broker listener", server::serve_keys(socket, own_keys, ends.clone())));
    }

    // Nothing is answered before something is in force.
    let authz = tokio::select! {
        tls = &mut prepared => match tls {
            Some(tls) => authz.secured(tls),
            None => authz,
        },
        () = stop.told() => return Ok(()),
        Some(ended) = tasks.join_next() => return Err(task_ended(ended)),
    };
    let checks = data.spawn(server::serve(authz, service, serving.clone()));
    let waiting = await_keys(&readiness, &keys, args.startup_key_timeout);
    drop(starting);

    let mut checks = Box::pin(checks);
    tokio::select! {
        () = waiting => {}
        () = stop.told() => {
            let last = async { tokio::join!(farewell, keys.shutdown()) };
            drain(&readiness, &serving, checks, &ends, last, args.drain_timeout, &mut stop).await;
            return Ok(());
        }
        _ = &mut checks => return Err(ProcessError::Task("gRPC server")),
        Some(ended) = tasks.join_next() => return Err(task_ended(ended)),
    }
    serving.ready.cancel();
    if let Some(path) = &args.addresses_file {
        write_addresses(path, &addresses)
            .map_err(|source| ProcessError::AddressesFile { path: path.display().to_string(), source })?;
    }
    info!("ready");
    tokio::select! {
        () = stop.told() => {}
        _ = &mut checks => return Err(ProcessError::Task("gRPC server")),
        Some(ended) = tasks.join_next() => return Err(task_ended(ended)),
    }
    let last = async { tokio::join!(farewell, keys.shutdown()) };
    drain(&readiness, &serving, checks, &ends, last, args.drain_timeout, &mut stop).await;
    Ok(())
}

/// How long what is to be done last may take.
const FAREWELL: Duration = Duration::from_secs(5);

type Checks = std::pin::Pin<Box<tokio::task::JoinHandle<()>>>;

/// Not ready first, so that nobody sends more; then what is under way finishes, and what is to be done `last`; a second signal ends at
/// once.
async fn drain<T>(
    readiness: &Readiness,
    serving: &Serving,
    checks: Checks,
    ends: &CancellationToken,
    last: impl Future<Output = T>,
    patience: Duration,
    stop: &mut Stop,
) {
    let _draining = readiness.wait_for("draining");
    info!("draining");
    serving.drain.cancel();
    let finish = async {
        match timeout(patience, checks).await {
            Ok(Ok(())) => info!("drained"),
            Ok(Err(_)) => warn!("the gRPC server did not end cleanly"),
            Err(_) => warn!("what is under way did not finish in time; ending all the same"),
        }
        // A peer that holds up the drain takes nothing from what is to be told and kept.
        if timeout(FAREWELL, last).await.is_err() {
            warn!("not everything was told and kept in time; ending all the same");
        }
    };
    tokio::select! {
        () = finish => {}
        () = stop.told() => warn!("told twice to stop: ending at once"),
    }
    ends.cancel();
}

/// Resolves when the keys of every issuer were fetched once, or the time is over. An unreachable issuer holds nobody else up.
fn await_keys(
    readiness: &Readiness,
    keys: &std::sync::Arc<KeyCache>,
    patience: Duration,
) -> impl Future<Output = ()> + use<> {
    let mut missing: Vec<(String, Pending)> = keys
        .pending()
        .into_iter()
        .map(|issuer| (issuer.clone(), readiness.wait_for(format!("keys of {issuer}"))))
        .collect();
    let (keys, until) = (keys.clone(), Instant::now() + patience);
    async move {
        let mut ticks = interval(LOOK);
        while !missing.is_empty() && Instant::now() < until {
            ticks.tick().await;
            let pending = keys.pending();
            missing.retain(|(issuer, _)| pending.contains(issuer));
        }
        for (issuer, _) in &missing {
            warn!(
                issuer,
                "the issuer has not answered yet: its tokens are decided by keys of before, if there are any, else refused with `unavailable`"
            );
        }
    }
}

/// Keys turn by themselves.
async fn turn(keys: std::sync::Arc<OwnKeys>) -> Ended {
    let mut ticks = interval(TURN);
    loop {
        ticks.tick().await;
        let keys = keys.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || keys.turn()).await {
            return ("signing keys", Err(io::Error::other(error)));
        }
    }
}

pub(crate) async fn named(name: &'static str, task: impl Future<Output = io::Result<()>>) -> Ended {
    (name, task.await)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ProcessError> {
    TcpListener::bind(address).await.map_err(|source| ProcessError::Bind { address, source })
}

fn bound(listener: &TcpListener) -> Result<SocketAddr, ProcessError> {
    listener.local_addr().map_err(ProcessError::Runtime)
}

/// Whole or not at all: whoever waits for the file must not read half of it.
fn write_addresses(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".addresses").tempfile_in(folder)?;
    serde_json::to_writer(&mut file, addresses)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn task_ended(ended: Result<Ended, tokio::task::JoinError>) -> ProcessError {
    ProcessError::Task(ended.map_or("a task that panicked", |(name, _)| name))
}
