//! What a check waits for: keys, answers of others, counts that replicas share. Each until the check's deadline, and each once.

use std::sync::Arc;

use crds::snapshot::SharedStore;
use tokio::time::Instant;

use super::check::Inner;
use crate::{
    decide::{Awaited, Need},
    factors::{Attempt, Redeemed},
    remote::calls,
};

impl Inner {
    /// Waits until the deadline. What comes too late is kept for the next request; this one is decided like without it.
    pub(super) async fn fetch(&self, need: Need, deadline: Instant, now_ms: i64, awaited: &mut Awaited) {
        let in_time = match need {
            Need::Keys(id) => {
                let in_time = tokio::time::timeout_at(deadline, self.keys.refresh(&id)).await.is_ok();
                awaited.note_keys(id);
                in_time
            }
            Need::Remote(ask) => {
                let answer = tokio::time::timeout_at(deadline, self.remote.ask(&ask)).await;
                let in_time = answer.is_ok();
                awaited.note_reply(ask.id, answer.unwrap_or_else(|_| calls::late()));
                in_time
            }
            Need::Signer(algorithm) => {
                let made = self.own_keys.get().cloned().map(|keys| {
                    // RSA takes its time, which is nobody else's.
                    tokio::task::spawn_blocking(move || keys.make(algorithm))
                });
                let in_time = match made {
                    Some(made) => tokio::time::timeout_at(deadline, made).await.is_ok(),
                    None => true,
                };
                awaited.note_signer(algorithm);
                in_time
            }
            Need::Code(attempt, store) => {
                let redeemed = self.redeem(&attempt, store.as_ref(), deadline, now_ms).await;
                awaited.note_code(attempt, redeemed);
                Instant::now() < deadline
            }
            Need::Lease(ask) => {
                let leased = self.connections.open(&ask, now_ms, deadline).await;
                awaited.note_lease(ask, leased);
                Instant::now() < deadline
            }
            Need::Count(tally) => {
                let tallied = self.stores.count(&tally, now_ms, deadline).await;
                awaited.note_count(tally, tallied);
                Instant::now() < deadline
            }
        };
        if !in_time {
            self.metrics.deadlines.inc();
        }
    }

    /// Here, and where all replicas do it together if there is such a store. What is refused here is a failure there too.
    async fn redeem(
        &self,
        attempt: &Attempt,
        store: Option<&Arc<SharedStore>>,
        deadline: Instant,
        now_ms: i64,
    ) -> Redeemed {
        let own = self.factors.redeem(attempt, now_ms);
        let Some(store) = store else { return own };
        let step = attempt.step.filter(|_| own == Redeemed::Accepted);
        let shared = self.stores.redeem(store, &Attempt { step, ..*attempt }, now_ms, deadline).await;
        match shared {
            Some(shared) => own.and(shared),
            // The policy's choice: a code that is good here may have been used at another replica.
            None if store.pass_uncounted => own,
            None => {
                // Nobody gets in by it, so it is as good as before: the client is asked to send it again.
                self.factors.give_back(&Attempt { step, ..*attempt });
                own.and(Redeemed::Unknown)
            }
        }
    }
}
