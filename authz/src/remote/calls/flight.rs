//! One running question, shared by everybody who waits for its answer.
//!
//! Owns the promise that a question is under way at most once, and that every flight ends for its waiters however it ends. Never
//! belongs to a waiter.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{Context, context::FutureExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::warn;

use super::{
    Entry, Shared, failed,
    gate::Gate,
    perform::{self, kind_of},
};
use crate::remote::{Ask, AskId, Kept, Ownership, Reply, Standing, transport::CallError};

/// A refusal may be wrong a moment later: the token that was asked about too early, the account that was just made.
const REFUSAL_KEPT: Duration = Duration::from_secs(5);

/// A question; one that is asked afresh joins none that was asked before it.
pub(super) type FlightId = (AskId, bool);

/// Where a flight ends.
#[derive(Clone)]
pub(super) struct Landing(watch::Receiver<Option<Arc<Kept>>>);

/// The right to ask. Dropping it ends the flight, in whatever state it is.
pub(super) struct Flight {
    shared: Arc<Shared>,
    ask: Arc<Ask>,
    gate: Arc<Gate>,
    /// Whether what is kept is better than no answer.
    renews: bool,
    /// The trace of the check which happened to ask.
    trace: Context,
    outcome: watch::Sender<Option<Arc<Kept>>>,
    _permit: OwnedSemaphorePermit,
}

// === impl Landing ===

impl Landing {
    /// Waits for the end.
    pub(super) async fn answer(mut self) -> Arc<Kept> {
        let ended = self.0.wait_for(Option::is_some).await;
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| failed("the question was abandoned"))
    }
}

// === impl Flight ===

impl Flight {
    /// Joins the flight of this question or starts one; the answer of a service that is asked enough already.
    pub(super) fn board(shared: &Arc<Shared>, ask: &Arc<Ask>) -> Result<Landing, Arc<Kept>> {
        Self::start(shared, ask, false)
    }

    /// The same for an answer that is kept and still good: if there is no new one, it stays.
    pub(super) fn renew(shared: &Arc<Shared>, ask: &Arc<Ask>) -> Result<Landing, Arc<Kept>> {
        Self::start(shared, ask, true)
    }

    fn start(shared: &Arc<Shared>, ask: &Arc<Ask>, renews: bool) -> Result<Landing, Arc<Kept>> {
        let mut flights = shared.flights.lock();
        // One that landed between the look of the decision and this moment; before flights, which may be about to renew it in vain.
        if !ask.fresh
            && !renews
            && let Some(kept) = shared.held(&ask.id)
        {
            return Err(kept);
        }
        if let Some(landing) = flights.get(&(ask.id, ask.fresh)) {
            return Ok(landing.clone());
        }
        let endpoint = perform::endpoint_of(&ask.what);
        let (per_second, at_once) = (shared.options.calls_per_second, shared.options.calls_at_once);
        let gate = shared.gates.get_with(endpoint, || Arc::new(Gate::new(per_second, at_once)));
        let Some(permit) = gate.enter(per_second) else {
            let busy = CallError::Busy;
            shared.metrics.answered(kind_of(&ask.what), busy.label());
            return Err(failed(busy.words()));
        };
        let (outcome, landing) = watch::channel(None);
        let landing = Landing(landing);
        flights.insert((ask.id, ask.fresh), landing.clone());
        drop(flights);
        let trace = Context::current();
        let flight = Self { shared: shared.clone(), ask: ask.clone(), gate, renews, trace, outcome, _permit: permit };
        shared.runtime.spawn(flight.run());
        Ok(landing)
    }

    async fn run(self) {
        let what = kind_of(&self.ask.what);
        let service = [("gatewright.service", perform::name_of(&self.ask.what))];
        let span = self.shared.options.traces.child(&self.trace, what, &service);
        let reply = {
            let _underway = self.shared.metrics.underway();
            let Shared { transport, options, .. } = &*self.shared;
            perform::perform(transport, options.cluster.as_deref(), &self.ask.what).with_context(span.context()).await
        };
        span.end(reply.as_ref().map_or_else(CallError::label, label), reply.is_err());
        let reply = match reply {
            Ok(reply) => {
                self.shared.metrics.answered(what, label(&reply));
                reply
            }
            Err(error) => {
                self.shared.metrics.answered(what, error.label());
                if self.gate.is_news() {
                    warn!(kind = what, service = perform::name_of(&self.ask.what), %error, "a service could not be asked");
                }
                Reply::Failed(error.words())
            }
        };
        self.land(reply);
    }

    /// Publishes the answer, first to readers and then to waiters.
    fn land(self, reply: Reply) {
        let now_ms = now_ms();
        let life = life(&reply, perform::keep_of(&self.ask.what), now_ms).filter(|_| !self.ask.fresh);
        let until_ms = life.map_or(i64::MIN, |life| now_ms.saturating_add(millis(life)));
        let kept = Arc::new(Kept { reply, until_ms });
        match life {
            Some(life) => self.shared.kept.insert(self.ask.id, Entry::new(kept.clone(), life)),
            None if self.renews && matches!(kept.reply, Reply::Failed(_)) => {}
            None => self.shared.kept.invalidate(&self.ask.id),
        }
        self.close();
        self.outcome.send_replace(Some(kept));
    }

    fn close(&self) {
        self.shared.flights.lock().remove(&(self.ask.id, self.ask.fresh));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.outcome.borrow().is_none() {
            self.close();
            self.outcome.send_replace(Some(failed("the question was abandoned")));
        }
    }
}

/// How long an answer holds; `None`: for those who wait for it.
fn life(reply: &Reply, keep: Duration, now_ms: i64) -> Option<Duration> {
    let life = match reply {
        Reply::Good(good) => {
            let left = good.ends_ms.map(|end| u64::try_from(end.saturating_sub(now_ms)).unwrap_or(0));
            left.map_or(keep, |left| keep.min(Duration::from_millis(left)))
        }
        Reply::Standing(Standing { active: true, .. }) | Reply::Owner(Ownership::Caller) => keep,
        Reply::Issued(issued) => issued.life,
        Reply::Refused(_) | Reply::Expired | Reply::Standing(_) => keep.min(REFUSAL_KEPT),
        // Somebody may create it, or give it away, at any moment.
        Reply::Owner(Ownership::Other | Ownership::Unknown) | Reply::Failed(_) => Duration::ZERO,
    };
    (!life.is_zero()).then_some(life)
}

fn label(reply: &Reply) -> &'static str {
    match reply {
        Reply::Good(_)
        | Reply::Standing(Standing { active: true, .. })
        | Reply::Owner(Ownership::Caller | Ownership::Unknown)
        | Reply::Issued(_) => "yes",
        Reply::Refused(_) | Reply::Expired | Reply::Standing(_) | Reply::Owner(Ownership::Other) => "no",
        Reply::Failed(_) => "content",
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
