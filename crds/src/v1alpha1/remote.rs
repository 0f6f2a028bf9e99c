//! Services that are asked about a credential, a caller or a resource, and the client that we are to an authorization server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    duration::{AnswerAge, CallTimeout},
    refs::{KeySetRef, SecretKeyRef, SecretRef},
    rules,
    text::{
        Audience, ClientId, HeaderName, HttpUrl, IssuerName, KeyId, RegexText, ResourceVariable, TokenPrefix,
        WebhookUrl, field_explains,
    },
};

/// Tokens that their authorization server is asked about (RFC 7662). Good are those of which it says active: true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Introspection {
    /// Where to ask. Example: https://sso.example.com/introspect.
    pub endpoint: HttpUrl,
    /// As whom to ask.
    pub client: ConfidentialClient,
    /// The iss that an answer must have if it has one; it is then the verified issuer, of x-auth-issuer and x-auth-user. Tokens in the
    /// form of a JWT that name another issuer are not asked about. Default: none; iss of answers is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerName>,
    /// Accepted audiences; aud of an answer must hold one. Default: aud is not looked at, so that a token for another service works here
    /// unless the authorization server refuses to speak about it. Example: app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Option<Vec<Audience>>,
    /// How long an answer holds, 0s to 1h and never past exp; one that is not active for at most 5s. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<AnswerAge>,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// Which credentials are asked about; others are not of this kind. Default: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Accepts>,
    /// Certificate authorities of the endpoint, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
}

/// Tokens that are shown to the UserInfo endpoint of their issuer (OpenID Connect Core 1.0, section 5.3), which answers with claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserInfo {
    /// Where to ask. Example: https://oauth.example.com/userinfo.
    pub endpoint: HttpUrl,
    /// How long an answer holds, 0s to 1h; a refusal for at most 5s. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<AnswerAge>,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// Which credentials are asked about; others are not of this kind. Default: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Accepts>,
    /// Certificate authorities of the endpoint, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
}

/// Credentials that a service of yours judges: it is sent the credential, and says whether it is good and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookAuthenticator {
    /// Where to ask: with POST and JSON at https://, by envoy.service.auth.v3.Authorization at grpcs:// or, without TLS, grpc://. Example:
    /// https://auth.demo.svc/verify.
    pub url: WebhookUrl,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// How long an answer holds, 0s to 1h and never past exp; a refusal for at most 5s. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<AnswerAge>,
    /// A Secret of type kubernetes.io/tls whose certificate and key we show the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
    /// Certificate authorities of the service, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
    /// Headers of the request that the service sees beside the credential. Default: none. Example: x-tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub forward_headers: Option<Vec<HeaderName>>,
    /// Which credentials are asked about; others are not of this kind. Default: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Accepts>,
}

/// A service of yours that is asked about callers or resources, with POST and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where to ask. Example: https://auth.demo.svc/active.
    pub url: HttpUrl,
    /// How long one question may take, 10ms to 10s. The request waits for a part of it only: --check-timeout. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// How long an answer that lets the caller in holds, 0s to 1h. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<AnswerAge>,
    /// A Secret of type kubernetes.io/tls whose certificate and key we show the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
    /// Certificate authorities of the service, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
}

/// A cheap look at a credential before anybody is asked: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_ACCEPTS]))]
pub struct Accepts {
    /// What the credential begins with. Example: opq_.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<TokenPrefix>,
    /// A regular expression (RE2 syntax) that the whole credential matches. Example: opq_[a-z0-9]{40}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<RegexText>,
}

/// A client of an authorization server that can prove who it is (RFC 6749 section 2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::CLIENT_SECRET, rules::CLIENT_KEY]))]
pub struct ConfidentialClient {
    /// As registered at the authorization server.
    #[serde(rename = "clientID")]
    pub client_id: ClientId,
    /// The client secret, for ClientSecretBasic and ClientSecretPost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
    /// The private key for PrivateKeyJWT as PKCS#8 in PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_ref: Option<SecretKeyRef>,
    /// How it proves that: ClientSecretBasic, ClientSecretPost, PrivateKeyJWT. Default: ClientSecretBasic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<ClientMethod>,
    /// The kid of the assertions of PrivateKeyJWT. Default: none, for a client with one key.
    #[serde(rename = "keyID", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The aud of the assertions of PrivateKeyJWT; some servers want their issuer. Default: the URL that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion_audience: Option<Audience>,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum ClientMethod {
    /// The secret in the Authorization header (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// The secret in the body (the same section).
    ClientSecretPost,
    /// An assertion signed by a key of the client's own (RFC 7523).
    PrivateKeyJWT,
}

/// Whose resource the path names: callers who do not own it are refused. A resource that the service does not know is nobody's, and the
/// request passes; a caller without identity is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// Whom to ask. Only the answer that the caller owns the resource is kept.
    pub webhook: Webhook,
    /// The variable of the route's paths that names the resource; a path without it names none. Example: "{thread}".
    pub resource: ResourceVariable,
    /// What callers get who do not own it: NotFound (404) hides that it is there, Forbidden (403) does not. Default: Forbidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_owner: Option<NotOwner>,
}

/// The answer to a caller who does not own the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum NotOwner {
    /// 404.
    NotFound,
    /// 403.
    Forbidden,
}
