//! The CORS protocol (Fetch standard) on answers of our own. Owns its headers; never an authorisation: a browser that may read an
//! answer has proven nothing.

use std::borrow::Cow;

use crds::{origin::Origin, snapshot::Cors};

use super::Headers;
use crate::{decide::Answer, request::RequestView};

/// Whether it is a true preflight. Everything else is a request like others.
pub(crate) fn asks(request: &RequestView<'_>) -> bool {
    request.method == "OPTIONS"
        && request.headers.text("access-control-request-method").is_some_and(|method| !method.is_empty())
}

/// The answer to a preflight from an origin that may ask.
pub(crate) fn preflight(cors: &Cors, request: &RequestView<'_>) -> Option<Answer> {
    let allowed = allowed(cors, request.headers.text("origin").as_deref())?;
    let mut headers: Headers = vec![
        ("access-control-allow-origin".into(), allowed),
        ("access-control-allow-methods".into(), cors.methods.to_string()),
        ("vary".into(), "Origin, Access-Control-Request-Method, Access-Control-Request-Headers".to_owned()),
    ];
    if !cors.headers.is_empty() {
        headers.push(("access-control-allow-headers".into(), cors.headers.to_string()));
    }
    if cors.credentials {
        headers.push(("access-control-allow-credentials".into(), "true".to_owned()));
    }
    if let Some(seconds) = cors.max_age {
        headers.push(("access-control-max-age".into(), seconds.to_string()));
    }
    Some(Answer { status: 204, headers, body: String::new() })
}

/// Lets pages of allowed origins read an answer of ours, the challenge included. The answer varies by origin for everybody: a cache
/// must not give the answer for one page to another.
pub(crate) fn readable(headers: &mut Headers, cors: &Cors, origin: Option<&str>) {
    match headers.iter_mut().find(|(name, _)| name == "vary") {
        Some((_, value)) => value.push_str(", Origin"),
        None => headers.push(("vary".into(), "Origin".to_owned())),
    }
    let Some(allowed) = allowed(cors, origin) else { return };
    headers.push(("access-control-allow-origin".into(), allowed));
    headers.push(("access-control-expose-headers".into(), cors.exposed.to_string()));
    if cors.credentials {
        headers.push((Cow::Borrowed("access-control-allow-credentials"), "true".to_owned()));
    }
}

/// What `Access-Control-Allow-Origin` says to this origin, if anything. `null` and what is no origin equals none of a list.
fn allowed(cors: &Cors, origin: Option<&str>) -> Option<String> {
    let origin = origin?;
    match &cors.origins {
        None => Some("*".to_owned()),
        Some(listed) => {
            Origin::parse(origin).ok().filter(|origin| listed.contains(origin)).map(|origin| origin.to_string())
        }
    }
}
