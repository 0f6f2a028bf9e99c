//! The certificate: had at the start, renewed at two thirds of its life, without a restart and while the old one serves.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tracing::{debug, info};

use super::{
    Shared, Told,
    credentials::{Credentials, client_config},
    sign::{self, SignError},
};

/// The longest sleep: the wall clock may step meanwhile.
const LOOK: Duration = Duration::from_secs(30);

/// For ever.
pub(super) async fn keep_renewed(shared: &Shared) {
    let (mut failures, mut told) = (0, Told::default());
    loop {
        let current = shared.credentials.borrow().clone();
        let due = current.and_then(|current| current.renew_in(SystemTime::now()).ok()).unwrap_or_default();
        if !due.is_zero() {
            let doubted = timeout(due.min(LOOK), shared.doubt.notified()).await;
            if doubted.is_err() {
                continue;
            }
        }
        match obtain(shared).await {
            Ok(new) => {
                let is_current = new.is_current(SystemTime::now());
                told.forget();
                take(shared, new);
                failures = if is_current { 0 } else { failures + 1 };
                if failures > 0 {
                    // It is due at once: nobody shall be asked without a pause.
                    sleep(shared.options.pace.retry(failures)).await;
                }
            }
            Err(error) => {
                failures += 1;
                shared.metrics.failures.inc();
                told.tell("no certificate from the operator yet; trying again", &error);
                sleep(shared.options.pace.retry(failures)).await;
            }
        }
    }
}

fn take(shared: &Shared, new: Credentials) {
    shared.metrics.certificate(&new);
    info!("a new certificate of the operator is in use");
    shared.credentials.send_replace(Some(Arc::new(new)));
}

async fn obtain(shared: &Shared) -> Result<Credentials, SignError> {
    let path = &shared.options.token_file;
    let token = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| SignError::Token { path: path.display().to_string(), source })?;
    let current = shared.credentials.borrow().clone();
    let known = current.map(|current| current.authorities().clone()).unwrap_or_default();
    let tls = client_config(&authorities(shared).await, &known);
    let channel = connect(shared, tls).await??;
    let signed = timeout(shared.options.pace.connect, sign::sign(channel, &token)).await;
    let new = signed.map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))??;
    let (now, current) = (SystemTime::now(), shared.credentials.borrow().clone());
    // One of two clocks is wrong, and what works is not given away for what does not.
    let works = current.is_some_and(|current| current.is_current(now));
    if works && !new.is_current(now) { Err(SignError::Clock) } else { Ok(new) }
}

/// The CA certificates of the file; empty if it is not there yet, and then nobody is believed but who was before.
pub(super) async fn authorities(shared: &Shared) -> String {
    let path = &shared.options.authorities_file;
    tokio::fs::read_to_string(path).await.unwrap_or_else(|error| {
        debug!(path = %path.display(), %error, "the operator's CA certificates cannot be read; is the ConfigMap there yet?");
        String::new()
    })
}

/// A connection to the operator. The limit is of TLS too: of a process that is frozen, the kernel takes connections.
pub(super) async fn connect(
    shared: &Shared,
    tls: ClientTlsConfig,
) -> Result<Result<Channel, tonic::transport::Error>, tonic::Status> {
    let connected = async { endpoint(shared)?.tls_config(tls)?.connect().await };
    let late = |_| tonic::Status::deadline_exceeded("no connection in time");
    timeout(shared.options.pace.connect, connected).await.map_err(late)
}

/// How the operator is dialled. A peer that answers no ping is gone.
fn endpoint(shared: &Shared) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(shared.options.operator.clone())?
        .connect_timeout(shared.options.pace.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true))
}
