//! Forwarding: names that are ours, mapped headers, and which names nobody may map.

use std::sync::{Arc, LazyLock};

use super::{policy::Site, problem, replace, verdict::Reason};
use crate::{
    documents::ReferenceKind,
    expr::{Expr, Place},
    secret::Secret,
    snapshot::{
        CredentialForwarding, Forward, HeaderValueSource, HmacHeader, IdentityHeader, MappedHeader, OwnedNames,
        Replacement, Rules, SourceKind, canonical_name,
    },
    v1alpha1,
};

/// The prefix of identity headers unless the policy has its own.
const PREFIX: &str = "x-auth-";
/// What policies without a prefix of their own share: ten thousand of them hold these names once.
static NAMES: LazyLock<Arc<[Arc<str>; 11]>> = LazyLock::new(|| names_under(PREFIX));
/// The same for policies that map nothing either.
static OWNED: LazyLock<Arc<OwnedNames>> = LazyLock::new(|| Arc::new(OwnedNames::new(NAMES.iter().map(|name| &**name))));
/// What policies share that say nothing about forwarding.
static PLAIN: LazyLock<Arc<Forward>> = LazyLock::new(|| {
    Arc::new(Forward {
        names: NAMES.clone(),
        credential: CredentialForwarding::Remove,
        replacement: None,
        headers: Vec::new(),
        claims_header: None,
    })
});
/// An HMAC key shorter than the digest weakens it (RFC 2104 section 3).
const MIN_HMAC_KEY_BYTES: usize = 32;

/// Names that frame a message, name its target, or carry credentials (RFC 9110 section 7.6.1, RFC 9112 section 6).
const FORBIDDEN: [&str; 17] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "authorization",
    "cookie",
    "set-cookie",
    "http2-settings",
    "forwarded",
];
const FORBIDDEN_PREFIXES: [&str; 2] = ["x-envoy-", "x-forwarded-"];

/// Route over policy, field by field.
pub(super) fn merge(policy: &v1alpha1::Forward, route: &v1alpha1::Forward) -> v1alpha1::Forward {
    v1alpha1::Forward {
        header_prefix: route.header_prefix.clone().or_else(|| policy.header_prefix.clone()),
        credential: route.credential.or(policy.credential.filter(|_| route.replace_credential.is_none())),
        // Keep, remove or replace is one choice: a route that says one of them says nothing of the others.
        replace_credential: route
            .replace_credential
            .clone()
            .or_else(|| policy.replace_credential.clone().filter(|_| route.credential.is_none())),
        headers: if route.headers.is_empty() { policy.headers.clone() } else { route.headers.clone() },
        claims_header: route.claims_header.clone().or_else(|| policy.claims_header.clone()),
    }
}

/// One route's forwarding.
pub(super) fn compile(at: &str, spec: &v1alpha1::Forward, site: &mut Site<'_>) -> Arc<Forward> {
    if *spec == v1alpha1::Forward::default() {
        return PLAIN.clone();
    }
    let names = spec.header_prefix.as_ref().map_or_else(|| NAMES.clone(), |prefix| names_under(prefix));
    for name in &*names {
        if let Some(why) = forbidden(name) {
            site.problems
                .push(problem(format!("{at}.headerPrefix"), format!("makes the header `{name}`, which {why}")));
        }
    }
    let mut taken: Vec<String> = names.iter().map(|name: &Arc<str>| canonical_name(name)).collect();
    let mut headers = Vec::new();
    for (index, header) in spec.headers.iter().enumerate() {
        let at = format!("{at}.headers[{index}]");
        let name = header.name.to_ascii_lowercase();
        check_name(&format!("{at}.name"), &name, &mut taken, site);
        if let Some(value) = value(&at, header, site) {
            headers.push(MappedHeader { name: name.into(), value });
        }
    }
    let claims_header = spec.claims_header.as_ref().map(|name| {
        let name = name.to_ascii_lowercase();
        check_name(&format!("{at}.claimsHeader"), &name, &mut taken, site);
        Arc::from(name)
    });
    let credential = match spec.credential {
        Some(v1alpha1::CredentialForwarding::Keep) => CredentialForwarding::Keep,
        None | Some(v1alpha1::CredentialForwarding::Remove) => CredentialForwarding::Remove,
    };
    let replacement = spec.replace_credential.as_ref().and_then(|spec| replace::compile(at, spec, site));
    for header in replacement.iter().flat_map(Replacement::headers) {
        if !taken.contains(&canonical_name(header)) {
            continue;
        }
        let message = format!("`{header}` is set already: each header, in whatever spelling, has one value");
        site.problems.push(problem(format!("{at}.replaceCredential"), message));
    }
    Arc::new(Forward { names, credential, replacement, headers, claims_header })
}

fn names_under(prefix: &str) -> Arc<[Arc<str>; 11]> {
    Arc::new(IdentityHeader::ALL.map(|header| Arc::from(format!("{prefix}{}", header.suffix()))))
}

fn check_name(at: &str, name: &str, taken: &mut Vec<String>, site: &mut Site<'_>) {
    if let Some(why) = forbidden(name) {
        site.problems.push(problem(at, format!("`{name}` {why}; choose another name, such as `x-tenant`")));
    }
    let canonical = canonical_name(name);
    if taken.contains(&canonical) {
        site.problems
            .push(problem(at, format!("`{name}` is set already: each header, in whatever spelling, has one value")));
    }
    taken.push(canonical);
}

/// Why nobody may set a header of this name. Many servers cannot tell `x_a` from `x-a`, so a reserved name is so in every spelling.
pub(super) fn forbidden(name: &str) -> Option<&'static str> {
    let canonical = canonical_name(name);
    let reserved = name.starts_with(':')
        || FORBIDDEN.contains(&canonical.as_str())
        || FORBIDDEN_PREFIXES.iter().any(|prefix| canonical.starts_with(prefix));
    let odd =
        !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    if reserved {
        Some("belongs to the proxy, the connection or a credential")
    } else if odd || name.is_empty() {
        Some("is no header name of letters, digits, `-` and `_`")
    } else {
        None
    }
}

fn value(at: &str, header: &v1alpha1::MappedHeader, site: &mut Site<'_>) -> Option<HeaderValueSource> {
    match (&header.claim, &header.cel, &header.hmac_sha256) {
        (Some(claim), None, None) => Some(HeaderValueSource::Claim((**claim).into())),
        (None, Some(source), None) => expression(&format!("{at}.cel"), source, site).map(HeaderValueSource::Cel),
        (None, None, Some(hmac)) => {
            let at = format!("{at}.hmacSHA256");
            let cel = expression(&format!("{at}.cel"), &hmac.cel, site)?;
            let key = hmac_key(&format!("{at}.secretKeyRef"), &hmac.secret_key_ref, site);
            Some(HeaderValueSource::HmacSha256(HmacHeader { key, cel }))
        }
        _ => {
            site.problems.push(problem(at, "must have exactly one of `claim`, `cel` and `hmacSHA256`"));
            None
        }
    }
}

fn expression(at: &str, source: &str, site: &mut Site<'_>) -> Option<Expr> {
    Expr::parse(source, Place::Header).map_err(|error| site.problems.push(problem(at, error.to_string()))).ok()
}

fn hmac_key(at: &str, reference: &v1alpha1::SecretKeyRef, site: &mut Site<'_>) -> Option<Secret> {
    let key = site.references.get(at, ReferenceKind::Secret, &reference.name, &reference.key, false)?;
    if key.expose().len() < MIN_HMAC_KEY_BYTES {
        let message = format!(
            "{at}: key `{}` of Secret {} has {} bytes; at least {MIN_HMAC_KEY_BYTES} are needed, such as from `openssl rand -base64 32`",
            &*reference.key,
            &*reference.name,
            key.expose().len()
        );
        site.references.problem(Reason::WeakSecret, message);
        return None;
    }
    Some(key.clone())
}

/// Every name that any route of the policy sets.
pub(super) fn owned_names<'a>(all: impl Iterator<Item = &'a Forward> + Clone) -> Arc<OwnedNames> {
    let mut forwards = all.clone();
    if forwards.all(|one| Arc::ptr_eq(&one.names, &NAMES) && one.headers.is_empty() && one.claims_header.is_none()) {
        return OWNED.clone();
    }
    Arc::new(OwnedNames::new(all.flat_map(|forward| {
        let mapped = forward.headers.iter().map(|header| &header.name);
        forward.names.iter().chain(mapped).chain(&forward.claims_header).map(|name| &**name)
    })))
}

/// A place of credentials is emptied on the way, so it cannot be mapped as well: the upstream would get neither.
pub(super) fn check_names<'a>(all: impl Iterator<Item = &'a Arc<Rules>>, places: &[SourceKind], site: &mut Site<'_>) {
    let all: Vec<&Forward> = all.map(|rules| &*rules.forward).collect();
    let owned = owned_names(all.iter().copied());
    let replaced = |name: &str| {
        all.iter()
            .filter_map(|one| one.replacement.as_ref())
            .flat_map(Replacement::headers)
            .any(|header| **header == *name)
    };
    for place in places {
        let name = match place {
            SourceKind::Header { name, .. } => &**name,
            SourceKind::WebSocketProtocol { .. } => "sec-websocket-protocol",
            SourceKind::ClientCertificate => "x-forwarded-client-cert",
            SourceKind::Cookie { .. } | SourceKind::Query { .. } => continue,
        };
        // A header that held a credential can hold another; a list of protocols of which one was a credential cannot.
        let is_list = matches!(place, SourceKind::WebSocketProtocol { .. });
        if owned.covers(name) || (is_list && replaced(name)) {
            site.problems.push(problem(
                "spec.forward",
                format!("`{name}` is a place of credentials and cannot be set for the upstream"),
            ));
        }
    }
}
