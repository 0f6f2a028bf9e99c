//! One line per decision: every one at debug, denials sampled at info. Never a header value, a path or a claim: any of them may be
//! a secret, and none of them may forge a line.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Level, debug, enabled, info};

use crate::{
    decide::{Decision, Facts, Verdict},
    principal::Traffic,
};

/// Denials at info per second; the rest is counted and told with the next line.
const DENIALS_PER_SECOND: u64 = 20;

/// A window of one second in one word: the second in the upper half, the denials in the lower.
#[derive(Debug, Default)]
pub(super) struct DecisionLog {
    window: AtomicU64,
    suppressed: AtomicU64,
}

// === impl DecisionLog ===

impl DecisionLog {
    /// Logs a decision.
    pub(super) fn write(&self, decision: &Decision, request_id: &str, now_ms: i64) {
        let facts = &decision.facts;
        if let Some(deny) = &facts.audited {
            let code = deny.code.as_str();
            if enabled!(Level::DEBUG) || self.take(now_ms) {
                let why = &*deny.why();
                let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
                info!(
                    request_id,
                    policy = policy(facts),
                    route = route(facts),
                    traffic = traffic(facts),
                    code,
                    why,
                    suppressed,
                    "would be denied"
                );
            }
            return;
        }
        match &decision.verdict {
            Verdict::Answer(answer) => {
                debug!(
                    request_id,
                    policy = policy(facts),
                    route = route(facts),
                    traffic = traffic(facts),
                    status = answer.status,
                    "answered"
                );
            }
            Verdict::Allow(_) => {
                debug!(
                    request_id,
                    policy = policy(facts),
                    route = route(facts),
                    traffic = traffic(facts),
                    authenticator = authenticator(facts),
                    "allowed"
                );
            }
            Verdict::Deny(deny) => {
                let code = deny.code.as_str();
                if enabled!(Level::DEBUG) {
                    let why = &*deny.why();
                    debug!(
                        request_id,
                        policy = policy(facts),
                        route = route(facts),
                        traffic = traffic(facts),
                        code,
                        why,
                        "denied"
                    );
                } else if self.take(now_ms) {
                    let why = &*deny.why();
                    let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
                    info!(
                        request_id,
                        policy = policy(facts),
                        route = route(facts),
                        traffic = traffic(facts),
                        code,
                        why,
                        suppressed,
                        "denied"
                    );
                }
            }
        }
    }

    /// Whether this second still has room.
    fn take(&self, now_ms: i64) -> bool {
        let second = u64::try_from(now_ms / 1000).unwrap_or(0) & 0xFFFF_FFFF;
        let window = self.window.load(Ordering::Relaxed);
        let count = if window >> 32 == second { window & 0xFFFF_FFFF } else { 0 };
        if count >= DENIALS_PER_SECOND {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // A lost race logs one line more or less: no reason to wait.
        self.window.store((second << 32) | (count + 1), Ordering::Relaxed);
        true
    }
}

fn policy(facts: &Facts) -> &str {
    facts.policy.as_ref().map_or("", |(name, _)| name)
}

fn route(facts: &Facts) -> &str {
    facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default()
}

fn traffic(facts: &Facts) -> &'static str {
    facts.traffic.map_or("", Traffic::as_str)
}

fn authenticator(facts: &Facts) -> &str {
    facts.proven.as_ref().map_or("", |proven| &proven.principal.authenticator)
}
