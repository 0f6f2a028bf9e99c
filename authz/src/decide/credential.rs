//! Step 4: one credential per request, from the first place that holds one.

use std::borrow::Cow;

use crds::{
    code::Code,
    origin::Origin,
    snapshot::{AllowedOrigins, SourceKind, Upgrade},
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
    refuse_two_cookies(request, place)?;
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

/// Twice the same name is how cookies are tossed between subdomains, whichever place is searched first. Envoy joins two lines of HTTP/1
/// with a comma unless it sends raw headers, and nobody can tell those from one value with a comma in it: what may be a credential on a
/// line of its own is refused, for it would be neither read nor taken out.
fn refuse_two_cookies(request: &RequestView<'_>, place: &Place<'_>) -> Result<(), Deny> {
    let Some(header) = request.headers.text("cookie") else { return Ok(()) };
    let sources = place.rules.sources.iter().map(|source| &source.kind);
    let twice = |name: &str| pairs(&header).filter(|(own, _)| *own == name).count() > 1;
    if sources.clone().filter_map(cookie_name).any(twice) {
        return Err(Deny::new(Code::MalformedRequest, "the credential cookie was sent twice"));
    }
    let hidden = |name: &str| header.contains(',') && is_behind_comma(&header, name);
    if sources.chain(&*place.policy.places).filter_map(cookie_name).any(hidden) {
        return Err(Deny::new(Code::MalformedRequest, "a credential cookie stands behind a comma"));
    }
    Ok(())
}

fn cookie_name(kind: &SourceKind) -> Option<&str> {
    match kind {
        SourceKind::Cookie { name, .. } => Some(&**name),
        _ => None,
    }
}

/// Whether a cookie of this name would begin behind a comma, if commas separated cookies.
fn is_behind_comma(header: &str, name: &str) -> bool {
    header.split(';').flat_map(|part| part.split(',').skip(1)).any(|piece| pair(piece).0 == name)
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

/// Name and value of each cookie.
fn pairs(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(';').map(pair)
}

/// A cookie; one without `=` has an empty name.
fn pair(part: &str) -> (&str, &str) {
    part.split_once('=').map_or(("", part), |(name, value)| (trimmed(name), trimmed(value)))
}

/// Without blanks and tabs around it (RFC 6265 section 5.2, RFC 9110 section 5.6.3), and no more: to a browser a name that begins with
/// another blank has no `__Host-`, so a neighbouring subdomain may set it.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Without anything that an upstream may take away: blanks of Unicode (Django), bytes that are blanks in Latin-1 and came here as another
/// character (`!` where Envoy sends no raw headers), and control bytes.
pub(super) fn trimmed_most(text: &str) -> &str {
    text.trim_matches(|one: char| {
        one.is_whitespace() || one.is_control() || matches!(one, '!' | '\u{feff}' | char::REPLACEMENT_CHARACTER)
    })
}

/// The names that an upstream may read in one part of the header, at the least: some end a cookie at a comma too, and what is one line
/// with a comma here may be two there.
pub(super) fn possible_names(part: &str) -> impl Iterator<Item = &str> {
    part.split(',').filter_map(|piece| piece.split_once('=')).map(|(name, _)| trimmed_most(name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        jwt::{Malformed, Token},
        request::Headers,
    };

    /// As they are, and as Envoy shows them in a map.
    #[test]
    fn bytes_that_are_no_text_are_part_of_no_token() {
        for value in [&b"Bearer \xff\xfeaaaa"[..], b"Bearer aaaa\xa0", b"Bearer !!aaaa", b"Bearer aaaa!"] {
            let mut headers = Headers::default();
            headers.push("authorization", value);
            let request = RequestView { headers, ..RequestView::default() };
            let found = header(&request, "authorization", Some("Bearer")).unwrap();
            let why = Malformed("a character that base64url does not have");
            assert_eq!(Token::parse(&found).err(), Some(why), "{found}");
        }
    }

    #[test]
    fn a_cookie_behind_a_comma_is_seen() {
        for (header, expected) in [
            ("theme=x,sid=F", true),
            ("sid=A,sid=B", true),
            ("a=b; theme,sid=F", true),
            ("theme=x, sid\t=F; a=b", true),
            ("sid=F", false),
            ("theme=x,y; sid=F", false),
            ("sid=F,theme=x", false),
            ("theme=x,xsid=F", false),
            ("theme=x,sid", false),
            ("theme=x,SID=F", false),
            ("theme=x,\u{2000}sid=F", false),
        ] {
            assert_eq!(is_behind_comma(header, "sid"), expected, "{header}");
        }
    }

    #[test]
    fn an_upstream_may_read_more_names_than_we_do() {
        for (part, own, possible) in [
            (" sid\t=F", "sid", vec!["sid"]),
            ("\u{2000}sid=F", "\u{2000}sid", vec!["sid"]),
            ("\u{a0}sid\u{85}=F", "\u{a0}sid\u{85}", vec!["sid"]),
            ("\u{fffd}sid=F", "\u{fffd}sid", vec!["sid"]),
            ("!sid=F", "!sid", vec!["sid"]),
            ("theme=x,\u{a0}sid=F", "theme", vec!["theme", "sid"]),
            ("sid", "", vec![]),
            ("xsid=F", "xsid", vec!["xsid"]),
        ] {
            assert_eq!(pair(part).0, own, "{part:?}");
            assert_eq!(possible_names(part).collect::<Vec<_>>(), possible, "{part:?}");
        }
    }
}
