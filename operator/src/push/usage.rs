//! The use of API keys, from data planes to this replica and from replicas to their leader.
//!
//! Owns whom to believe: a workload about keys of its own namespace, our own data planes about any, and nobody about a key that no
//! policy's Secret has an entry for, nor about the future. What was heard is remembered for some hours, for a leader to come.

use authz::uses::{REMEMBERED_S, now_s};
use crds::api_keys::Uses;

use super::{Inner, Push, table::Audience};

// === impl Push ===

impl Push {
    /// When API keys were used last, as far as was told in the last hours.
    pub fn uses(&self) -> Uses {
        self.inner.forget_uses();
        self.inner.uses.since(0).0
    }
}

// === impl Inner ===

impl Inner {
    /// A data plane tells.
    pub(super) fn hear_uses(&self, audience: &Audience, message: &str) {
        let (published, mut known) = (self.published.borrow().clone(), Uses::default());
        for (namespace, times) in Uses::read(message).iter() {
            let believed = match audience {
                Audience::Own => true,
                Audience::Workload { namespace: own, .. } => **own == **namespace,
            };
            for (id, at) in times.iter().filter(|(id, _)| believed && published.has_key(namespace, **id)) {
                known.note(namespace, *id, *at);
            }
        }
        self.uses.merge(&known, now_s());
    }

    /// Another replica tells, which looked at it already.
    pub(super) fn merge_uses(&self, message: &str) {
        self.uses.merge(&Uses::read(message), now_s());
    }

    /// What is new since that reading, as one message if there is any, and the next reading.
    pub(super) fn new_uses(&self, from: u32) -> (Option<String>, u32) {
        self.forget_uses();
        let (new, next) = self.uses.since(from);
        (new.messages(usize::MAX).pop(), next)
    }

    fn forget_uses(&self) {
        self.uses.forget_before(now_s().saturating_sub(REMEMBERED_S));
    }
}
