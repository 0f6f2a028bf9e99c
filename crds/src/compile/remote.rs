//! Services that are asked: where they are, whom we believe there, as whom we ask.

use std::time::Duration;

use aws_lc_rs::digest;
use regex::{Regex, RegexBuilder};
use url::Url;
use x509_parser::pem::Pem;

use super::{authenticator::duration, policy::Site, problem, verdict::Reason};
use crate::{
    documents::ReferenceKind,
    secret::Secret,
    signing::SigningKey,
    snapshot::{
        Accepts, Authorities, Bundle, ClientAuthentication, ClientCertificate, Endpoint, Introspection, OAuthClient,
        Owner, Protocol, Tls, UserInfo, Webhook, WebhookAuthenticator,
    },
    v1alpha1::{self, AnswerAge, CallTimeout, ClientMethod, KeySetRef, NotOwner, SecretKeyRef, SecretRef},
};

/// Long enough for a service that starts: the request that asked has been answered by then, the next one profits.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More certificates than any bundle of authorities has.
const MAX_CERTIFICATES: usize = 1024;
/// Memory of a compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 16;
/// Headers that say how a connection is used, or which body follows: they mean nothing in another request.
const NOT_FORWARDED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// What the document says about a place, whatever is asked there.
struct Place<'a> {
    at: &'a str,
    /// Name of the field with the URL.
    field: &'static str,
    url: &'a str,
    timeout: Option<&'a CallTimeout>,
    keep: Option<&'a AnswerAge>,
    bundle: Option<&'a KeySetRef>,
    certificate: Option<&'a SecretRef>,
}

pub(super) fn introspection(at: &str, spec: &v1alpha1::Introspection, site: &mut Site<'_>) -> Option<Introspection> {
    let place = Place {
        at,
        field: "endpoint",
        url: &spec.endpoint,
        timeout: spec.timeout.as_ref(),
        keep: spec.cache_duration.as_ref(),
        bundle: spec.ca_bundle_ref.as_ref(),
        certificate: None,
    };
    Some(Introspection {
        endpoint: endpoint(&place, site)?,
        client: client(&format!("{at}.client"), &spec.client, site),
        issuer: spec.issuer.as_ref().map(|issuer| (**issuer).into()),
        audiences: spec.audiences.as_ref().map(|all| all.iter().map(|one| (**one).into()).collect()),
        keep: keep(&place, Duration::from_mins(1), site),
        accepts: accepts(at, spec.accepts.as_ref(), site),
    })
}

pub(super) fn user_info(at: &str, spec: &v1alpha1::UserInfo, site: &mut Site<'_>) -> Option<UserInfo> {
    let place = Place {
        at,
        field: "endpoint",
        url: &spec.endpoint,
        timeout: spec.timeout.as_ref(),
        keep: spec.cache_duration.as_ref(),
        bundle: spec.ca_bundle_ref.as_ref(),
        certificate: None,
    };
    Some(UserInfo {
        endpoint: endpoint(&place, site)?,
        keep: keep(&place, Duration::from_mins(1), site),
        accepts: accepts(at, spec.accepts.as_ref(), site),
    })
}

pub(super) fn authenticator(
    at: &str,
    spec: &v1alpha1::WebhookAuthenticator,
    site: &mut Site<'_>,
) -> Option<WebhookAuthenticator> {
    // Over TLS or not: to whoever dials, gRPC is http like any other.
    let (protocol, url) = match spec.url.strip_prefix("grpc") {
        Some(rest) => (Protocol::Grpc, format!("http{rest}")),
        None => (Protocol::Http, spec.url.to_string()),
    };
    if protocol == Protocol::Grpc && !Url::parse(&url).is_ok_and(|url| url.path() == "/" && url.query().is_none()) {
        let message = format!("`{}` must have no path: the methods of a gRPC service have their own", &*spec.url);
        site.problems.push(problem(format!("{at}.url"), message));
        return None;
    }
    let place = Place {
        at,
        field: "url",
        url: &url,
        timeout: spec.timeout.as_ref(),
        keep: spec.cache_duration.as_ref(),
        bundle: spec.ca_bundle_ref.as_ref(),
        certificate: spec.client_certificate_ref.as_ref(),
    };
    let mut headers: Vec<Box<str>> = Vec::new();
    for (index, name) in spec.forward_headers.iter().flatten().enumerate() {
        let name = name.to_ascii_lowercase();
        if NOT_FORWARDED.contains(&name.as_str()) {
            site.problems.push(problem(
                format!("{at}.forwardHeaders[{index}]"),
                format!("`{name}` belongs to the connection of the client and says nothing about the caller"),
            ));
        }
        headers.push(name.into());
    }
    headers.sort_unstable();
    headers.dedup();
    Some(WebhookAuthenticator {
        webhook: Webhook { endpoint: endpoint(&place, site)?, keep: keep(&place, Duration::from_secs(10), site) },
        protocol,
        headers,
        accepts: accepts(at, spec.accepts.as_ref(), site),
    })
}

pub(super) fn webhook(at: &str, spec: &v1alpha1::Webhook, site: &mut Site<'_>) -> Option<Webhook> {
    let place = Place {
        at,
        field: "url",
        url: &spec.url,
        timeout: spec.timeout.as_ref(),
        keep: spec.cache_duration.as_ref(),
        bundle: spec.ca_bundle_ref.as_ref(),
        certificate: spec.client_certificate_ref.as_ref(),
    };
    Some(Webhook { endpoint: endpoint(&place, site)?, keep: keep(&place, Duration::from_secs(30), site) })
}

pub(super) fn owner(at: &str, spec: &v1alpha1::Owner, site: &mut Site<'_>) -> Option<Owner> {
    let variable = spec.resource.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    Some(Owner {
        webhook: webhook(&format!("{at}.webhook"), &spec.webhook, site)?,
        variable: variable.into(),
        hide: spec.not_owner == Some(NotOwner::NotFound),
    })
}

/// Where tokens are given.
pub(super) fn token_endpoint(
    at: &str,
    url: &str,
    timeout: Option<&CallTimeout>,
    bundle: Option<&KeySetRef>,
    site: &mut Site<'_>,
) -> Option<Endpoint> {
    endpoint(&Place { at, field: "tokenURL", url, timeout, keep: None, bundle, certificate: None }, site)
}

/// As whom we ask an authorization server, for whatever reason.
pub(super) fn client(at: &str, spec: &v1alpha1::ConfidentialClient, site: &mut Site<'_>) -> OAuthClient {
    let secret = |site: &Site<'_>| {
        let value = value(&format!("{at}.clientSecretRef"), spec.client_secret_ref.as_ref(), site)?;
        if std::str::from_utf8(value.expose()).is_ok_and(|text| !text.is_empty()) {
            return Some(value);
        }
        let message = format!(
            "{at}.clientSecretRef: is no client secret; give text in UTF-8 that is not empty, without a line break at its end"
        );
        site.references.problem(Reason::BadContent, message);
        None
    };
    let authentication = match spec.method.unwrap_or(ClientMethod::ClientSecretBasic) {
        ClientMethod::ClientSecretBasic => secret(site).map(ClientAuthentication::SecretBasic),
        ClientMethod::ClientSecretPost => secret(site).map(ClientAuthentication::SecretPost),
        ClientMethod::PrivateKeyJWT => assertion_key(at, spec, site).map(|key| ClientAuthentication::PrivateKeyJwt {
            key: Box::new(key),
            audience: spec.assertion_audience.as_ref().map(|audience| (**audience).into()),
        }),
    };
    OAuthClient { id: (*spec.client_id).into(), authentication }
}

fn assertion_key(at: &str, spec: &v1alpha1::ConfidentialClient, site: &Site<'_>) -> Option<SigningKey> {
    let at = format!("{at}.privateKeyRef");
    let value = value(&at, spec.private_key_ref.as_ref(), site)?;
    let key = SigningKey::private(value.expose());
    if key.is_none() {
        site.references.problem(
            Reason::BadContent,
            format!("{at}: is no private key of RSA, P-256 or Ed25519; give one as PKCS#8 in PEM, such as from `openssl genpkey`"),
        );
    }
    Some(key?.with_key_id(spec.key_id.as_deref()))
}

pub(super) fn value(at: &str, reference: Option<&SecretKeyRef>, site: &Site<'_>) -> Option<Secret> {
    let reference = reference?;
    site.references.get(at, ReferenceKind::Secret, &reference.name, &reference.key, false).cloned()
}

fn endpoint(place: &Place<'_>, site: &mut Site<'_>) -> Option<Endpoint> {
    let at = format!("{}.{}", place.at, place.field);
    let url = match Url::parse(place.url) {
        Ok(url) if url.host_str().is_some() && url.username().is_empty() && url.password().is_none() => Some(url),
        _ => {
            let message = format!("`{}` must be an absolute http or https URL without user information", place.url);
            site.problems.push(problem(at, message));
            None
        }
    };
    let timeout_at = format!("{}.timeout", place.at);
    let timeout = duration(&timeout_at, place.timeout.map(CallTimeout::parse), TIMEOUT, site);
    let secure = url.as_ref().is_none_or(|url| url.scheme() != "http");
    let tls = tls(place.at, secure, place.bundle, place.certificate, site);
    let id = id(place, &tls, site);
    Some(Endpoint { url: url?, timeout, tls, id })
}

/// Covers the policy, the place in it and everything that is compiled of it: no answer that was kept under other settings is used again.
fn id(place: &Place<'_>, tls: &Tls, site: &Site<'_>) -> [u8; 32] {
    let tls = serde_json::to_vec(tls).unwrap_or_default();
    let keep = place.keep.map_or(String::new(), |keep| keep.0.0.clone());
    let mut context = digest::Context::new(&digest::SHA256);
    for part in
        [site.name.as_bytes(), site.uid.as_bytes(), place.at.as_bytes(), place.url.as_bytes(), keep.as_bytes(), &tls]
    {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    crate::digest::finish(context)
}

/// Both sides of TLS, which must be spoken if anything is said about them.
pub(super) fn tls(
    at: &str,
    secure: bool,
    bundle: Option<&KeySetRef>,
    certificate: Option<&SecretRef>,
    site: &mut Site<'_>,
) -> Tls {
    for (field, set) in [("caBundleRef", bundle.is_some()), ("clientCertificateRef", certificate.is_some())] {
        if set && !secure {
            let message = "has no meaning without TLS; make the URL https:// (grpcs:// for gRPC, rediss:// for Redis), or remove it";
            site.problems.push(problem(format!("{at}.{field}"), message));
        }
    }
    Tls { authorities: authorities(at, bundle, site), certificate: self::certificate(at, certificate, site) }
}

/// The bundle of a reference, for whatever is fetched or asked.
pub(super) fn authorities(at: &str, reference: Option<&KeySetRef>, site: &Site<'_>) -> Authorities {
    let Some(reference) = reference else { return Authorities::System };
    let (path, kind, name, key, optional) = match (&reference.config_map_key_ref, &reference.secret_key_ref) {
        (Some(one), _) => (
            format!("{at}.caBundleRef.configMapKeyRef"),
            ReferenceKind::ConfigMap,
            &one.name,
            &one.key,
            one.optional.unwrap_or(false),
        ),
        (None, Some(one)) => {
            (format!("{at}.caBundleRef.secretKeyRef"), ReferenceKind::Secret, &one.name, &one.key, false)
        }
        // The schema demands one of the two.
        (None, None) => return Authorities::Missing,
    };
    let Some(value) = site.references.get(&path, kind, name, key, optional) else { return Authorities::Missing };
    match certificates(value.expose()) {
        Ok(()) => Authorities::Own(Bundle::new(value.expose())),
        Err(why) => {
            site.references.problem(Reason::BadContent, format!("{path}: {why}"));
            Authorities::Missing
        }
    }
}

/// Certificates in PEM, one at least, and nothing else.
fn certificates(pem: &[u8]) -> Result<(), &'static str> {
    let mut count = 0;
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| "is no PEM")?;
        if block.label != "CERTIFICATE" {
            return Err("holds something else than certificates");
        }
        block.parse_x509().map_err(|_| "holds a certificate that cannot be read")?;
        count += 1;
    }
    match count {
        0 => Err("holds no certificate; give certificates in PEM, `-----BEGIN CERTIFICATE-----`"),
        1..=MAX_CERTIFICATES => Ok(()),
        _ => Err("holds more than 1024 certificates"),
    }
}

fn certificate(at: &str, reference: Option<&SecretRef>, site: &Site<'_>) -> ClientCertificate {
    let Some(reference) = reference else { return ClientCertificate::None };
    let at = format!("{at}.clientCertificateRef");
    let get = |key| site.references.get(&at, ReferenceKind::Secret, &reference.name, key, false);
    let (chain, key) = (get("tls.crt"), get("tls.key"));
    let (Some(chain), Some(key)) = (chain, key) else { return ClientCertificate::Missing };
    let fit = certificates(chain.expose()).and_then(|()| {
        let labels: Vec<String> = Pem::iter_from_buffer(key.expose()).flatten().map(|block| block.label).collect();
        match labels.as_slice() {
            [one] if one.ends_with("PRIVATE KEY") && one != "ENCRYPTED PRIVATE KEY" => Ok(()),
            _ => Err("has no private key in PEM, and only that, under tls.key"),
        }
    });
    if let Err(why) = fit {
        site.references.problem(Reason::BadContent, format!("{at}: Secret {} {why}", &*reference.name));
        return ClientCertificate::Missing;
    }
    ClientCertificate::Own(Secret::new([chain.expose(), b"\n", key.expose()].concat()))
}

fn keep(place: &Place<'_>, default: Duration, site: &mut Site<'_>) -> Duration {
    let at = format!("{}.cacheDuration", place.at);
    duration(&at, place.keep.map(AnswerAge::parse), default, site)
}

fn accepts(at: &str, spec: Option<&v1alpha1::Accepts>, site: &mut Site<'_>) -> Accepts {
    let at = format!("{at}.accepts");
    match spec.map(|spec| (&spec.prefix, &spec.pattern)) {
        None => Accepts::Everything,
        Some((Some(prefix), None)) => Accepts::Prefix((**prefix).into()),
        Some((None, Some(pattern))) => match whole(pattern) {
            Ok(pattern) => Accepts::Pattern(pattern),
            Err(error) => {
                let why = error.to_string();
                let last = why.lines().last().unwrap_or_default().trim();
                site.problems.push(problem(format!("{at}.pattern"), format!("is no regular expression ({last})")));
                Accepts::Everything
            }
        },
        Some(_) => {
            site.problems.push(problem(at, "must have exactly one of `prefix` and `pattern`"));
            Accepts::Everything
        }
    }
}

fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_PATTERN_SIZE).build();
    // On its own first: an unbalanced one could close the group that makes it match the whole.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}
