//! One store: its connection, and whether it is worth asking.
//!
//! A task of its own connects, notices the end, and connects again with growing pauses; requests only look at the outcome. They wait for a
//! connection that is being made for the first time, or again after one that held; where an attempt has failed, they are told `Down` at once.
//! Counts that get no answer, [`STRIKES`] in a row, end a connection: a frozen server keeps its sockets open.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crds::snapshot::SharedStore;
use redis::{Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{
    dial::{self, Driver},
    error::StoreError,
    metrics::Metrics,
    scripts::Call,
};
use crate::net::Networks;

/// Failures in a row that end a connection.
const STRIKES: u32 = 3;
/// A store that owed an answer for so long is not well, even if it had more time of its own than the check that asked.
const SLOW: Duration = Duration::from_millis(25);
/// A connection that lasted less was no sign of a store that is well.
const HELD: Duration = Duration::from_secs(5);
/// The first pause between two attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often an idle connection is used, so that whoever stands between us and the store does not forget it, and its end is noticed.
const IDLE: Duration = Duration::from_secs(10);
/// A failing store is told of this often.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// The store, as requests see it. Dropping it ends its task.
pub(super) struct Link {
    store: Arc<SharedStore>,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

#[derive(Clone)]
enum State {
    /// For the first time, or again after a connection that held.
    Connecting,
    Up(Up),
    Down,
}

/// A connection, and how it fares.
#[derive(Clone)]
struct Up {
    connection: MultiplexedConnection,
    health: Arc<Health>,
}

#[derive(Default)]
struct Health {
    strikes: AtomicU32,
    broken: Notify,
}

/// The task.
struct Keeper {
    store: Arc<SharedStore>,
    networks: Networks,
    metrics: Metrics,
    state: watch::Sender<State>,
    pause: Duration,
    told: Option<Instant>,
}

// === impl Link ===

impl Link {
    /// Begins to connect, on the runtime of whoever asks first: that of requests, which control work does not delay.
    pub(super) fn start(store: Arc<SharedStore>, networks: Networks, metrics: Metrics) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let keeper = Keeper { store: store.clone(), networks, metrics, state: sender, pause: PAUSES.0, told: None };
        Self { store, state, task: tokio::spawn(keeper.keep()).abort_handle() }
    }

    /// Runs a script, within the store's time and until `deadline`.
    pub(super) async fn run(&self, call: &Call, deadline: Instant) -> Result<Value, StoreError> {
        let own = Instant::now() + self.store.timeout;
        let until = own.min(deadline);
        let up = timeout_at(until, self.up()).await.map_err(|_| StoreError::Timeout)??;
        let mut connection = up.connection;
        let asked = Instant::now();
        match timeout_at(until, call.run(&mut connection)).await {
            Ok(Ok(value)) => {
                up.health.strikes.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                let error = StoreError::of(&error);
                // A server that cannot count may be the wrong one by now, after a failover.
                up.health.strike();
                Err(error)
            }
            Err(_) => {
                // A check that had no time left says nothing about the store. One that waited does, or a store whose own time is longer
                // than what checks have left would be frozen and never blamed.
                if until == own || asked.elapsed() >= SLOW {
                    up.health.strike();
                }
                Err(StoreError::Timeout)
            }
        }
    }

    async fn up(&self) -> Result<Up, StoreError> {
        let mut state = self.state.clone();
        // The task ends with this link only.
        let settled =
            state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| StoreError::Down)?;
        match &*settled {
            State::Up(up) => Ok(up.clone()),
            State::Connecting | State::Down => Err(StoreError::Down),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Health ===

impl Health {
    fn strike(&self) {
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 == STRIKES {
            self.broken.notify_one();
        }
    }
}

// === impl Keeper ===

impl Keeper {
    async fn keep(mut self) {
        loop {
            match self.attempt().await {
                Ok((up, driver)) => {
                    self.metrics.connected("ok");
                    if self.told.take().is_some() {
                        info!(store = &*self.store.host, "the store of limits answers again");
                    }
                    let begun = Instant::now();
                    let why = {
                        let _up = self.metrics.up();
                        self.state.send_replace(State::Up(up.clone()));
                        until_broken(&up, driver).await
                    };
                    drop(up);
                    if begun.elapsed() >= HELD {
                        self.pause = PAUSES.0;
                        self.state.send_replace(State::Connecting);
                        continue;
                    }
                    self.state.send_replace(State::Down);
                    self.tell(&why);
                }
                Err(error) => {
                    self.metrics.connected(error.label());
                    self.state.send_replace(State::Down);
                    self.tell(&error);
                }
            }
            // Not all replicas at the same moment.
            sleep(self.pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Connects. Longer than a count may take nobody waits for it: from then on the store is down until it is up.
    async fn attempt(&self) -> Result<(Up, Driver), StoreError> {
        let mut connecting = pin!(self.connect());
        if let Ok(ended) = timeout(self.store.timeout, &mut connecting).await {
            return ended;
        }
        self.state.send_replace(State::Down);
        connecting.await
    }

    /// A connection over which a count could be made in time.
    async fn connect(&self) -> Result<(Up, Driver), StoreError> {
        let (connection, mut driver) = dial::dial(&self.networks, &self.store).await?;
        let pinged = tokio::select! {
            pinged = ping(connection.clone(), self.store.timeout) => pinged,
            () = &mut driver => Err(StoreError::Cut),
        };
        pinged.map(|()| (Up { connection, health: Arc::default() }, driver))
    }

    fn tell(&mut self, why: &StoreError) {
        if self.told.is_none_or(|last| last.elapsed() >= TELL_AGAIN) {
            self.told = Some(Instant::now());
            warn!(store = &*self.store.host, port = self.store.port, %why, "the store of limits does not count");
        }
    }
}

/// Waits for the end of a connection, by whatever sign.
async fn until_broken(up: &Up, driver: Driver) -> StoreError {
    let idle = async {
        loop {
            sleep(IDLE).await;
            if let Err(error) = ping(up.connection.clone(), dial::PATIENCE).await {
                return error;
            }
        }
    };
    let idle = pin!(idle);
    tokio::select! {
        () = driver => StoreError::Cut,
        () = up.health.broken.notified() => StoreError::Timeout,
        error = idle => error,
    }
}

async fn ping(mut connection: MultiplexedConnection, patience: Duration) -> Result<(), StoreError> {
    let command = redis::cmd("PING");
    let asked = timeout(patience, command.query_async::<String>(&mut connection)).await;
    match asked {
        Ok(Ok(pong)) if pong == "PONG" => Ok(()),
        Ok(Ok(_)) => Err(StoreError::Content),
        Ok(Err(error)) => Err(StoreError::of(&error)),
        Err(_) => Err(StoreError::Timeout),
    }
}
