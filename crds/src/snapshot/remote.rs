//! Compiled questions to other services: where they go, whom we believe there, as whom we ask, and how long an answer holds.

use std::{sync::Arc, time::Duration};

use regex::Regex;
use serde::{Serialize, Serializer};
use url::Url;

use crate::{secret::Secret, signing::SigningKey};

/// A service that is asked over HTTP.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Absolute, `http` or `https`. Whether it may be reached is decided where it is dialled.
    #[serde(serialize_with = "text")]
    pub url: Url,
    /// From the start of a question to the last byte of its answer.
    pub timeout: Duration,
    /// Whom we believe, and who we are.
    pub tls: Tls,
    /// SHA-256 over the policy's identity, the place in the document and what is said there: part of the name of every question, and what
    /// shares a bound on calls.
    #[serde(skip)]
    pub id: [u8; 32],
}

/// Both sides of a TLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Who may have signed the service's certificate.
    pub authorities: Authorities,
    /// The certificate that we show.
    pub certificate: ClientCertificate,
}

/// Who may have signed a service's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Authorities {
    /// Those of the system.
    #[default]
    System,
    /// These alone.
    Own(Bundle),
    /// Referenced, and not there or not fit: nobody is believed, and nothing is asked.
    Missing,
}

/// Certificates in PEM. Prints and serialises as their digest.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bundle(Arc<[u8]>);

/// The certificate that we show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientCertificate {
    /// None.
    #[default]
    None,
    /// Chain and private key in PEM.
    Own(#[serde(skip)] Secret),
    /// Referenced, and not there or not fit: nothing is asked.
    Missing,
}

/// A client of an authorization server.
#[derive(Debug, Clone, Serialize)]
pub struct OAuthClient {
    /// `client_id`.
    pub id: Box<str>,
    /// How it proves who it is; absent when the referenced Secret is missing or unfit, and then nothing is asked.
    pub authentication: Option<ClientAuthentication>,
}

/// How a client proves who it is (RFC 6749 section 2.3).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuthentication {
    /// In the `Authorization` header.
    SecretBasic(#[serde(skip)] Secret),
    /// In the body.
    SecretPost(#[serde(skip)] Secret),
    /// An assertion (RFC 7523).
    PrivateKeyJwt {
        /// What signs it.
        key: Box<SigningKey>,
        /// Its `aud`; absent: the URL that is asked.
        audience: Option<Box<str>>,
    },
}

/// Which credentials a kind takes at all.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Accepts {
    /// Every one.
    #[default]
    Everything,
    /// Those that begin so.
    Prefix(Box<str>),
    /// Those that match as a whole.
    Pattern(#[serde(serialize_with = "text")] Regex),
}

/// Tokens that their authorization server is asked about (RFC 7662).
#[derive(Debug, Serialize)]
pub struct Introspection {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom.
    pub client: OAuthClient,
    /// The issuer that answers speak for.
    pub issuer: Option<Arc<str>>,
    /// `aud` must hold one of these; `None`: not looked at.
    pub audiences: Option<Vec<Box<str>>>,
    /// How long an answer holds.
    pub keep: Duration,
    /// Which tokens.
    pub accepts: Accepts,
}

/// Tokens that a UserInfo endpoint answers with claims.
#[derive(Debug, Serialize)]
pub struct UserInfo {
    /// Where.
    pub endpoint: Endpoint,
    /// How long an answer holds.
    pub keep: Duration,
    /// Which tokens.
    pub accepts: Accepts,
}

/// Credentials that a service judges.
#[derive(Debug, Serialize)]
pub struct WebhookAuthenticator {
    /// Which service.
    pub webhook: Webhook,
    /// What it speaks.
    pub protocol: Protocol,
    /// Headers it sees, lower case.
    pub headers: Vec<Box<str>>,
    /// Which credentials.
    pub accepts: Accepts,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// POST and JSON.
    Http,
    /// `envoy.service.auth.v3.Authorization`. The URL of the endpoint says by `http` or `https` whether over TLS.
    Grpc,
}

/// A service of the policy's owner.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    /// Where.
    pub endpoint: Endpoint,
    /// How long an answer holds.
    pub keep: Duration,
}

/// Whose resource a path names.
#[derive(Debug, Clone, Serialize)]
pub struct Owner {
    /// Who knows.
    pub webhook: Webhook,
    /// The variable of the route's templates that holds it, without braces.
    pub variable: Box<str>,
    /// Whether callers who do not own it are told that there is none.
    pub hide: bool,
}

// === impl Bundle ===

impl Bundle {
    /// Takes certificates in.
    pub fn new(pem: &[u8]) -> Self {
        Self(pem.into())
    }

    /// The certificates.
    pub fn pem(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 in hex.
    pub fn digest(&self) -> String {
        crate::digest::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0).as_ref())
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Bundle({})", self.digest())
    }
}

impl Serialize for Bundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.digest())
    }
}

// === impl Accepts ===

impl Accepts {
    /// Whether this credential is taken.
    pub fn takes(&self, credential: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Prefix(prefix) => credential.starts_with(&**prefix),
            Self::Pattern(pattern) => pattern.is_match(credential),
        }
    }
}

fn text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
