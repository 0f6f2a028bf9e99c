//! Step 7: how often. Also turns one bad credential too many into its own refusal.
//!
//! A request is counted once, when everything else has let it in: a decision that waits is made anew, and must not count twice.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crds::{
    code::Code,
    snapshot::{Access, Limit, LimitBy, SharedStore},
};
use serde::Serialize;
use smallvec::SmallVec;

use super::{Awaited, Deny, Deps, Facts, Need, Stop, select::Place};
use crate::{
    limits::{Count, CounterName, LeaseAsk, Leased, LimitKey, Standing, Subject, Taken, Tallied, Tally},
    principal::CallerKind,
    request::RequestView,
};

/// Numbers of a refusal for coming too often. A window is at most a day, so its seconds fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimited {
    /// Most in a window.
    pub limit: u32,
    /// Length of the window.
    pub window_seconds: u32,
    /// When to come again; at least 1.
    pub retry_after_seconds: u32,
}

// === impl RateLimited ===

impl RateLimited {
    fn new(standing: &Standing) -> Self {
        let seconds = |whole| u32::try_from(whole).unwrap_or(u32::MAX);
        Self {
            limit: standing.limit,
            window_seconds: seconds(standing.window_seconds()),
            retry_after_seconds: seconds(standing.seconds_left()).max(1),
        }
    }
}

/// The limit in words for the client.
impl fmt::Display for RateLimited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, window_seconds, retry_after_seconds } = self;
        write!(out, "Limit: {limit} per {window_seconds}s. Retry after {retry_after_seconds}s.")
    }
}

/// Counts a request against every limit of its rules; all must have room.
pub(super) fn count(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<(), Stop> {
    let limits = limits(place);
    let subject = |limit: &Limit, facts: &Facts| subject(limit.by, request, place, caller, facts);
    let Some(store) = place.rules.limits.store.as_ref().filter(|_| !limits.is_empty()) else {
        for limit in limits {
            let key = LimitKey { limit: limit.id, subject: subject(limit, facts) };
            admit(limit, deps.limits.take(key, limit.rate, limit.window, deps.now_ms), deps, facts)?;
        }
        return Ok(());
    };
    let counts = limits.iter().map(|limit| Count::new(limit, subject(limit, facts))).collect();
    match tallied(store, counts, true, awaited)? {
        Some(all) => {
            limits.iter().zip(all).try_for_each(|(limit, taken)| admit(limit, *taken, deps, facts)).map_err(Stop::Deny)
        }
        None if store.pass_uncounted => Ok(()),
        // Ours is the failure: neither 429 nor 401.
        None => Err(Deny::new(Code::Unavailable, "the shared store of the limits does not count at the moment").into()),
    }
}

fn admit(limit: &Limit, taken: Taken, deps: &Deps<'_>, facts: &mut Facts) -> Result<(), Deny> {
    let standing = note(limit, taken, deps, facts);
    if taken.allowed {
        return Ok(());
    }
    let limited = Some(RateLimited::new(&standing));
    Err(Deny { limited, ..Deny::new(Code::RateLimited, "more requests than the limit") })
}

/// What the store said, or that it has to be asked.
fn tallied<'a>(
    store: &Arc<SharedStore>,
    counts: SmallVec<[Count; 2]>,
    take: bool,
    awaited: &'a Awaited,
) -> Result<&'a Tallied, Stop> {
    let tally = Tally { store: store.clone(), counts, take };
    match awaited.tallied(&tally) {
        Some(known) => Ok(known),
        None => Err(Stop::Wait(Need::Count(Arc::new(tally)))),
    }
}

/// Asks for room for the connection that a handshake opens. Requests that open none are not limited by it.
pub(super) fn connect(
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<(), Stop> {
    let rules = &place.rules;
    let Some(limit) = rules.limits.connections.as_ref().filter(|_| rules.access != Access::Public) else {
        return Ok(());
    };
    if !request.headers.is_websocket_upgrade() {
        return Ok(());
    }
    let store = rules.limits.store.clone();
    let key = LimitKey { limit: limit.id, subject: subject(limit.by, request, place, caller, facts) };
    let ask = LeaseAsk { store, counter: CounterName::of(&key), max: limit.max };
    match awaited.leased(&ask) {
        None => return Err(Stop::Wait(Need::Lease(Arc::new(ask)))),
        Some(Leased::Granted(lease)) => facts.lease = Some(lease),
        Some(Leased::Full) => return Err(Deny::new(Code::RateLimited, "more connections than the limit").into()),
        Some(Leased::Unknown) if ask.store.is_some_and(|store| store.pass_uncounted) => {}
        Some(Leased::Unknown) => {
            return Err(Deny::new(Code::Unavailable, "connections cannot be counted at the moment").into());
        }
    }
    Ok(())
}

/// How the limits stand for a request that was refused for another reason, and is not counted.
pub(super) fn look(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<(), Stop> {
    let limits = limits(place);
    let subject = |limit: &Limit, facts: &Facts| subject(limit.by, request, place, caller, facts);
    let Some(store) = place.rules.limits.store.as_ref().filter(|_| !limits.is_empty()) else {
        for limit in limits {
            let key = LimitKey { limit: limit.id, subject: subject(limit, facts) };
            note(limit, deps.limits.look(&key, limit.rate, limit.window, deps.now_ms), deps, facts);
        }
        return Ok(());
    };
    let counts = limits.iter().map(|limit| Count::new(limit, subject(limit, facts))).collect();
    // Without an answer there is nothing to tell; the refusal is the same.
    for (limit, taken) in limits.iter().zip(tallied(store, counts, false, awaited)?.iter().flatten()) {
        note(limit, *taken, deps, facts);
    }
    Ok(())
}

/// Counts a bad credential. Only one that was sent and is bad counts, not a missing one, and not one that we could not check.
pub(super) fn failed(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    stop: Stop,
) -> Stop {
    let Some(limit) = &place.rules.limits.failures else { return stop };
    match &stop {
        Stop::Deny(deny) if matches!(deny.code, Code::InvalidToken | Code::ExpiredToken | Code::ClaimMissing) => {}
        Stop::Deny(_) | Stop::Answer(_) | Stop::Wait(_) => return stop,
    }
    let subject = client(request, place);
    let shared = place.rules.limits.store.as_ref().map(|store| {
        let counts = [Count::new(limit, subject.clone())].into_iter().collect();
        tallied(store, counts, true, awaited)
    });
    let taken = match shared {
        Some(Err(wait)) => return wait,
        Some(Ok(Some(all))) => all.first().copied(),
        Some(Ok(None)) | None => None,
    };
    // A store that is down must not be a time to guess in: until it is back, each process counts what it sees.
    let taken = taken.unwrap_or_else(|| {
        let key = LimitKey { limit: limit.id, subject };
        deps.limits.take(key, limit.rate, limit.window, deps.now_ms)
    });
    if taken.allowed {
        return stop;
    }
    let limited = Some(RateLimited::new(&Standing::new(limit, taken, deps.now_ms)));
    Deny { limited, ..Deny::new(Code::TooManyFailures, "more bad credentials than the limit") }.into()
}

/// The limits of requests; public routes have none.
fn limits<'p>(place: &'p Place<'_>) -> &'p [Limit] {
    if place.rules.access == Access::Public { &[] } else { &place.rules.limits.requests }
}

/// The headers tell of the limit that is nearest to its end.
fn note(limit: &Limit, taken: Taken, deps: &Deps<'_>, facts: &mut Facts) -> Standing {
    let standing = Standing::new(limit, taken, deps.now_ms);
    if facts.limit.is_none_or(|other| !taken.allowed || taken.remaining < other.taken.remaining) {
        facts.limit = Some(standing);
    }
    standing
}

fn subject(by: LimitBy, request: &RequestView<'_>, place: &Place<'_>, caller: CallerKind, facts: &Facts) -> Subject {
    match (by, caller, &facts.proven) {
        (LimitBy::Global, _, _) => Subject::Everybody,
        (LimitBy::Principal, CallerKind::Proven(_), Some(proven)) => Subject::Principal(proven.principal.user.clone()),
        (LimitBy::Principal | LimitBy::Address, _, _) => client(request, place),
    }
}

fn client(request: &RequestView<'_>, place: &Place<'_>) -> Subject {
    let forwarded = forwarded(request, place.rules.limits.trusted_hops);
    Subject::address(forwarded.or(request.source))
}

/// The address that the outermost trusted proxy saw, counted from the right: what stands further left was written by whoever called it.
/// Anything that is no address is no address of anybody: the proxy's own report counts then.
fn forwarded(request: &RequestView<'_>, hops: usize) -> Option<IpAddr> {
    let all = request.headers.text("x-forwarded-for").filter(|_| hops > 0)?;
    let entry = all.rsplit(',').nth(hops.checked_sub(1)?)?.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    // Some proxies add the port.
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}
