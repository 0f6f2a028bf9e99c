//! Step 4: one credential per request, from the first place that holds one.

use std::borrow::Cow;

use crds::{
    code::Code,
    origin::Origin,
    snapshot::{AllowedOrigins, Source, SourceKind, Upgrade},
};

use super::{Deny, query, select::Place, websocket::Handshake};
use crate::request::RequestView;

/// A credential and the place it was in.
pub(super) struct Credential<'a> {
    /// Position in the rules' sources.
    pub(super) source: usize,
    /// As sent. Bytes that are not UTF-8 were replaced by a character that no token holds.
    pub(super) value: Cow<'a, str>,
}

/// The credential, or none.
pub(super) fn find<'a>(request: &RequestView<'a>, place: &Place<'_>) -> Result<Option<Credential<'a>>, Deny> {
    refuse_two_values(request)?;
    refuse_two_cookies(request, &place.rules.sources)?;
    for (index, source) in place.rules.sources.iter().enumerate() {
        let value = match &source.kind {
            SourceKind::Header { name, scheme } => header(request, name, scheme.as_deref()),
            SourceKind::Cookie { name, .. } => cookie(request, name),
            SourceKind::Query { only_on, .. } if !counts(request, *only_on) => None,
            SourceKind::Query { name, .. } => query::find(request, name)?,
            SourceKind::ClientCertificate => request.certificate.map(Cow::Borrowed),
            SourceKind::WebSocketProtocol { name } => Handshake::read(request)
                .and_then(|handshake| handshake.credential(name).map(|value| Cow::Owned(value.to_owned()))),
        };
        let Some(value) = value else { continue };
        if let SourceKind::Cookie { allowed_origins, .. } = &source.kind {
            same_origin(request, place, allowed_origins)?;
        }
        return Ok(Some(Credential { source: index, value }));
    }
    Ok(None)
}

/// Whether a source that is limited to some requests is one on this request.
pub(super) fn counts(request: &RequestView<'_>, only_on: Option<Upgrade>) -> bool {
    match only_on {
        None => true,
        Some(Upgrade::WebSocket) => request.headers.is_websocket_upgrade(),
    }
}

/// Envoy joins repeated lines with a comma, and no Authorization value of ours holds one: choosing the first or the last would let
/// two parties see two different requests (RFC 9110 section 11.6.2 allows one value).
fn refuse_two_values(request: &RequestView<'_>) -> Result<(), Deny> {
    if request.headers.get("authorization").is_some_and(|value| value.contains(&b',')) {
        return Err(Deny::new(Code::MalformedRequest, "several Authorization values"));
    }
    Ok(())
}

/// Twice the same name is how cookies are tossed between subdomains, whichever place is searched first.
fn refuse_two_cookies(request: &RequestView<'_>, sources: &[Source]) -> Result<(), Deny> {
    let Some(header) = request.headers.text("cookie") else { return Ok(()) };
    for source in sources {
        if let SourceKind::Cookie { name, .. } = &source.kind
            && pairs(&header).filter(|(own, _)| **own == **name).count() > 1
        {
            return Err(Deny::new(Code::MalformedRequest, "the credential cookie was sent twice"));
        }
    }
    Ok(())
}

/// A header's credential. With a scheme: exactly one blank after it (RFC 6750 section 2.1), and a value that begins with another
/// blank is a bad credential rather than none.
fn header<'a>(request: &RequestView<'a>, name: &str, scheme: Option<&str>) -> Option<Cow<'a, str>> {
    let value = request.headers.text(name)?;
    let Some(scheme) = scheme else { return (!value.is_empty()).then_some(value) };
    let prefix = value.get(..scheme.len())?;
    if !prefix.eq_ignore_ascii_case(scheme) {
        return None;
    }
    match value.as_bytes().get(scheme.len()) {
        Some(b' ') => from(value, scheme.len() + 1).filter(|token| !token.is_empty()),
        // A tab is no separator of the grammar: the token that begins with it fails in the parser.
        Some(b'\t') => from(value, scheme.len()),
        _ => None,
    }
}

/// The text from this byte on, borrowed where the whole is.
fn from(text: Cow<'_, str>, start: usize) -> Option<Cow<'_, str>> {
    match text {
        Cow::Borrowed(text) => text.get(start..).map(Cow::Borrowed),
        Cow::Owned(text) => text.get(start..).map(|rest| Cow::Owned(rest.to_owned())),
    }
}

/// A cookie's value, verbatim (RFC 6265 section 4.2).
fn cookie<'a>(request: &RequestView<'a>, name: &str) -> Option<Cow<'a, str>> {
    let header = request.headers.text("cookie")?;
    let value = pairs(&header).find(|(own, _)| *own == name).map(|(_, value)| value.to_owned());
    value.filter(|value| !value.is_empty()).map(Cow::Owned)
}

/// Name and value of each cookie; one without `=` has an empty name.
pub(super) fn pairs(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header
        .split(';')
        .map(str::trim)
        .map(|pair| pair.split_once('=').map_or(("", pair), |(name, value)| (name.trim_end(), value.trim_start())))
}

/// A cookie comes along whoever made the browser send the request: on requests that change something, the browser must say that
/// this was us. Neither header: an old browser or no browser, and no third site's script.
fn same_origin(request: &RequestView<'_>, place: &Place<'_>, allowed: &AllowedOrigins) -> Result<(), Deny> {
    let safe = matches!(request.method, "GET" | "HEAD" | "OPTIONS") && !request.headers.is_websocket_upgrade();
    if safe {
        return Ok(());
    }
    let good = if let Some(origin) = request.headers.text("origin") {
        Origin::parse(&origin).is_ok_and(|origin| {
            allowed.contains(&origin) || own_origin(request, place).is_some_and(|own| own == origin)
        })
    } else if let Some(site) = request.headers.text("sec-fetch-site") {
        matches!(&*site, "same-origin" | "none")
    } else {
        true
    };
    if good { Ok(()) } else { Err(Deny::new(Code::Forbidden, "a cookie credential sent from another origin")) }
}

fn own_origin(request: &RequestView<'_>, place: &Place<'_>) -> Option<Origin> {
    place.policy.public_origin.clone().or_else(|| Origin::of_request(request.scheme, request.host))
}
