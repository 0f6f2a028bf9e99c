//! Where credentials are: lists of places, and the order in which one set of rules looks into them.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;

use super::{policy::Site, problem};
use crate::{
    origin::Origin,
    schema::Problem,
    snapshot::{Authenticator, Source, SourceKind, Upgrade},
    v1alpha1::{self, CredentialSource},
};

/// An authenticator with its own places, if it has some: then it reads only those.
pub(super) type WithPlaces = (Arc<Authenticator>, Option<Vec<SourceKind>>);

/// Where credentials are unless somebody says so. Ten thousand policies that say nothing hold these texts once.
static DEFAULT: LazyLock<Arc<[SourceKind]>> =
    LazyLock::new(|| Arc::new([SourceKind::Header { name: "authorization".into(), scheme: Some("Bearer".into()) }]));

/// Places as a policy keeps them.
pub(super) fn kept(places: Vec<SourceKind>) -> Arc<[SourceKind]> {
    if *places == **DEFAULT { DEFAULT.clone() } else { places.into() }
}

/// Where one list says that credentials are.
pub(super) fn places_of(at: &str, sources: &[CredentialSource], site: &mut Site<'_>) -> Vec<SourceKind> {
    let mut places = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let at = format!("{at}[{index}]");
        match (&source.header, &source.cookie) {
            _ if source.client_certificate.is_some() => places.push(SourceKind::ClientCertificate),
            _ if source.query.is_some() || source.web_socket_protocol.is_some() => {
                places.extend(other_place(&at, source, site));
            }
            (Some(name), None) => {
                let name = name.to_ascii_lowercase();
                if matches!(
                    name.as_str(),
                    "host" | "cookie" | "connection" | "content-length" | "transfer-encoding" | "upgrade"
                ) {
                    site.problems.push(problem(format!("{at}.header"), format!("`{name}` cannot carry a credential")));
                }
                let scheme = source.scheme.as_ref().map(|scheme| (**scheme).into());
                places.push(SourceKind::Header { name: name.into(), scheme });
            }
            (None, Some(name)) => {
                let allowed_origins =
                    source.allowed_origins.iter().flatten().enumerate().filter_map(|(index, text)| {
                        let origin = Origin::parse(text);
                        let at = || format!("{at}.allowedOrigins[{index}]");
                        origin.map_err(|error| site.problems.push(problem(at(), error.to_string()))).ok()
                    });
                places.push(SourceKind::Cookie { name: (**name).into(), allowed_origins: allowed_origins.collect() });
            }
            _ => site.problems.push(problem(
                at,
                "must name exactly one of `header`, `cookie`, `query`, `webSocketProtocol` and `clientCertificate`",
            )),
        }
    }
    places
}

/// Places that are neither a header of their own nor a cookie.
fn other_place(at: &str, source: &CredentialSource, site: &mut Site<'_>) -> Option<SourceKind> {
    match (&source.header, &source.cookie, &source.query, &source.web_socket_protocol) {
        (None, None, Some(name), None) => {
            let only_on = source.only_on.map(|v1alpha1::OnlyOn::WebSocket| Upgrade::WebSocket);
            Some(SourceKind::Query { name: (**name).into(), only_on })
        }
        (None, None, None, Some(name)) => Some(SourceKind::WebSocketProtocol { name: (**name).into() }),
        _ => {
            site.problems.push(problem(
                at,
                "must name exactly one of `header`, `cookie`, `query`, `webSocketProtocol` and `clientCertificate`",
            ));
            None
        }
    }
}

/// The search order of one set of rules: the policy's or route's places, then the authenticators' own. Who has places of its own
/// reads only those. A credential in a place that nobody reads is a credential that nobody takes.
pub(super) fn sources(
    at: &str,
    authenticators: &[WithPlaces],
    places: Option<&[SourceKind]>,
    salt: &[u8],
    site: &mut Site<'_>,
) -> Arc<[Source]> {
    if authenticators.is_empty() {
        return Arc::default();
    }
    let shared: Vec<usize> = (0..authenticators.len())
        .filter(|index| authenticators.get(*index).is_some_and(|(_, own)| own.is_none()))
        .collect();
    let mut all: Vec<Source> = Vec::new();
    let mut add = |kind: &SourceKind, readers: &[usize]| match all.iter_mut().find(|one| same_place(&one.kind, kind)) {
        Some(known) => {
            site.problems.extend(one_list(at, &known.kind, kind));
            known.readers.extend_from_slice(readers);
        }
        None => all.push(Source { kind: kind.clone(), readers: readers.into(), fingerprint: [0; 32], varies: false }),
    };
    places.unwrap_or(&DEFAULT).iter().for_each(|kind| add(kind, &shared));
    for (index, (_, own)) in authenticators.iter().enumerate() {
        own.iter().flatten().for_each(|kind| add(kind, &[index]));
    }
    for source in &mut all {
        // Order of trial is order of the document, wherever the place was named.
        source.readers.sort_unstable();
        source.readers.dedup();
        source.fingerprint = fingerprint(authenticators, &source.readers, salt);
        let mut readers = source.readers.iter().filter_map(|index| authenticators.get(*index));
        source.varies = readers.any(|(one, _)| one.kind.varies());
    }
    all.into()
}

fn fingerprint(authenticators: &[WithPlaces], readers: &[usize], salt: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for (one, _) in readers.iter().filter_map(|index| authenticators.get(*index)) {
        context.update(&one.fingerprint);
        one.kind.version().iter().for_each(|version| context.update(&version.to_be_bytes()));
    }
    context.update(salt);
    // Positions are part of what is cached.
    readers.iter().for_each(|index| context.update(&(*index as u64).to_be_bytes()));
    crate::digest::finish(context)
}

/// Who may send a cookie is asked before anybody reads it: of two lists for one cookie, one would be ignored.
fn one_list(at: &str, one: &SourceKind, other: &SourceKind) -> Option<Problem> {
    let (SourceKind::Cookie { name, allowed_origins: first }, SourceKind::Cookie { allowed_origins: second, .. }) =
        (one, other)
    else {
        return None;
    };
    let covers = |all: &[Origin], some: &[Origin]| some.iter().all(|origin| all.contains(origin));
    let message = format!(
        "the cookie `{name}` is read with two lists of allowedOrigins; give it the same one wherever it is named"
    );
    let equal = covers(first, second) && covers(second, first);
    (!equal).then(|| problem(format!("{at}.credentials"), message))
}

/// The same spot of a request, whatever else the source says.
pub(super) fn same_place(one: &SourceKind, other: &SourceKind) -> bool {
    match (one, other) {
        (SourceKind::Header { name, scheme }, SourceKind::Header { name: other, scheme: other_scheme }) => {
            let fold = |scheme: &Option<Arc<str>>| scheme.as_ref().map(|scheme| scheme.to_ascii_lowercase());
            name == other && fold(scheme) == fold(other_scheme)
        }
        (SourceKind::Cookie { name, .. }, SourceKind::Cookie { name: other, .. }) => name == other,
        (SourceKind::Query { .. } | SourceKind::WebSocketProtocol { .. } | SourceKind::ClientCertificate, _) => {
            one == other
        }
        _ => false,
    }
}
