//! Who leads: one replica holds a Lease, and knows by its own clock for how long it may believe so.
//!
//! ```text
//!  Lease ─► read ─► Term (pure: what follows from what was seen, and when) ─► write, with the version that was read
//!                                                                   └─► Guard: may I write now?
//! ```
//!
//! Owns the Lease and the number of each leadership. Nobody's wall clock is believed: a rival's Lease is over once it was seen
//! unchanged for its whole duration by our own monotonic clock, and ours once two thirds of it have passed since before the last
//! renewal was sent. Must never do a leader's work.

mod lease;
mod term;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use kube::Client;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::owner::Owner;

pub use lease::{KubeLeases, LeaseError, Leases, Seen, Wanted};

use self::term::{Step, Term};

/// Which Lease, and who we are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This process: the pod's name.
    pub identity: String,
    /// `HOST:PORT` at which other replicas reach this one.
    pub address: Option<String>,
    /// How patient it is.
    pub durations: Durations,
}

/// Times of a leadership.
#[derive(Debug, Clone, Copy)]
pub struct Durations {
    /// How long a Lease holds.
    pub lease: Duration,
    /// How often the leader renews.
    pub renew: Duration,
    /// How often others look.
    pub look: Duration,
    /// The time that one call may take. A renewal is two; both must fit well into two thirds of the Lease.
    pub call: Duration,
}

/// The leadership, as this process knows it. Cheap to clone.
#[derive(Clone)]
pub struct Leader {
    shared: Arc<Shared>,
}

/// Permission to do a leader's work, for now. Ask [`Guard::holds`] right before every write.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
    epoch: u64,
}

struct Shared {
    /// The end of what may be believed, and the leadership that it is of.
    until: Mutex<Option<(Instant, u64)>>,
    leading: watch::Sender<bool>,
    epoch: watch::Sender<u64>,
    address: watch::Sender<Option<String>>,
    /// When other replicas had the time to find this one, after it followed another; `None`: it never did.
    settled: Mutex<Option<Instant>>,
}

/// The task.
struct Campaign {
    leases: Arc<dyn Leases>,
    term: Term,
    settings: Settings,
    highest: watch::Receiver<u64>,
    shared: Arc<Shared>,
    told: Option<String>,
}

/// Leaderships below this are believed. Nobody counts so far: a number above it is damage or malice, and one that could not be outrun would
/// end every leadership for good.
pub(crate) const EPOCHS: u64 = 1 << 48;
/// The leader's pause after a call that failed: what is left of two thirds of a Lease is enough for some attempts.
const AGAIN: Duration = Duration::from_secs(1);
/// How long other replicas may take, after a hand-over, to find the new leader and to tell what their data planes have in force: a look at
/// the Lease, a connection, and all of that again.
const SETTLES: Duration = Duration::from_secs(5);
/// The longest time that giving the Lease back may take.
const FAREWELL: Duration = Duration::from_secs(3);

// === impl Durations ===

impl Default for Durations {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            look: Duration::from_secs(2),
            call: Duration::from_secs(2),
        }
    }
}

impl Durations {
    /// How long after the sending of a renewal a leader may work.
    fn trusted(&self) -> Duration {
        self.lease * 2 / 3
    }
}

// === impl Leader ===

impl Leader {
    /// Takes part in the election. The future must be polled for as long as the process lives; it ends after `shutdown`, when the Lease
    /// was given back.
    pub fn start(
        client: Client,
        owner: Owner,
        settings: Settings,
        highest: watch::Receiver<u64>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let leases = Arc::new(KubeLeases::new(client, &settings.namespace, &settings.name, owner));
        Self::start_with(leases, settings, highest, shutdown)
    }

    /// [`Leader::start`] with another source.
    pub fn start_with(
        leases: Arc<dyn Leases>,
        settings: Settings,
        highest: watch::Receiver<u64>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let shared = Arc::new(Shared {
            until: Mutex::new(None),
            leading: watch::Sender::new(false),
            epoch: watch::Sender::new(0),
            address: watch::Sender::new(None),
            settled: Mutex::new(None),
        });
        let term = Term::new(&settings);
        let campaign = Campaign { leases, term, settings, highest, shared: shared.clone(), told: None };
        (Self { shared }, campaign.run(shutdown))
    }

    /// Whether this process leads. Follows the truth by a moment; what must not happen late asks a [`Guard`].
    pub fn is_leading(&self) -> watch::Receiver<bool> {
        self.shared.leading.subscribe()
    }

    /// The number of the leadership; 0: not known yet. Never goes down.
    pub fn epoch(&self) -> watch::Receiver<u64> {
        self.shared.epoch.subscribe()
    }

    /// `HOST:PORT` of the leader; `None`: there is none, it did not say, or it is this process.
    pub fn address(&self) -> watch::Receiver<Option<String>> {
        self.shared.address.subscribe()
    }

    /// The permission to do a leader's work, if this process leads.
    pub fn guard(&self) -> Option<Guard> {
        let (until, epoch) = (*self.shared.until.lock())?;
        (Instant::now() < until).then(|| Guard { shared: self.shared.clone(), epoch })
    }

    /// Whether other replicas had the time to find this one and to report to it. To be asked after a [`Guard`]: a leadership that is to settle
    /// says so before it begins.
    pub fn is_settled(&self) -> bool {
        self.shared.settled.lock().is_none_or(|settled| settled <= Instant::now())
    }
}

// === impl Guard ===

impl Guard {
    /// Whether work of this leadership may still begin. A process that slept finds out here.
    pub fn holds(&self) -> bool {
        self.shared.until.lock().is_some_and(|(until, epoch)| epoch == self.epoch && Instant::now() < until)
    }
}

// === impl Campaign ===

impl Campaign {
    async fn run(mut self, shutdown: CancellationToken) {
        let shared = self.shared.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = async { tokio::join!(self.campaign(), expire(&shared)) } => match never.0 {},
        }
        self.give_back().await;
    }

    async fn campaign(&mut self) -> std::convert::Infallible {
        loop {
            let failed = self.round().await.inspect_err(|error| self.tell(error)).is_err();
            let (leads, durations) = (self.term.holds(Instant::now()), self.settings.durations);
            let pause = match (leads, failed) {
                (true, true) => AGAIN,
                (true, false) => durations.renew,
                (false, _) => durations.look,
            };
            let (own, mut highest) = (self.term.epoch(), self.highest.clone());
            tokio::select! {
                // Not all at once after an outage.
                () = sleep(pause.mul_f64(0.8 + 0.2 * fastrand::f64())) => {}
                // A data plane has seen a later leadership: until ours is above it, it takes nothing from us. Not after a failure, or
                // an API server that refuses would be asked without a pause.
                () = raised(&mut highest, own), if leads && !failed => {}
            }
        }
    }

    /// Looks, and does what follows.
    async fn round(&mut self) -> Result<(), LeaseError> {
        let patience = self.settings.durations.call;
        let seen = within(patience, self.leases.read()).await?;
        let heard = *self.highest.borrow();
        let now = Instant::now();
        let step = self.term.step(seen.as_ref(), heard, now);
        if !self.term.holds(now) {
            // Somebody else has it, or nobody: what was permitted ends now, not at the end of its time.
            *self.shared.until.lock() = None;
        }
        match step {
            Step::Wait => {
                let theirs = seen.filter(|seen| seen.holder.is_some()).and_then(|seen| seen.address);
                self.shared.set_address(theirs);
            }
            Step::Write { epoch, transitions, taken } => {
                let wanted = Wanted {
                    holder: Some(self.settings.identity.clone()),
                    address: self.settings.address.clone(),
                    lease: self.settings.durations.lease,
                    epoch,
                    transitions,
                    taken,
                };
                // Before the call: whoever sees the write sees it later than this.
                let sent = Instant::now();
                within(patience, self.leases.write(wanted, seen)).await?;
                if self.term.written(epoch, sent) {
                    *self.shared.settled.lock() = Some(Instant::now() + SETTLES);
                }
                *self.shared.until.lock() = Some((sent + self.settings.durations.trusted(), epoch));
                self.shared.set_address(None);
                if taken {
                    info!(epoch, "this replica leads");
                }
            }
        }
        self.told = None;
        let epoch = self.term.epoch();
        self.shared.epoch.send_if_modified(|known| {
            let new = *known < epoch;
            *known = epoch.max(*known);
            new
        });
        self.shared.look();
        Ok(())
    }

    /// So that the next leader need not wait. Only if nobody else has it.
    async fn give_back(&mut self) {
        let led = self.shared.until.lock().take().is_some_and(|(until, _)| Instant::now() < until);
        self.shared.look();
        if !led {
            return;
        }
        let release = async {
            let seen = self.leases.read().await?;
            if seen.as_ref().and_then(|seen| seen.holder.as_ref()) != Some(&self.settings.identity) {
                return Ok(());
            }
            let transitions = seen.as_ref().map_or(0, |seen| seen.transitions);
            let lease = Duration::from_secs(1);
            let wanted =
                Wanted { holder: None, address: None, lease, epoch: self.term.epoch(), transitions, taken: false };
            self.leases.write(wanted, seen).await.map(|_| ())
        };
        match within(FAREWELL, release).await {
            Ok(()) => info!("the lease was given back"),
            Err(error) => warn!(%error, "the lease was not given back; it runs out by itself"),
        }
    }

    /// Once per kind of trouble: an outage is one line.
    fn tell(&mut self, error: &LeaseError) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            warn!("the lease: {text}");
            self.told = Some(text);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Whether what was believed is over.
    fn look(&self) {
        let leads = self.until.lock().is_some_and(|(until, _)| Instant::now() < until);
        let changed = self.leading.send_if_modified(|leading| std::mem::replace(leading, leads) != leads);
        if changed && !leads {
            warn!("this replica leads no more; it serves on");
        }
    }

    fn set_address(&self, address: Option<String>) {
        self.address.send_if_modified(|known| {
            let new = *known != address;
            *known = address;
            new
        });
    }
}

/// Ends what is believed at its time, whatever the calls do. Looks again when it was prolonged meanwhile.
async fn expire(shared: &Shared) -> std::convert::Infallible {
    let mut leading = shared.leading.subscribe();
    loop {
        let until = *shared.until.lock();
        match until {
            Some((until, _)) if Instant::now() < until => sleep_until(until).await,
            _ => {
                shared.look();
                // The sender is ours and lives.
                let _ = leading.wait_for(|leading| *leading).await;
            }
        }
    }
}

/// Resolves when a leadership above `own` was heard of. Never if nobody can tell any more.
async fn raised(highest: &mut watch::Receiver<u64>, own: u64) {
    if highest.wait_for(|highest| *highest > own).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn within<T>(patience: Duration, call: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
    timeout(patience, call).await.unwrap_or_else(|_| Err(LeaseError::Unavailable("no answer in time".to_owned())))
}
