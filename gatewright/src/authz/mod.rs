//! `gatewright authz`: the data plane of a cluster. Policies come from an operator; proxies are answered over TLS.
//!
//! Owns files and flags; the channel is `authz::channel`, the process around it [`crate::process`].

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use authz::{
    channel::{Channel, Credentials, Options, Pace},
    seal::Seal,
    server::{Address, LogLevel, Pending},
    tls,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cli::AuthzArgs,
    process::{self, Addresses, Core, Parts, Prepared, ProcessError, named},
};

/// Exit 0 after a drain, 1 when something failed, 2 on usage.
pub(crate) fn command(args: &AuthzArgs) -> u8 {
    process::command(&args.process, async |log_level| start(args, log_level).await)
}

async fn start(args: &AuthzArgs, log_level: LogLevel) -> Result<Parts, ProcessError> {
    let mut core = Core::new(&args.process, args.data_dir.as_deref())?;
    if let Some(path) = &args.seal_key_file {
        check_key(path).await?;
    }
    let options = Options {
        operator: args.operator.clone(),
        authorities_file: args.operator_ca.clone(),
        token_file: args.token_file.clone(),
        pod: args.pod_name.clone(),
        data_dir: args.data_dir.clone().filter(|_| args.seal_key_file.is_some()),
        seal_key_file: args.seal_key_file.clone().filter(|_| args.data_dir.is_some()),
        uses: core.uses.clone(),
        pace: Pace { uses: args.process.key_use_interval, ..Pace::default() },
    };
    let channel = Channel::new(options, core.snapshots.clone(), core.keys.clone(), &mut core.registry);
    info!(version = env!("CARGO_PKG_VERSION"), operator = args.operator, "started");
    let pending = core.readiness.wait_for("operator state");
    let secured = needs_tls(&args.authz_address);
    let certificate = secured.then(|| core.readiness.wait_for("certificate"));
    let (in_force, credentials) = (channel.in_force(), channel.credentials());
    let prepared: Prepared = Box::pin(prepared(in_force, pending, credentials, certificate));
    let addresses = Addresses { authz: args.authz_address.clone(), broker: None, admin: args.admin_address };
    let mut parts = core.parts(&args.process, addresses, log_level, channel.rejected(), prepared);
    parts.sign_with(channel.signers());
    parts.note_peers(channel.peers());
    let (ends, ended) = (CancellationToken::new(), CancellationToken::new());
    let (told, done) = (ends.clone(), ended.clone().drop_guard());
    parts.spawn(named("channel to the operator", async move {
        channel.run(told).await;
        drop(done);
        Ok(())
    }));
    // The use of API keys that was not told yet.
    parts.at_the_end(async move {
        ends.cancel();
        ended.cancelled().await;
    });
    Ok(parts)
}

/// Proxies elsewhere must know whom they ask, and be known; those on this machine are.
fn needs_tls(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        Address::Unix(_) => false,
    }
}

/// A file that is not there yet may come; one that holds something else is a mistake.
async fn check_key(path: &Path) -> Result<(), ProcessError> {
    match tokio::fs::read(path).await {
        Ok(key) => Seal::new(&key)
            .map(drop)
            .map_err(|error| ProcessError::SealKey { path: path.display().to_string(), reason: error.to_string() }),
        Err(error) => {
            warn!(path = %path.display(), %error, "there is no sealing key yet: until it comes, a restart waits for the operator");
            Ok(())
        }
    }
}

/// Waits for a state, and for a certificate where one is needed; then keeps the listener's certificate the newest.
async fn prepared(
    mut in_force: watch::Receiver<bool>,
    pending: Pending,
    mut credentials: watch::Receiver<Option<Arc<Credentials>>>,
    certificate: Option<Pending>,
) -> Option<tls::Shared> {
    // The channel ends with the process only, and so do these waits.
    if in_force.wait_for(|in_force| *in_force).await.is_err() {
        std::future::pending::<()>().await;
    }
    drop(pending);
    certificate.as_ref()?;
    let first = loop {
        let found = credentials.borrow_and_update().clone();
        if let Some(config) = found.and_then(|found| found.server_config().ok()) {
            break config;
        }
        if credentials.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let shared = Arc::new(ArcSwap::new(first));
    let kept = shared.clone();
    tokio::spawn(async move {
        while credentials.changed().await.is_ok() {
            let newest = credentials.borrow_and_update().clone();
            match newest.map(|newest| newest.server_config()) {
                Some(Ok(config)) => kept.store(config),
                Some(Err(error)) => warn!(%error, "the new certificate cannot be served; the one before is"),
                None => {}
            }
        }
    });
    drop(certificate);
    Some(shared)
}
