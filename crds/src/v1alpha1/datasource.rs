//! DataSource: something an application can use for its callers, possibly with an authorization of each caller's own.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    refs::SecretKeyRef,
    rules,
    status::DataSourceStatus,
    text::{ClientId, HttpUrl, Label, Message, ScopeName, SourceId, ToolName, field_explains, null_is_empty},
};

/// How a data source is shown, and how a caller's own access to it is obtained.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "gatewright.dev",
    version = "v1alpha1",
    kind = "DataSource",
    plural = "datasources",
    shortname = "dsrc",
    category = "gatewright",
    namespaced,
    status = "DataSourceStatus",
    derive = "PartialEq",
    doc = "DataSource is something an application can use for its callers; an AuthPolicy publishes it on its hosts.",
    printcolumn = r#"{"name":"Name","type":"string","jsonPath":".spec.displayName","description":"Name for people"}"#,
    printcolumn = r#"{"name":"Server","type":"string","jsonPath":".spec.mcpServer.url","description":"MCP server"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status","description":"Whether the data source is valid"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::SERVER_STAYS, rules::AUTHORIZATION_SERVER_STAYS]))]
pub struct DataSourceSpec {
    /// Name for people. Default: the id. Example: Google Drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Label>,
    /// A sentence for people. Default: none. Example: Files you can open in Drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Message>,
    /// Whether applications use it unless told otherwise. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled_by_default: Option<bool>,
    /// Whether only signed-in callers may use it. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_auth: Option<bool>,
    /// How the application knows it; unique among the data sources of a policy. Default: metadata.name. Example: gdrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SourceId>,
    /// The tools it brings.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [rules::UNIQUE_TOOLS]))]
    pub tools: Vec<Tool>,
    /// The MCP server behind it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<McpServer>,
    /// How each caller's own access is obtained. Default: absent, callers need no access of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_user_auth: Option<PerUserAuth>,
}

/// A tool of a data source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// Name of the tool; unique in the data source. Example: gdrive__search.
    pub name: ToolName,
    /// Name under which the application shows it. Default: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<ToolName>,
    /// A sentence for people. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Message>,
}

/// A server of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpServer {
    /// How the application knows the server. Default: the data source's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SourceId>,
    /// Where the server is. Cannot be changed: stored tokens belong to it. Example: https://mcp.example.com/gdrive.
    #[schemars(extend("x-kubernetes-validations" = [rules::SERVER_URL]))]
    pub url: HttpUrl,
    /// How it is spoken to: StreamableHTTP, the only transport that carries authorization. Default: StreamableHTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

/// Transports of the Model Context Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum Transport {
    /// HTTP with optional event streams.
    #[serde(rename = "StreamableHTTP")]
    StreamableHttp,
}

/// How each caller's own access is obtained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerUserAuth {
    /// Whether the data source is of no use without it. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The procedure: MCPOAuth2 is the authorization of the Model Context Protocol.
    #[serde(rename = "type")]
    pub kind: PerUserAuthKind,
    /// Name of the provider for people and applications. Default: none. Example: google.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Label>,
    /// Scopes that are asked for. Default: those the server names. Example: drive.readonly.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<ScopeName>,
    /// Who we are at the authorization server. Default: what the server offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<OAuthClient>,
    /// The authorization server. Default: discovered from mcpServer.url (RFC 9728, RFC 8414, OpenID Connect).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_server: Option<AuthorizationServer>,
}

/// Procedures of per-user authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum PerUserAuthKind {
    /// The Model Context Protocol's OAuth 2.
    #[serde(rename = "MCPOAuth2")]
    McpOAuth2,
}

/// An OAuth client: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rules::ONE_CLIENT]))]
pub struct OAuthClient {
    /// A client that registers itself (RFC 7591). Written as an empty map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_registration: Option<DynamicRegistration>,
    /// A client that somebody registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<RegisteredClient>,
}

/// A client that registers itself (RFC 7591).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DynamicRegistration {}

/// A client that somebody registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisteredClient {
    /// Its identifier. Example: gatewright.
    #[serde(rename = "clientID")]
    pub client_id: ClientId,
    /// Its secret. Default: none, a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
}

/// An authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationServer {
    /// Its issuer. Cannot be changed: stored tokens belong to it. Example: https://accounts.example.com.
    #[schemars(extend("x-kubernetes-validations" = [rules::AUTHORIZATION_ISSUER]))]
    pub issuer: HttpUrl,
}
