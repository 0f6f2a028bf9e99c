//! Policies on trial: what they would refuse passes. Identity is nobody's there: a service must not learn to trust headers that are
//! not backed by a refusal of everybody else.

use crds::code::Code;

use super::{Facts, Verdict, forward};
use crate::request::RequestView;

/// The verdict of a policy on trial; any other is left as it is. Answers of the policy itself stay: behind them is no upstream.
pub(super) fn apply(request: &RequestView<'_>, verdict: Verdict, facts: &mut Facts) -> Verdict {
    let Some(policy) = facts.trial.clone() else { return verdict };
    match verdict {
        // A path that can be read in two ways may mean anything to the upstream: on trial or not, it reaches nobody.
        Verdict::Deny(deny) if deny.code == Code::MalformedRequest => Verdict::Deny(deny),
        Verdict::Deny(deny) => {
            facts.audited = Some(Box::new(deny));
            Verdict::Allow(forward::unidentified(request, &policy))
        }
        Verdict::Allow(_) => Verdict::Allow(forward::unidentified(request, &policy)),
        answer @ Verdict::Answer(_) => answer,
    }
}
