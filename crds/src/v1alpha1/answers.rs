//! Answers that the policy words itself: to refusals, to a route, to browsers of other origins.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    duration::Duration,
    rules,
    text::{
        AllowedOrigin, BodyText, HeaderName, HeaderText, Location, MediaType, MethodName, field_explains, null_is_empty,
    },
};

/// What a refusal with one code becomes. What is not set stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ERROR_STATUS]))]
pub struct ErrorResponse {
    /// HTTP status, 400 to 599; with location 302, 303, 307 or 308. Default: the status of the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 302, max = 599))]
    pub status: Option<u16>,
    /// Headers to add, by name; none that frames the message or that every refusal has (Cache-Control, Retry-After, WWW-Authenticate,
    /// Access-Control-*). Default: none. Example: {x-reason: no-access}.
    #[serde(default, deserialize_with = "null_is_no_header", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, HeaderText>,
    /// Body in place of the profile's; text/plain in UTF-8 unless headers has a content-type. Default: that of the profile, nothing with
    /// location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyText>,
    /// Where browsers are sent: a path of the same host, or a URL. Example: /no-access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// A media type; clients whose Accept holds it get the refusal as if nothing were set here. Example: application/json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless_accept: Option<MediaType>,
}

/// An answer in place of the upstream's, to whoever may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::NO_BODY]))]
pub struct Respond {
    /// HTTP status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Headers by name; none that frames the message, and no Access-Control-*. Default: none. Example: {content-type: application/json}.
    #[serde(default, deserialize_with = "null_is_no_header", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, HeaderText>,
    /// Body; text/plain in UTF-8 unless headers has a content-type. Default: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyText>,
}

/// Which pages of other origins may ask and read. Preflights are answered before anything is authenticated, and refusals can be read; what
/// the upstream answers is its own business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::CORS_WILDCARDS]))]
pub struct Cors {
    /// Origins that may ask; * for every one. Example: https://ui.example.com.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub allow_origins: Vec<AllowedOrigin>,
    /// Methods they may use. Default: GET, HEAD, POST.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub allow_methods: Vec<MethodName>,
    /// Headers they may send; * for every one but Authorization. Default: none beyond those that need no leave. Example: authorization.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub allow_headers: Vec<HeaderName>,
    /// Headers of our answers they may read, beside WWW-Authenticate. Default: none.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub expose_headers: Vec<HeaderName>,
    /// Whether browsers send cookies along. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// How long browsers may remember the answer to a preflight, at most 24h. Default: what browsers do, 5s. Example: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// Whether the policy is in force or on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum Mode {
    /// In force.
    Enforce,
    /// On trial.
    Audit,
}

fn null_is_no_header<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, HeaderText>, D::Error> {
    let headers = Option::<BTreeMap<String, Option<HeaderText>>>::deserialize(from)?.unwrap_or_default();
    Ok(headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
