//! Credentials that we put in the place of the caller's. A new kind is one optional field of [`ReplaceCredential`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    duration::TokenLifetime,
    grant::{ClientCredentials, TokenExchange},
    refs::SecretKeyRef,
    rules,
    text::{Audience, CelText, HeaderName, field_explains},
};

/// What the upstream gets in place of the caller's credential: exactly one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_REPLACEMENT]))]
pub struct ReplaceCredential {
    /// A JSON Web Token made for each request and sent as Authorization: Bearer.
    #[serde(rename = "signedJWT", skip_serializing_if = "Option::is_none")]
    pub signed_jwt: Option<SignedJwt>,
    /// A token of our own from an authorization server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
    /// The caller's token, exchanged at an authorization server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_exchange: Option<TokenExchange>,
    /// The same secret for every caller.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<StaticCredential>,
}

/// A JSON Web Token of ours. iat and exp are added, and with a key of our own iss
/// unless it is among the claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_AUDIENCE, rules::SHARED_KEY]))]
pub struct SignedJwt {
    /// Signature algorithm: HS256, HS384, HS512, RS256, ES256, EdDSA.
    pub algorithm: SigningAlgorithm,
    /// The key. Default, for RS256, ES256 and EdDSA: a key of our own, which is followed by another every month; its public half is at
    /// /.well-known/jwks.json of the broker listener of run, and in a cluster of the admin listener of every authz. For HS256, HS384 and HS512 at least 32, 48 and 64 bytes; else a private key as PKCS#8 in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// The token's aud. Default: none. Example: orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// How long the token is good, 1s to 1h. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<TokenLifetime>,
    /// Claims by name, each a CEL expression over principal, request, traffic and route that yields a text, a list, a number or a bool. A
    /// claim whose expression reads an unset principal field is left out. Example: {sub: principal.subject}.
    #[serde(default, deserialize_with = "null_is_no_claim", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "x-kubernetes-validations" = [rules::TIMES_ARE_OURS]))]
    pub claims: BTreeMap<String, CelText>,
}

/// Algorithms that tokens of ours are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// A header with a secret value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticCredential {
    /// Name of the header, without regard to case; Authorization, or one that neither routes, frames nor belongs to the proxy. Example:
    /// x-api-key.
    pub header: HeaderName,
    /// Its whole value: printable ASCII without line breaks, with the scheme where there is one.
    pub secret_key_ref: SecretKeyRef,
}

fn null_is_no_claim<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, CelText>, D::Error> {
    let claims = Option::<BTreeMap<String, Option<CelText>>>::deserialize(from)?.unwrap_or_default();
    Ok(claims.into_iter().filter_map(|(name, text)| Some((name, text?))).collect())
}
