//! The code beside a token: `TOKEN:CODE`. After the token is good, and for this one request: nothing about it is remembered as a verdict.

use crds::snapshot::{Authenticator, SecondFactor};
use serde_json::Value;

use super::{
    Awaited, Need,
    authenticate::Failed,
    limits::RateLimited,
    outcome::{Factor, Outcome},
};
use crate::{
    factors::{Attempt, FAILURE_WINDOW_MS, Holder, MAX_FAILURES, Redeemed},
    jwt,
    principal::Principal,
};

/// The claim that applications of this kind of credential read.
const MFA_CLAIM: &str = "mfa_verified";

/// Token and code; `None`: there is no code. A token holds no colon.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once(':')
}

/// Makes a principal whose token is good one with a second factor.
pub(super) fn check(
    factor: &SecondFactor,
    authenticator: &Authenticator,
    mut principal: Principal,
    code: Option<&str>,
    awaited: &Awaited,
    now_ms: i64,
) -> Result<Principal, Failed> {
    let Some(code) = code else { return Err(Outcome::Factor(Factor::Missing).into()) };
    let unavailable = |why| Err(Outcome::Unavailable(why).into());
    let Some(enrolled) = &factor.enrolled else { return unavailable("the Secret of the codes is missing") };
    let entry = entry(authenticator, &principal);
    let step = match enrolled.get(entry) {
        // As if the code were wrong: who has none is nobody else's business.
        None => None,
        Some(None) => return unavailable("the shared secret of this person cannot be used"),
        Some(Some(secret)) => factor.form.step_of(secret, code, u64::try_from(now_ms / 1000).unwrap_or(0)),
    };
    let attempt = Attempt { holder: Holder::of(&factor.secret, entry), step };
    match awaited.redeemed(&attempt) {
        None => Err(Failed {
            need: Some(Need::Code(attempt, factor.store.clone())),
            ..Outcome::Unavailable("whether the code was used before is not known yet").into()
        }),
        Some(Redeemed::Unknown) => unavailable("whether the code was used before could not be found out"),
        Some(Redeemed::Refused) => Err(Outcome::Factor(Factor::Wrong).into()),
        Some(Redeemed::Locked { until_ms }) => Err(Outcome::Locked(locked(until_ms, now_ms)).into()),
        Some(Redeemed::Accepted) => {
            principal.mfa = true;
            // Whatever the issuer says about it: here it is we who know.
            principal.claims.insert(MFA_CLAIM.to_owned(), Value::Bool(true));
            Ok(principal)
        }
    }
}

/// The name of the entry: the stable id where a Secret can have one of that name, else the value of `x-auth-user`. Never both, or one
/// person could choose an id that is another's.
fn entry<'p>(authenticator: &Authenticator, principal: &'p Principal) -> &'p str {
    let id = match &authenticator.claims.stable_id {
        Some(name) => jwt::claim(&principal.claims, name).and_then(Value::as_str).unwrap_or_default(),
        None => &principal.subject,
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=253).contains(&id.len()) && id.bytes().all(named) { id } else { &principal.user }
}

fn locked(until_ms: i64, now_ms: i64) -> RateLimited {
    let seconds = |milliseconds: i64| u32::try_from(milliseconds.max(0).unsigned_abs().div_ceil(1000)).unwrap_or(1);
    RateLimited {
        limit: MAX_FAILURES,
        window_seconds: seconds(FAILURE_WINDOW_MS),
        retry_after_seconds: seconds(until_ms.saturating_sub(now_ms)).max(1),
    }
}
