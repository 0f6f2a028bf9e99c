//! Ways to prove who is calling. A new kind of credential is one optional field of [`Authenticator`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    api_key::ApiKey,
    client_certificate::ClientCertificate,
    credential::CredentialSource,
    duration::{ClockSkew, Duration},
    refs::KeySetRef,
    remote::{Introspection, UserInfo, WebhookAuthenticator},
    require::IdentityRequire,
    rules,
    service_account::ServiceAccount,
    static_key::{DeniedTokenIds, StaticKey},
    text::{
        Audience, ClaimName, ClientId, HttpUrl, IdentityNamespace, IssuerName, Name, TokenType, field_explains,
        null_is_empty,
    },
    totp::Totp,
};
use crate::algorithm::Algorithm;

/// One way to prove who is calling: a name and exactly one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_KIND, rules::CODE_OF_TOKEN]))]
pub struct Authenticator {
    /// Unique in the policy; the value of the header x-auth-authenticator. Example: corporate-sso.
    pub name: Name,
    /// Places that this authenticator reads instead of the policy's. Default: the policy's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub credentials: Option<Vec<CredentialSource>>,
    /// JSON Web Tokens: of one issuer, or signed by keys that stand in Secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// API keys whose records stand in Secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// Tokens that their authorization server is asked about (RFC 7662).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// Tokens that a UserInfo endpoint answers with claims (OpenID Connect Core 1.0, section 5.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
    /// Credentials that a service of yours judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookAuthenticator>,
    /// Certificates that Envoy verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// ServiceAccount tokens of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// A code beside the token of jwt: the credential is TOKEN:CODE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totp: Option<Totp>,
    /// Which claims become which identity fields; the first claim present wins. Default: subject sub, email email, name name, roles
    /// roles, scopes scope then scp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// First line of the hash behind x-auth-user where a credential has no verified issuer; give two authenticators the same to make
    /// one person of both. Default: urn:gatewright:NAMESPACE/POLICY/AUTHENTICATOR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_issuer: Option<IdentityNamespace>,
    /// Who of the verified is let in. Default: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<IdentityRequire>,
}

/// What makes a JSON Web Token good (RFC 7519, RFC 8725, RFC 9068).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::JWT_KEYS, rules::JWT_ONE_KEY_SOURCE, rules::JWT_STATIC_KEYS, rules::JWT_FETCHED_KEYS, rules::JWT_AUDIENCES]))]
pub struct Jwt {
    /// The exact iss of the tokens; nothing is normalised. Without jwksURI, jwks and keys, keys are found by discovery at
    /// ISSUER/.well-known/openid-configuration. Needed unless jwks or keys is set. Example: https://sso.example.com/realms/main.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerName>,
    /// Where the issuer's keys are, instead of discovery. Example: https://partner.example.net/keys.
    #[serde(rename = "jwksURI", skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<HttpUrl>,
    /// A JSON Web Key Set (RFC 7517) kept in the cluster, instead of fetched keys. Public keys only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySetRef>,
    /// Certificate authorities of the issuer and of the place of its keys, in place of those of the system. Not with jwks and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
    /// Keys that stand in Secrets, tried in order; several while one is replaced by the next. A missing one is left out; while all are
    /// missing, tokens get 503.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<StaticKey>,
    /// Accepted audiences; a token's aud must hold one. Needed unless audienceCheck is Disabled, or jwks or
    /// keys is set. Example: api.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<Audience>,
    /// Whether aud is checked: Required, or Disabled to accept tokens for anybody, whatever audiences says (dangerous: a token meant for
    /// another service works here). Default: Required; with jwks or keys and without audiences, Disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience_check: Option<AudienceCheck>,
    /// Accepted signature algorithms: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519. Default: RS256,
    /// ES256, EdDSA.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<Algorithm>,
    /// How long fetched keys are fresh; they are fetched again before this ends. One to four numbers with h, m, s or ms. Not with
    /// jwks and keys. Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_cache_duration: Option<Duration>,
    /// Leeway for exp, nbf and iat, at most 5m. Default: 0s. Example: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<ClockSkew>,
    /// Whether a token without exp is refused. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_expiry: Option<bool>,
    /// Accepted typ header values, without regard to case and to a leading application/; an empty text stands for a token without typ.
    /// Default: none, JWT and at+jwt. Example: at+jwt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub accepted_types: Option<Vec<TokenType>>,
    /// Accepted clients: the claim azp, else client_id, must be one of these. Default: not looked at. Example: web.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub authorized_parties: Option<Vec<ClientId>>,
    /// Claims that must be present and not null. Default: none. Example: user_id.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub required_claims: Vec<ClaimName>,
    /// A list of tokens that are refused although they are good: one jti a line. It holds at once, for tokens that were seen before too.
    #[serde(rename = "deniedTokenIDs", skip_serializing_if = "Option::is_none")]
    pub denied_token_ids: Option<DeniedTokenIds>,
}

/// Whether the audience of a token is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum AudienceCheck {
    /// It must be one of the list.
    Required,
    /// It is not looked at.
    Disabled,
}

/// Which claims become which identity fields. Each list is tried in order; the first claim present wins. A name with dots is a path where
/// no claim has that very name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// The claim that, with the issuer, says who this is for ever; behind x-auth-user. Default: sub; for API keys, the subject.
    #[serde(rename = "stableID", skip_serializing_if = "Option::is_none")]
    pub stable_id: Option<ClaimName>,
    /// Claims for x-auth-subject. Default: sub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub subject: Option<Vec<ClaimName>>,
    /// Claims for x-auth-email. Default: email.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub email: Option<Vec<ClaimName>>,
    /// Claims for x-auth-name. Default: name. Example: name, preferred_username.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub name: Option<Vec<ClaimName>>,
    /// Claims for x-auth-roles. Default: roles. Example: realm_access.roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub roles: Option<Vec<ClaimName>>,
    /// Claims for x-auth-scopes. Default: scope, then scp.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Option<Vec<ClaimName>>,
}
