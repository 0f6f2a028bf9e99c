//! Where credentials are looked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    rules,
    text::{CookieName, HeaderName, SchemeName, WebOrigin},
};

/// A place where a credential may be: exactly one of a header and a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_SOURCE, rules::SCHEME_OF_HEADER, rules::ORIGINS_OF_COOKIE]))]
pub struct CredentialSource {
    /// Name of a request header, without regard to case. Example: Authorization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderName>,
    /// With a header: the authentication scheme in front of the credential, without regard to case. The source is present only with
    /// this scheme. Default: none, the whole value is the credential. Example: Bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<SchemeName>,
    /// Name of a cookie; case counts. Example: idToken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// With a cookie: origins beside the request's own that may send it with a state-changing request or a WebSocket upgrade. Default:
    /// none. Example: https://ui.example.com.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_origins: Option<Vec<WebOrigin>>,
}
