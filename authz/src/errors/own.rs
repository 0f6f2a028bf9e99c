//! What the policy says in place of a refusal.

use crds::snapshot::{ErrorResponse, Errors};

use super::Asked;
use crate::decide::Deny;

/// The policy's own answer to this refusal for this client. gRPC clients read a status and no page.
pub(super) fn response<'a>(deny: &Deny, errors: Option<&'a Errors>, asked: &Asked<'_>) -> Option<&'a ErrorResponse> {
    let own = errors?.responses.get(&deny.code).filter(|_| !asked.is_grpc)?;
    let declined = own
        .unless_accept
        .as_deref()
        .is_some_and(|media| asked.accept.as_deref().is_some_and(|accept| holds(accept, media)));
    (!declined).then_some(own)
}

/// Whether `Accept` (RFC 9110 section 12.5.1) names the media type itself; one with weight 0 is named to be refused. `*/*` names
/// nothing: every browser sends it.
fn holds(accept: &str, media: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media));
        let zero = |part: &str| {
            part.split_once('=').is_some_and(|(name, weight)| {
                name.eq_ignore_ascii_case("q") && weight.parse().is_ok_and(|weight: f32| weight <= 0.0)
            })
        };
        named && !parts.any(zero)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept() {
        for (accept, held) in [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.9", true),
            ("application/json; charset=utf-8", true),
            ("text/html,*/*;q=0.8", false),
            ("application/*", false),
            ("application/json;q=0", false),
            ("application/json; q=0.000", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            assert_eq!(holds(accept, "application/json"), held, "{accept}");
        }
    }
}
