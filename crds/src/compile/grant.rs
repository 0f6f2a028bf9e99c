//! Tokens for the upstream that an authorization server gives: where, as whom, and what for.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;

use super::{authenticator::duration, forward::forbidden, policy::Site, problem, remote, replace};
use crate::{
    snapshot::{
        ClientAuthentication, ExtraHeader, Grant, GrantKind, Granted, OAuthClient, Replacement, ReplacementValue,
    },
    v1alpha1::{self, ScopeName},
};

const REFRESH_BEFORE: Duration = Duration::from_mins(5);
/// RFC 8693 section 3: what callers send is an access token.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token of our own.
pub(super) fn client_credentials(
    at: &str,
    spec: &v1alpha1::ClientCredentials,
    site: &mut Site<'_>,
) -> Option<Replacement> {
    let endpoint =
        remote::token_endpoint(at, &spec.token_url, spec.timeout.as_ref(), spec.ca_bundle_ref.as_ref(), site);
    let client = remote::client(&format!("{at}.client"), &spec.client, site);
    let before = spec.refresh_before.as_ref().map(v1alpha1::RefreshBefore::parse);
    let renew_before = duration(&format!("{at}.refreshBefore"), before, REFRESH_BEFORE, site);
    let extra = match &spec.extra_header {
        None => None,
        Some(extra) => Some(extra_header(&format!("{at}.extraHeader"), extra, site)?),
    };
    let form = parameters("client_credentials", spec.audience.as_deref(), spec.scopes.as_deref());
    let grant = grant(endpoint?, (&spec.client, client), GrantKind::ClientCredentials { renew_before }, form, site);
    Some(granted(grant, extra))
}

/// A token for the caller's.
pub(super) fn token_exchange(at: &str, spec: &v1alpha1::TokenExchange, site: &mut Site<'_>) -> Option<Replacement> {
    let endpoint =
        remote::token_endpoint(at, &spec.token_url, spec.timeout.as_ref(), spec.ca_bundle_ref.as_ref(), site);
    let client = remote::client(&format!("{at}.client"), &spec.client, site);
    let grant_type = "urn:ietf:params:oauth:grant-type:token-exchange";
    let mut form = parameters(grant_type, spec.audience.as_deref(), spec.scopes.as_deref());
    form.push(("subject_token_type", ACCESS_TOKEN.into()));
    form.push(("requested_token_type", ACCESS_TOKEN.into()));
    Some(granted(grant(endpoint?, (&spec.client, client), GrantKind::TokenExchange, form, site), None))
}

fn granted(grant: Grant, extra: Option<ExtraHeader>) -> Replacement {
    let value = ReplacementValue::Granted(Box::new(Granted { grant: Arc::new(grant), extra }));
    Replacement { header: "authorization".into(), value }
}

fn parameters(grant_type: &str, audience: Option<&str>, scopes: Option<&[ScopeName]>) -> Vec<(&'static str, Box<str>)> {
    let mut form: Vec<(&'static str, Box<str>)> = vec![("grant_type", grant_type.into())];
    form.extend(audience.map(|audience| ("audience", audience.into())));
    let scopes = scopes.map(|all| all.iter().map(|one| &**one).collect::<Vec<_>>().join(" "));
    form.extend(scopes.map(|scopes| ("scope", scopes.into())));
    form
}

/// Whoever asks for the same at the same place as the same client, with the same secret, shares an answer; the policy's identity is part of
/// the place. A token that one secret was given must not hide that another is wrong. A private key is told apart by its reference and
/// identifier alone: when it is replaced in its place, a token that is kept stays until it ends.
fn grant(
    endpoint: crate::snapshot::Endpoint,
    (spec, client): (&v1alpha1::ConfidentialClient, OAuthClient),
    kind: GrantKind,
    form: Vec<(&'static str, Box<str>)>,
    site: &Site<'_>,
) -> Grant {
    let mut context = digest::Context::new(&digest::SHA256);
    let written = serde_json::to_vec(spec).unwrap_or_default();
    let proof = match &client.authentication {
        Some(ClientAuthentication::SecretBasic(secret) | ClientAuthentication::SecretPost(secret)) => secret.expose(),
        Some(ClientAuthentication::PrivateKeyJwt { .. }) | None => &[],
    };
    let ours = [site.name.as_bytes(), site.uid.as_bytes(), endpoint.url.as_str().as_bytes(), &written, proof];
    let asked = form.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    for part in ours.into_iter().chain(asked) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    Grant { endpoint, client, kind, form, fingerprint: crate::digest::finish(context) }
}

fn extra_header(at: &str, spec: &v1alpha1::ExtraHeader, site: &mut Site<'_>) -> Option<ExtraHeader> {
    let name = spec.name.to_ascii_lowercase();
    if let Some(why) = forbidden(&name) {
        site.problems.push(problem(
            format!("{at}.name"),
            format!("`{name}` {why}; choose a name such as `x-service-account-token`"),
        ));
        return None;
    }
    let value = replace::secret(&format!("{at}.secretKeyRef"), &spec.secret_key_ref, site);
    Some(ExtraHeader { name: name.into(), value })
}
