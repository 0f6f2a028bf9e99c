//! Authenticators: what each verifies, where its keys are, how its claims map.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::digest;

use super::{api_key, policy::Site, problem, remote, second_factor, service_account, static_key, verdict::Reason};
use crate::{
    algorithm::Algorithm,
    documents::ReferenceKind,
    keys,
    snapshot::{
        AudienceRule, Authenticator, AuthenticatorKind, Authorities, ClaimMapping, ClientCertificates,
        IdentityRequirements, Jwt, JwtKeys, KeySetId, KeySetSource,
    },
    v1alpha1::{self, AudienceCheck, ClaimName},
};

/// How long fetched keys are fresh unless the policy says otherwise.
const KEY_AGE: Duration = Duration::from_hours(1);
/// Asking more often than this helps nobody and hurts the issuer.
const MIN_KEY_AGE: Duration = Duration::from_secs(30);
const MAX_KEY_AGE: Duration = Duration::from_hours(168);

/// All authenticators, and the key sets they read.
pub(super) fn compile(
    specs: &[v1alpha1::Authenticator],
    site: &mut Site<'_>,
) -> (Vec<Arc<Authenticator>>, Vec<KeySetSource>) {
    let mut key_sets = Vec::new();
    let authenticators = specs
        .iter()
        .enumerate()
        .filter_map(|(index, spec)| one(index, spec, site, &mut key_sets))
        .map(Arc::new)
        .collect();
    (authenticators, key_sets)
}

fn one(
    index: usize,
    spec: &v1alpha1::Authenticator,
    site: &mut Site<'_>,
    key_sets: &mut Vec<KeySetSource>,
) -> Option<Authenticator> {
    let at = format!("spec.authenticators[{index}]");
    let kind = kind(&at, spec, site, key_sets)?;
    let second_factor = spec.totp.as_ref().map(|totp| second_factor::compile(&format!("{at}.totp"), totp, site));
    let require = spec.require.as_ref().map_or_else(IdentityRequirements::default, |require| {
        identity_requirements(
            require.verified_email,
            require.emails.iter().map(|one| &**one),
            require.domains.iter().map(|one| &**one),
        )
    });
    let own = format!("urn:gatewright:{}/{}", site.name, &*spec.name);
    let mut authenticator = Authenticator {
        name: (*spec.name).into(),
        fingerprint: [0; 32],
        claims: claims(spec.claims.as_ref(), &kind),
        kind,
        second_factor,
        require,
        identity_issuer: spec.identity_issuer.as_ref().map_or(own.as_str(), |one| &**one).into(),
    };
    authenticator.fingerprint = fingerprint(&authenticator, site);
    Some(authenticator)
}

/// The one kind that is set.
fn kind(
    at: &str,
    spec: &v1alpha1::Authenticator,
    site: &mut Site<'_>,
    key_sets: &mut Vec<KeySetSource>,
) -> Option<AuthenticatorKind> {
    let v1alpha1::Authenticator {
        jwt,
        api_key,
        introspection,
        user_info,
        webhook,
        client_certificate,
        service_account,
        ..
    } = spec;
    let set = [
        jwt.is_some(),
        api_key.is_some(),
        introspection.is_some(),
        user_info.is_some(),
        webhook.is_some(),
        client_certificate.is_some(),
        service_account.is_some(),
    ];
    if set.into_iter().filter(|set| *set).count() != 1 {
        site.problems.push(problem(at, "must name exactly one kind of credential, such as `jwt` or `apiKey`"));
        return None;
    }
    if let Some(keys) = api_key {
        return Some(AuthenticatorKind::ApiKey(api_key::compile(&format!("{at}.apiKey"), keys, site)?));
    }
    if let Some(spec) = introspection {
        let compiled = remote::introspection(&format!("{at}.introspection"), spec, site)?;
        return Some(AuthenticatorKind::Introspection(Box::new(compiled)));
    }
    if let Some(spec) = user_info {
        return Some(AuthenticatorKind::UserInfo(remote::user_info(&format!("{at}.userInfo"), spec, site)?));
    }
    if let Some(spec) = webhook {
        return Some(AuthenticatorKind::Webhook(remote::authenticator(&format!("{at}.webhook"), spec, site)?));
    }
    if let Some(spec) = client_certificate {
        let domains = spec.spiffe_trust_domains.as_ref();
        let trust_domains = domains.map(|all| all.iter().map(|one| (**one).into()).collect());
        return Some(AuthenticatorKind::ClientCertificate(ClientCertificates { trust_domains }));
    }
    if let Some(spec) = service_account {
        return Some(AuthenticatorKind::ServiceAccount(Box::new(service_account::compile(spec, key_sets))));
    }
    Some(AuthenticatorKind::Jwt(self::jwt(&format!("{at}.jwt"), jwt.as_ref()?, site, key_sets)))
}

/// Covers the object's identity and everything that was compiled, so that nothing verified under other rules is ever reused.
fn fingerprint(authenticator: &Authenticator, site: &Site<'_>) -> [u8; 32] {
    let compiled = serde_json::to_vec(authenticator).unwrap_or_default();
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [site.name.as_bytes(), site.uid.as_bytes(), &compiled] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    crate::digest::finish(context)
}

fn jwt(at: &str, spec: &v1alpha1::Jwt, site: &mut Site<'_>, key_sets: &mut Vec<KeySetSource>) -> Jwt {
    let issuer: Option<Arc<str>> = spec.issuer.as_ref().map(|issuer| (**issuer).into());
    let keys = match (&spec.jwks, &issuer) {
        _ if !spec.keys.is_empty() => static_key::compile(at, &spec.keys, site),
        (Some(reference), _) => inline(at, reference, site),
        (None, Some(issuer)) => remote(at, spec, issuer, site, key_sets),
        // The schema demands one of the three.
        (None, None) => {
            site.problems.push(problem(at, "names neither `issuer` nor `jwks` nor `keys`"));
            JwtKeys::Missing
        }
    };
    let clock_skew = duration(
        &format!("{at}.clockSkew"),
        spec.clock_skew.as_ref().map(v1alpha1::ClockSkew::parse),
        Duration::ZERO,
        site,
    );
    let disabled = matches!(spec.audience_check, Some(AudienceCheck::Disabled))
        || (spec.audiences.is_empty() && (spec.jwks.is_some() || !spec.keys.is_empty()));
    let audiences = if disabled {
        AudienceRule::Disabled
    } else {
        AudienceRule::AnyOf(spec.audiences.iter().map(|one| (**one).into()).collect())
    };
    let listed: BTreeSet<Algorithm> = spec.algorithms.iter().copied().collect();
    Jwt {
        issuer,
        keys,
        audiences,
        algorithms: if listed.is_empty() { Algorithm::DEFAULT.into() } else { listed },
        clock_skew,
        require_expiry: spec.require_expiry.unwrap_or(true),
        accepted_types: spec.accepted_types.as_ref().map(|types| types.iter().map(|one| media_type(one)).collect()),
        authorized_parties: spec.authorized_parties.as_ref().map(|all| all.iter().map(|one| (**one).into()).collect()),
        required_claims: texts(&spec.required_claims),
        denied: static_key::denied(at, spec.denied_token_ids.as_ref(), site),
    }
}

/// `typ` without the prefix that RFC 7515 section 4.1.9 lets senders omit.
fn media_type(text: &str) -> Box<str> {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).into()
}

pub(super) fn duration(
    at: &str,
    parsed: Option<Result<Duration, v1alpha1::BadDuration>>,
    default: Duration,
    site: &mut Site<'_>,
) -> Duration {
    match parsed {
        None => default,
        Some(Ok(duration)) => duration,
        Some(Err(error)) => {
            site.problems.push(problem(at, error.to_string()));
            default
        }
    }
}

fn remote(
    at: &str,
    spec: &v1alpha1::Jwt,
    issuer: &Arc<str>,
    site: &mut Site<'_>,
    key_sets: &mut Vec<KeySetSource>,
) -> JwtKeys {
    let jwks_uri: Option<Arc<str>> = spec.jwks_uri.as_ref().map(|uri| (**uri).into());
    let url = jwks_uri.as_ref().unwrap_or(issuer);
    let field = if jwks_uri.is_some() { "jwksURI" } else { "issuer" };
    if let Err(why) = fetchable(url, jwks_uri.is_none()) {
        site.problems.push(problem(format!("{at}.{field}"), why));
    }
    let age_at = format!("{at}.jwksCacheDuration");
    let max_age = duration(&age_at, spec.jwks_cache_duration.as_ref().map(v1alpha1::Duration::parse), KEY_AGE, site);
    if !(MIN_KEY_AGE..=MAX_KEY_AGE).contains(&max_age) {
        site.problems.push(problem(age_at, "must be between 30s and 168h"));
    }
    let authorities = remote::authorities(at, spec.ca_bundle_ref.as_ref(), site);
    if authorities == Authorities::Missing {
        // Other authorities than those that were named must not vouch for the keys.
        return JwtKeys::Missing;
    }
    let id = KeySetId::new(issuer, jwks_uri.as_deref(), &authorities);
    key_sets.push(KeySetSource {
        id: id.clone(),
        issuer: issuer.clone(),
        jwks_uri,
        max_age,
        authorities,
        cluster: false,
    });
    JwtKeys::Remote(id)
}

/// What the fetcher could never ask. Whether a host may be reached is decided where it is dialled.
fn fetchable(text: &str, discovered: bool) -> Result<(), String> {
    let query = if discovered { ", query" } else { "" };
    let shape = format!("must be an absolute http or https URL without user information{query} or fragment");
    let url = url::Url::parse(text).map_err(|error| format!("`{text}` {shape} ({error})"))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    // Discovery adds to the path: after a query there is none.
    let whole = !discovered || url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain || !whole {
        return Err(format!("`{text}` {shape}"));
    }
    Ok(())
}

fn inline(at: &str, reference: &v1alpha1::KeySetRef, site: &mut Site<'_>) -> JwtKeys {
    let (path, kind, name, key, optional) = match (&reference.config_map_key_ref, &reference.secret_key_ref) {
        (Some(one), _) => (
            format!("{at}.jwks.configMapKeyRef"),
            ReferenceKind::ConfigMap,
            &*one.name,
            &*one.key,
            one.optional.unwrap_or(false),
        ),
        (None, Some(one)) => (format!("{at}.jwks.secretKeyRef"), ReferenceKind::Secret, &*one.name, &*one.key, false),
        (None, None) => return JwtKeys::Missing,
    };
    let Some(value) = site.references.get(&path, kind, name, key, optional) else { return JwtKeys::Missing };
    if keys::looks_private(value.expose()) {
        site.references
            .problem(Reason::PrivateKey, format!("{path}: holds a private key; give the public JWK set of the issuer"));
        return JwtKeys::Missing;
    }
    match site.references.key_set(value.expose()) {
        Ok(keys) => JwtKeys::Inline(keys),
        Err(error) => {
            site.references.problem(Reason::BadContent, format!("{path}: {error}"));
            JwtKeys::Missing
        }
    }
}

/// What authenticators without claims of their own share.
static CLAIMS: LazyLock<[Arc<ClaimMapping>; 2]> =
    LazyLock::new(|| [Some("sub".into()), None].map(|stable_id| Arc::new(mapping(None, stable_id))));

fn claims(spec: Option<&v1alpha1::Claims>, kind: &AuthenticatorKind) -> Arc<ClaimMapping> {
    let [of_tokens, of_keys] = &*CLAIMS;
    let common = if matches!(kind, AuthenticatorKind::ApiKey(_)) { of_keys } else { of_tokens };
    let Some(spec) = spec else { return common.clone() };
    let stable_id = spec.stable_id.as_ref().map(|name| (**name).into());
    Arc::new(mapping(Some(spec), stable_id.or_else(|| common.stable_id.clone())))
}

fn mapping(spec: Option<&v1alpha1::Claims>, stable_id: Option<Box<str>>) -> ClaimMapping {
    let list = |own: Option<&Vec<ClaimName>>, default: &[&str]| match own {
        Some(names) => texts(names),
        None => default.iter().map(|name| (*name).into()).collect(),
    };
    ClaimMapping {
        stable_id,
        subject: list(spec.and_then(|spec| spec.subject.as_ref()), &["sub"]),
        email: list(spec.and_then(|spec| spec.email.as_ref()), &["email"]),
        name: list(spec.and_then(|spec| spec.name.as_ref()), &["name"]),
        roles: list(spec.and_then(|spec| spec.roles.as_ref()), &["roles"]),
        scopes: list(spec.and_then(|spec| spec.scopes.as_ref()), &["scope", "scp"]),
    }
}

fn texts(names: &[ClaimName]) -> Vec<Box<str>> {
    names.iter().map(|name| (**name).into()).collect()
}

/// Addresses and domains compare without regard to case.
pub(super) fn identity_requirements<'a>(
    verified_email: Option<bool>,
    emails: impl Iterator<Item = &'a str>,
    domains: impl Iterator<Item = &'a str>,
) -> IdentityRequirements {
    IdentityRequirements {
        verified_email: verified_email.unwrap_or(false),
        emails: emails.map(|one| one.to_lowercase().into()).collect(),
        domains: domains.map(|one| one.to_lowercase().into()).collect(),
    }
}
