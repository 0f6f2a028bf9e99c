//! Answers of the policy's own: headers that may be set, places that may be redirected to, origins that are some.

use std::{collections::BTreeMap, time::Duration};

use super::{policy::Site, problem};
use crate::{
    code::Code,
    origin::Origin,
    snapshot::{Cors, ErrorResponse, Mode, Respond, ResponseHeaders},
    v1alpha1::{self, HeaderText},
};

/// Names that frame the message or belong to the proxy (RFC 9110 section 7.6.1, RFC 9112 section 6).
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Names of which every refusal has its own, and `location`, which is a field.
const OF_REFUSALS: [&str; 6] =
    ["cache-control", "location", "retry-after", "vary", "www-authenticate", "x-content-type-options"];
const PREFIXES: [&str; 4] = [":", "access-control-", "grpc-", "x-envoy-"];
/// What a body is unless it says so.
const PLAIN: &str = "text/plain; charset=utf-8";
/// What pages may do without asking (Fetch, "CORS-safelisted method").
const SIMPLE_METHODS: &str = "GET, HEAD, POST";
/// Longest that any browser remembers a preflight.
const MAX_AGE: Duration = Duration::from_hours(24);

pub(super) const fn mode(word: Option<v1alpha1::Mode>) -> Mode {
    match word {
        None | Some(v1alpha1::Mode::Enforce) => Mode::Enforce,
        Some(v1alpha1::Mode::Audit) => Mode::Audit,
    }
}

/// Answers by code.
pub(super) fn responses(
    at: &str,
    specs: &BTreeMap<String, v1alpha1::ErrorResponse>,
    site: &mut Site<'_>,
) -> BTreeMap<Code, ErrorResponse> {
    let mut responses = BTreeMap::new();
    for (word, spec) in specs {
        let at = format!("{at}.responses.{word}");
        match Code::ALL.into_iter().find(|code| code.as_str() == word) {
            Some(code) => drop(responses.insert(code, response(&at, spec, site))),
            None => site.problems.push(problem(at, "no refusal has this code")),
        }
    }
    responses
}

fn response(at: &str, spec: &v1alpha1::ErrorResponse, site: &mut Site<'_>) -> ErrorResponse {
    if let Some(location) = &spec.location
        && !location.starts_with('/')
        && url::Url::parse(location).map_or(true, |url| url.host_str().is_none())
    {
        site.problems.push(problem(
            format!("{at}.location"),
            format!("`{location}` is neither a path nor an http or https URL"),
        ));
    }
    let headers = headers(&format!("{at}.headers"), &spec.headers, &OF_REFUSALS, spec.body.is_some(), site);
    ErrorResponse {
        status: spec.status,
        headers,
        body: spec.body.as_ref().map(|body| (**body).into()),
        location: spec.location.as_ref().map(|location| (**location).into()),
        unless_accept: spec.unless_accept.as_ref().map(|media| media.to_ascii_lowercase().into()),
    }
}

/// A route's own answer.
pub(super) fn respond(at: &str, spec: &v1alpha1::Respond, site: &mut Site<'_>) -> Respond {
    let headers = headers(&format!("{at}.respond.headers"), &spec.headers, &[], spec.body.is_some(), site);
    Respond { status: spec.status, headers, body: spec.body.as_ref().map_or("", |body| &**body).into() }
}

/// Values are printable ASCII by their type.
fn headers(
    at: &str,
    specs: &BTreeMap<String, HeaderText>,
    reserved: &[&str],
    body: bool,
    site: &mut Site<'_>,
) -> ResponseHeaders {
    let mut headers = ResponseHeaders::new();
    for (name, value) in specs {
        let lower = name.to_ascii_lowercase();
        let token = !lower.is_empty()
            && lower.len() <= 128
            && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let ours = FRAMING.contains(&lower.as_str())
            || reserved.contains(&lower.as_str())
            || PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        let why = if ours {
            Some("belongs to the proxy, the connection or to every answer; remove it")
        } else if !token {
            Some("is no header name")
        } else if headers.iter().any(|(own, _)| **own == *lower) {
            Some("is set twice")
        } else {
            None
        };
        match why {
            Some(why) => site.problems.push(problem(at, format!("`{}` {why}", name.escape_debug()))),
            None => headers.push((lower.into(), (**value).into())),
        }
    }
    if body && !headers.iter().any(|(name, _)| &**name == "content-type") {
        headers.push(("content-type".into(), PLAIN.into()));
    }
    headers
}

/// Rules for pages of other origins.
pub(super) fn cors(spec: &v1alpha1::Cors, site: &mut Site<'_>) -> Cors {
    fn joined<T: std::ops::Deref<Target = str>>(names: &[T]) -> String {
        names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")
    }
    let mut origins = Vec::new();
    for (index, text) in spec.allow_origins.iter().enumerate().filter(|(_, text)| &***text != "*") {
        match Origin::parse(text) {
            Ok(origin) => origins.push(origin),
            Err(error) => site.problems.push(problem(format!("spec.cors.allowOrigins[{index}]"), error.to_string())),
        }
    }
    let max_age = spec.max_age.as_ref().and_then(|age| match age.parse() {
        Ok(age) if age <= MAX_AGE => Some(age.as_secs()),
        Ok(_) => {
            site.problems.push(problem("spec.cors.maxAge", "must be at most 24h"));
            None
        }
        Err(error) => {
            site.problems.push(problem("spec.cors.maxAge", error.to_string()));
            None
        }
    });
    let mut exposed = "WWW-Authenticate".to_owned();
    for name in spec.expose_headers.iter().filter(|name| !name.eq_ignore_ascii_case("WWW-Authenticate")) {
        exposed = format!("{exposed}, {}", &**name);
    }
    Cors {
        origins: (!spec.allow_origins.iter().any(|text| &**text == "*")).then_some(origins),
        methods: if spec.allow_methods.is_empty() { SIMPLE_METHODS.into() } else { joined(&spec.allow_methods).into() },
        headers: joined(&spec.allow_headers).into(),
        exposed: exposed.into(),
        credentials: spec.allow_credentials.unwrap_or(false),
        max_age,
    }
}
