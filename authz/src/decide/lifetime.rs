//! How long a WebSocket may stay open: no longer than the credential that opened it.
//!
//! Nobody asks us again once a connection is open, so its end is told to the proxy with the answer to the handshake.
//! Envoy's router reads the header, ends the stream then, and takes the header out before the upstream.
//! Other requests are left alone: one that began in time may finish.

use crds::snapshot::AuthenticatorKind;

use super::{authenticate::Proven, changes::HeaderChanges, select::Place};
use crate::request::RequestView;

/// Milliseconds; 0 would be "for ever" to Envoy.
pub(super) const HEADER: &str = "x-envoy-upstream-stream-duration-ms";
/// 68 years: what a timer of Envoy's can hold.
const LONGEST_MS: i64 = 2_147_483_647_000;

/// Ends what this handshake opens. A client's own header is overwritten: it could say later.
pub(super) fn bound(
    changes: &mut HeaderChanges,
    request: &RequestView<'_>,
    place: &Place<'_>,
    proven: Option<&Proven>,
    now_ms: i64,
) {
    if !request.headers.is_websocket_upgrade() {
        return;
    }
    if let Some(left) = proven.and_then(|proven| left_ms(proven, allowance_ms(place, proven), now_ms)) {
        changes.set(&HEADER.into(), left.to_string());
    }
}

/// Until the credential expires; for one that was taken within the allowance for clocks, until that is over as well.
fn left_ms(proven: &Proven, allowance_ms: i64, now_ms: i64) -> Option<i64> {
    let ends_ms = proven.ends_ms?;
    let expires_ms = ends_ms.saturating_sub(allowance_ms);
    let end_ms = if expires_ms > now_ms { expires_ms } else { ends_ms };
    Some(end_ms.saturating_sub(now_ms).clamp(1, LONGEST_MS))
}

/// How much longer than it says the credential is taken, because clocks differ.
fn allowance_ms(place: &Place<'_>, proven: &Proven) -> i64 {
    let authenticator = place.rules.authenticators.get(proven.authenticator);
    match authenticator.map(|one| &one.kind) {
        Some(AuthenticatorKind::Jwt(jwt)) => i64::try_from(jwt.clock_skew.as_millis()).unwrap_or(0),
        _ => 0,
    }
}
