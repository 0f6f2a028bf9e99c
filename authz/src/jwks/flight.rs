//! One running fetch of one set, shared by everybody who waits for it.
//!
//! Owns the promise that a set has at most one fetch at a time, and that every fetch ends for its waiters however it ends:
//! done, failed, cancelled, or dropped with its runtime. Never belongs to a waiter.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use opentelemetry::{Context, context::FutureExt};
use tokio::sync::watch;

use super::{
    disk::Record,
    fetch::{self, FetchError},
    slot::Slot,
};

/// Why a fetch is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is due.
    Schedule,
    /// A token named a `kid` that the keys in force do not have. Rationed by the cooldown.
    UnknownKid,
}

/// What became of asking for a fetch.
pub(super) enum Asked {
    /// It was started for the asker.
    Started(Landing),
    /// One was running already, perhaps for another cause.
    Joined(Landing),
    /// None runs and none may start.
    Refused,
}

/// Where a flight ends.
#[derive(Clone)]
pub(super) struct Landing(watch::Receiver<Option<bool>>);

/// The right to fetch: exactly one exists per slot at a time. Dropping it ends the flight, in whatever state it is.
struct Flight {
    slot: Arc<Slot>,
    cause: Cause,
    outcome: watch::Sender<Option<bool>>,
    /// The trace of the check which happened to ask.
    trace: Context,
}

/// Counts a flight as running, including the writing of its file.
struct Underway(Arc<Slot>);

// === impl Asked ===

impl Asked {
    /// The flight to wait for, if there is any.
    pub(super) fn running(self) -> Option<Landing> {
        match self {
            Self::Started(landing) | Self::Joined(landing) => Some(landing),
            Self::Refused => None,
        }
    }
}

// === impl Landing ===

impl Landing {
    /// Waits for the end; whether new keys, or the same once more, were fetched.
    pub(super) async fn outcome(mut self) -> bool {
        // An error is a flight that was dropped on its way.
        self.0.wait_for(Option::is_some).await.is_ok_and(|outcome| *outcome == Some(true))
    }
}

// === impl Slot: asking for a flight ===

impl Slot {
    /// Joins the running fetch or starts one, if `cause` may.
    pub(super) fn fetch(self: &Arc<Self>, cause: Cause) -> Asked {
        let mut control = self.control.lock();
        if let Some(running) = &control.running {
            return Asked::Joined(running.clone());
        }
        if self.has_ended() || (cause == Cause::UnknownKid && !self.may_ask_for_kid()) {
            return Asked::Refused;
        }
        let (outcome, landing) = watch::channel(None);
        let landing = Landing(landing);
        // Before the cooldown begins: `Slot::state` reads the two in the opposite order.
        self.in_flight.store(true, Ordering::SeqCst);
        if cause == Cause::UnknownKid {
            self.begin_cooldown();
            self.counts.unknown_kid.fetch_add(1, Ordering::Relaxed);
        }
        control.running = Some(landing.clone());
        drop(control);
        let underway = Underway::new(self.clone());
        let flight = Flight { slot: self.clone(), cause, outcome, trace: Context::current() };
        // On the fetching runtime, not on that of the request which happened to ask.
        self.runtime().spawn(flight.run(underway));
        Asked::Started(landing)
    }
}

// === impl Flight ===

impl Flight {
    async fn run(self, underway: Underway) {
        let slot = self.slot.clone();
        let span = slot.shared.options.traces.child(&self.trace, "keys", &[("gatewright.issuer", slot.issuer())]);
        let result = tokio::select! {
            biased;
            () = slot.removed.cancelled() => return,
            result = slot.attempt(self.cause).with_context(span.context()) => result,
        };
        span.end(if result.is_ok() { "ok" } else { "error" }, result.is_err());
        let record = self.land(result);
        // The waiters have been released: a slow disk holds up nobody.
        if let Some(record) = record {
            slot.save(record).await;
        }
        drop(underway);
    }

    /// Publishes the outcome, first to readers and then to waiters.
    fn land(self, result: Result<fetch::Fetched, FetchError>) -> Option<Record> {
        let record = match result {
            Ok(fetched) => Some(self.slot.accept(fetched)),
            Err(error) => {
                self.slot.reject(&error);
                None
            }
        };
        self.close();
        self.outcome.send_replace(Some(record.is_some()));
        record
    }

    /// Lets the next flight start. What this one brought is visible already.
    fn close(&self) {
        let mut control = self.slot.control.lock();
        control.running = None;
        self.slot.in_flight.store(false, Ordering::SeqCst);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.outcome.borrow().is_none() {
            self.slot.reject(&FetchError::Abandoned);
            self.close();
        }
    }
}

// === impl Underway ===

impl Underway {
    fn new(slot: Arc<Slot>) -> Self {
        slot.shared.flights.send_modify(|running| *running += 1);
        Self(slot)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.shared.flights.send_modify(|running| *running = running.saturating_sub(1));
    }
}
