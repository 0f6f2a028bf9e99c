//! One question of each kind, put into HTTP, and its answer read.

use std::time::Duration;

use crds::{
    secret::Secret,
    snapshot::{
        AuthenticatorKind, Endpoint, Grant, GrantKind, Introspection, Protocol, ServiceAccounts, UserInfo, Webhook,
    },
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

use super::grpc;
use crate::{
    cluster::{Cluster, ClusterError},
    net::ResponseError,
    remote::{
        self, Reply, What, introspection,
        oauth::{OAuthError, Refusal, post_form},
        token_review,
        transport::{self, CallError, Question, Transport},
        user_info, webhook,
    },
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// The time from the start of a review to the last byte of its answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a review holds: as long as the API server itself remembers one.
const REVIEW_KEPT: Duration = Duration::from_secs(10);

/// The word of metrics and logs.
pub(super) fn kind_of(what: &What) -> &'static str {
    match what {
        What::Token(authenticator, _) if matches!(authenticator.kind, AuthenticatorKind::UserInfo(_)) => "userinfo",
        What::Token(..) => "introspection",
        What::Review { .. } => "token_review",
        What::Credential(..) => "webhook",
        What::Caller(..) => "authorization",
        What::Owner(..) => "owner",
        What::Grant(grant, _) => match grant.kind {
            GrantKind::ClientCredentials { .. } => "client_credentials",
            GrantKind::TokenExchange => "token_exchange",
        },
    }
}

/// Whom it is about, for the log: a name of the policy, or the host of a service.
pub(super) fn name_of(what: &What) -> &str {
    match what {
        What::Token(authenticator, _) | What::Credential(authenticator, _) | What::Review { authenticator, .. } => {
            &authenticator.name
        }
        What::Caller(service, _) => service.endpoint.url.host_str().unwrap_or_default(),
        What::Owner(owned, _) => owned.owner.webhook.endpoint.url.host_str().unwrap_or_default(),
        What::Grant(grant, _) => grant.endpoint.url.host_str().unwrap_or_default(),
    }
}

/// What shares a bound. The API server is one for all policies: it has no endpoint of theirs.
pub(super) fn endpoint_of(what: &What) -> [u8; 32] {
    endpoint(what).map(|endpoint| endpoint.id).unwrap_or_default()
}

/// How long an answer holds at most.
pub(super) fn keep_of(what: &What) -> Duration {
    let of_kind = |kind: &AuthenticatorKind| match kind {
        AuthenticatorKind::Introspection(rules) => rules.keep,
        AuthenticatorKind::UserInfo(rules) => rules.keep,
        AuthenticatorKind::Webhook(rules) => rules.webhook.keep,
        AuthenticatorKind::ServiceAccount(_) => REVIEW_KEPT,
        AuthenticatorKind::Jwt(_) | AuthenticatorKind::ApiKey(_) | AuthenticatorKind::ClientCertificate(_) => {
            Duration::ZERO
        }
    };
    match what {
        What::Token(authenticator, _) | What::Credential(authenticator, _) | What::Review { authenticator, .. } => {
            of_kind(&authenticator.kind)
        }
        What::Caller(service, _) => service.keep,
        What::Owner(owned, _) => owned.owner.webhook.keep,
        // How long a token holds stands in the answer; a refusal is kept no longer than any other.
        What::Grant(..) => Duration::from_mins(1),
    }
}

fn endpoint(what: &What) -> Option<&Endpoint> {
    match what {
        What::Token(authenticator, _) | What::Credential(authenticator, _) => match &authenticator.kind {
            AuthenticatorKind::Introspection(rules) => Some(&rules.endpoint),
            AuthenticatorKind::UserInfo(rules) => Some(&rules.endpoint),
            AuthenticatorKind::Webhook(rules) => Some(&rules.webhook.endpoint),
            AuthenticatorKind::Jwt(_)
            | AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::ServiceAccount(_) => None,
        },
        What::Review { .. } => None,
        What::Caller(service, _) => Some(&service.endpoint),
        What::Owner(owned, _) => Some(&owned.owner.webhook.endpoint),
        What::Grant(grant, _) => Some(&grant.endpoint),
    }
}

/// Asks. What the service says about the credential is a reply; everything that keeps it from saying so is an error.
pub(super) async fn perform(transport: &Transport, cluster: Option<&Cluster>, what: &What) -> Result<Reply, CallError> {
    match what {
        What::Token(authenticator, token) => match &authenticator.kind {
            AuthenticatorKind::Introspection(rules) => introspect(transport, rules, token).await,
            AuthenticatorKind::UserInfo(rules) => ask_user_info(transport, rules, token).await,
            // Nobody asks about these.
            AuthenticatorKind::Jwt(_)
            | AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::ServiceAccount(_)
            | AuthenticatorKind::Webhook(_) => Err(CallError::Incomplete),
        },
        What::Review { authenticator, token, ends_ms } => match &authenticator.kind {
            AuthenticatorKind::ServiceAccount(rules) => review(cluster, rules, token, *ends_ms).await,
            _ => Err(CallError::Incomplete),
        },
        What::Credential(authenticator, body) => match &authenticator.kind {
            AuthenticatorKind::Webhook(rules) => match rules.protocol {
                Protocol::Http => Ok(webhook::credential(post(transport, &rules.webhook, body).await?)),
                Protocol::Grpc => grpc::ask(transport, &rules.webhook.endpoint, body).await,
            },
            _ => Err(CallError::Incomplete),
        },
        What::Caller(service, body) => Ok(webhook::caller(&post(transport, service, body).await?)),
        What::Grant(grant, subject) => self::grant(transport, grant, subject.as_ref()).await,
        What::Owner(owned, body) => Ok(webhook::owner(&post(transport, &owned.owner.webhook, body).await?)),
    }
}

/// Asks the API server of the cluster.
async fn review(
    cluster: Option<&Cluster>,
    rules: &ServiceAccounts,
    token: &Secret,
    ends_ms: Option<i64>,
) -> Result<Reply, CallError> {
    let text = std::str::from_utf8(token.expose()).map_err(|_| CallError::Incomplete)?;
    let body = token_review::question(rules, text);
    let cluster = cluster.ok_or(ClusterError::Unknown)?;
    let asked = async {
        let request = cluster.request(Method::POST, TOKEN_REVIEWS).await?;
        let request = request.header(header::CONTENT_TYPE, JSON).header(header::ACCEPT, JSON);
        let answer = request.body(body.expose().to_vec()).send().await.map_err(|error| ResponseError::of(&error))?;
        transport::read(answer).await
    };
    let answer = tokio::time::timeout(REVIEW_TIMEOUT, asked).await.unwrap_or(Err(ResponseError::Timeout.into()))?;
    match answer.status {
        StatusCode::CREATED | StatusCode::OK => Ok(token_review::read(rules, &answer.body?, ends_ms)),
        // About us, and never about the token.
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(ClusterError::Refused(status.as_u16()).into())
        }
        _ => Err(CallError::Status),
    }
}

async fn introspect(transport: &Transport, rules: &Introspection, token: &Secret) -> Result<Reply, CallError> {
    let text = std::str::from_utf8(token.expose()).map_err(|_| CallError::Incomplete)?;
    let form = [("token", text), ("token_type_hint", "access_token")];
    match post_form(transport, &rules.endpoint, &rules.client, &form).await {
        Ok(answer) => Ok(introspection::read(rules, answer)),
        Err(OAuthError::Call(error)) => Err(error),
        // A refusal is about us and never about the token (RFC 7662 section 2.3).
        Err(OAuthError::Refused { .. }) => Err(CallError::Client),
    }
}

async fn grant(transport: &Transport, grant: &Grant, subject: Option<&Secret>) -> Result<Reply, CallError> {
    let mut form: Vec<(&str, &str)> = grant.form.iter().map(|(name, value)| (*name, &**value)).collect();
    if let Some(subject) = subject {
        form.push(("subject_token", std::str::from_utf8(subject.expose()).map_err(|_| CallError::Incomplete)?));
    }
    match post_form(transport, &grant.endpoint, &grant.client, &form).await {
        Ok(answer) => Ok(remote::grant::read(grant, &answer)),
        Err(OAuthError::Call(error)) => Err(error),
        // The one refusal that is about the caller's token and not about us.
        Err(OAuthError::Refused { error: Refusal::InvalidGrant, .. }) if subject.is_some() => {
            Ok(Reply::Refused("the authorization server does not exchange this caller's token"))
        }
        Err(OAuthError::Refused { .. }) => Err(CallError::Status),
    }
}

async fn ask_user_info(transport: &Transport, rules: &UserInfo, token: &Secret) -> Result<Reply, CallError> {
    let bearer = [b"Bearer ", token.expose()].concat();
    let mut bearer = HeaderValue::from_bytes(&bearer).map_err(|_| CallError::Incomplete)?;
    bearer.set_sensitive(true);
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    let answer = transport.ask(&rules.endpoint, &Question { method: Method::GET, headers, body: &[] }).await?;
    match answer.status {
        StatusCode::OK => Ok(user_info::read(answer.body?)),
        // RFC 6750 section 3.1: malformed, not good, or not for this.
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(user_info::REFUSED),
        _ => Err(CallError::Status),
    }
}

/// Only 200 is an answer: another status could be about us, or of whatever stands before the service.
async fn post(transport: &Transport, service: &Webhook, body: &Secret) -> Result<Map<String, Value>, CallError> {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, JSON)]);
    let question = Question { method: Method::POST, headers, body: body.expose() };
    let answer = transport.ask(&service.endpoint, &question).await?;
    if answer.status != StatusCode::OK {
        return Err(CallError::Status);
    }
    answer.body
}
