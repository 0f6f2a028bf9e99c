//! The data plane's end of the channel to an operator.
//!
//! ```text
//!  token + key ─► Sign ─► Credentials ─► stream ─► staged ─► Held ─► Assembler ─► KeyCache, SnapshotCell
//!                             │                               └─► sealed copy, reports
//!                             └─► the TLS of the ext_authz listener
//! ```
//!
//! Owns the certificate, the stream, what is held, and the copies on disk. Applies a change as a whole or not at all, and nothing of a
//! leadership that is over. Must never serve an empty set because nobody answered.

mod copies;
mod credentials;
mod files;
mod force;
#[cfg(fuzzing)]
pub mod fuzzing;
mod held;
mod metrics;
mod renew;
mod session;
pub mod sign;
#[cfg(test)]
mod tests;
mod usage;
pub mod wire;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use credentials::Credentials;
pub use held::Refusal;

use self::{
    files::{Copy, Files},
    force::Force,
    held::Held,
    metrics::Metrics,
};
use crate::{
    jwks::KeyCache,
    server::{Dump, Peers, SnapshotCell},
    signers::OwnKeys,
    uses::Ledger,
};

/// Where the operator is and how to prove oneself to it.
#[derive(Debug)]
pub struct Options {
    /// `https://HOST:PORT`.
    pub operator: String,
    /// The operator's CA certificates in PEM. Read at every attempt: the file may come late, and changes with a rotation.
    pub authorities_file: PathBuf,
    /// The ServiceAccount token, of audience [`sign::AUDIENCE`]. Read at every attempt: it is rotated.
    pub token_file: PathBuf,
    /// The name of this pod, for the logs of the operator.
    pub pod: String,
    /// Where the sealed copies are; `None`: nowhere.
    pub data_dir: Option<PathBuf>,
    /// The key that seals them, 32 bytes; `None`: there are no copies. The file may come late.
    pub seal_key_file: Option<PathBuf>,
    /// What is to be told about the use of API keys.
    pub uses: Arc<Ledger>,
    /// How patient it is.
    pub pace: Pace,
}

/// Times of the channel.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The wait after a first failure; it doubles up to `retry_last`. Real waits are half of it to all of it.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_last: Duration,
    /// Least time between two reports.
    pub report: Duration,
    /// Time between two reports of the use of API keys.
    pub uses: Duration,
    /// Least time between two writes of the state.
    pub write: Duration,
    /// The wait before a copy that could not be written is tried again.
    pub rewrite: Duration,
    /// The time that connecting, and each request but the stream, may take.
    pub connect: Duration,
}

/// The channel. [`Channel::run`] it for as long as the process lives.
pub struct Channel {
    shared: Shared,
    held: Held,
}

/// What the parts share.
struct Shared {
    options: Options,
    files: Arc<Files>,
    force: Force,
    metrics: Metrics,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
    copy: watch::Sender<Option<Copy>>,
    peers: Arc<Peers>,
    /// Asks for a new certificate before its time: the operator may have a new CA that knows nothing of ours.
    doubt: Notify,
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_millis(100),
            retry_last: Duration::from_secs(10),
            report: Duration::from_secs(2),
            uses: Duration::from_mins(5),
            write: Duration::from_secs(1),
            rewrite: Duration::from_secs(10),
            connect: Duration::from_secs(5),
        }
    }
}

impl Pace {
    /// The wait after this many failures in a row.
    fn retry(&self, failures: u32) -> Duration {
        let doubled = self.retry_first.saturating_mul(1 << failures.saturating_sub(1).min(30)).min(self.retry_last);
        doubled.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

// === impl Channel ===

impl Channel {
    /// Puts the sealed copy in force, if there is one. Call it inside the runtime that shall fetch keys.
    pub fn new(options: Options, snapshots: Arc<SnapshotCell>, keys: Arc<KeyCache>, registry: &mut Registry) -> Self {
        let mut options = options;
        let files = Arc::new(Files::new(options.data_dir.take(), options.seal_key_file.take()));
        let metrics = Metrics::register(registry);
        let force = Force::new(snapshots, keys, metrics.clone());
        let held = match files.state() {
            Some(mut held) => {
                force.put(held.assemble());
                held
            }
            None => Held::default(),
        };
        // One that expired proves nothing: it is as if there were none.
        let identity = files.identity().filter(|own| own.is_valid(SystemTime::now())).map(Arc::new);
        if let Some(own) = &identity {
            metrics.certificate(own);
        }
        let shared = Shared {
            options,
            files,
            force,
            metrics,
            credentials: watch::Sender::new(identity),
            copy: watch::Sender::new(None),
            peers: Arc::default(),
            doubt: Notify::new(),
        };
        Self { shared, held }
    }

    /// Who this process is, as soon as that is known, and whenever it is renewed.
    pub fn credentials(&self) -> watch::Receiver<Option<Arc<Credentials>>> {
        self.shared.credentials.subscribe()
    }

    /// Whether a state of the operator is in force.
    pub fn in_force(&self) -> watch::Receiver<bool> {
        self.shared.force.in_force()
    }

    /// The operator's own keys, as soon as it sends them.
    pub fn signers(&self) -> Arc<OwnKeys> {
        self.shared.force.signers()
    }

    /// The refused resources, as JSON for the admin listener.
    pub fn rejected(&self) -> Dump {
        let rejected = self.shared.force.rejected();
        Arc::new(move || serde_json::Value::clone(&rejected.load()))
    }

    /// What is told to the operator of the proxies that ask: for [`crate::server::CheckService::note_peers`].
    pub fn peers(&self) -> Arc<Peers> {
        self.shared.peers.clone()
    }

    /// Renews, connects, applies and keeps, until `ends`: then what is left to tell is told, for at most [`Pace::connect`].
    pub async fn run(self, ends: CancellationToken) {
        let Self { shared, held } = self;
        tokio::select! {
            () = session::keep_connected(&shared, held, &ends) => {}
            ((), ()) = async { tokio::join!(renew::keep_renewed(&shared), copies::keep(&shared)) } => {}
        }
    }
}

/// Tells of a failure once; the same again only on request (`debug`).
#[derive(Debug, Default)]
struct Told(String);

impl Told {
    fn tell(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let error = causes(error);
        if self.0 == error {
            tracing::debug!(error, "{what}");
        } else {
            tracing::warn!(error, "{what}");
            self.0 = error;
        }
    }

    fn forget(&mut self) {
        self.0.clear();
    }
}

/// An error with its causes: those of the transport say nothing by themselves.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let part = one.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = one.source();
    }
    text
}
