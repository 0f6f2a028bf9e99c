//! Where credentials are looked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    client_certificate::ConnectionCertificate,
    rules,
    text::{CookieName, HeaderName, ProtocolName, QueryName, SchemeName, WebOrigin, field_explains},
};

/// A place where a credential may be: exactly one of a header, a cookie, a query parameter, a WebSocket subprotocol and the
/// client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_SOURCE, rules::SCHEME_OF_HEADER, rules::ORIGINS_OF_COOKIE, rules::ONLY_ON_OF_QUERY]))]
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
    /// Name of a query parameter; case counts. Its value is percent-decoded once. The parameter is removed on the way to the upstream.
    /// Example: token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryName>,
    /// With a query parameter: requests on which it counts. WebSocket: only those that ask for a WebSocket; elsewhere the parameter is
    /// ordinary and stays. Default: all requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_on: Option<OnlyOn>,
    /// Name of a WebSocket subprotocol in front of the credential: Sec-WebSocket-Protocol: NAME, CREDENTIAL. Counts on requests that ask
    /// for a WebSocket, and only as the first entry. The answer to a handshake selects NAME unless the upstream selects another.
    /// Example: app-bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_socket_protocol: Option<ProtocolName>,
    /// The certificate that the client showed Envoy: {}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ConnectionCertificate>,
}

/// Requests on which a credential counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum OnlyOn {
    /// Those that ask for a WebSocket.
    WebSocket,
}
