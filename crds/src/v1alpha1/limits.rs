//! How many requests, and how many bad credentials, in how long.

use std::{borrow::Cow, time::Duration as Time};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    duration::{BadDuration, CallTimeout, Duration, schema},
    refs::{KeySetRef, SecretKeyRef, SecretRef},
    rules,
    text::{KeyPrefix, StoreUrl, StoreUser, field_explains},
};

/// Limits of a policy. Public routes are not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Requests that are let in; one more is refused with 429. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestLimit>,
    /// Bad credentials that are answered with 401; one more is refused with 429, while good ones still pass. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_authentications: Option<FailureLimit>,
    /// WebSockets that are open at once; one more is refused with 429. The proxy must report what becomes of them, as the configuration of
    /// `gatewright envoy-config` does. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionLimit>,
    /// How many proxies before this one add to X-Forwarded-For: with n, the n-th address from the right is the client's. Where there is
    /// none, or it is no address, and with 0, the address that Envoy reports counts. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16))]
    pub trusted_proxy_hops: Option<u8>,
    /// Where the limits of the policy and its routes are counted, and codes of second factors used up, by all replicas together. Default:
    /// each replica counts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<LimitStore>,
}

/// Counters that replicas share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitStore {
    /// A server of the Redis protocol with Lua scripts, such as Redis from 6.2 on or Valkey; one server, not a Redis Cluster.
    pub redis: RedisStore,
}

/// A server of the Redis protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisStore {
    /// Where it is: rediss:// for TLS; redis:// reaches allowed networks only. A number as the path is the database. Example:
    /// rediss://redis.demo.svc:6379.
    pub url: StoreUrl,
    /// What happens to a request that cannot be counted because the store is down, slow or answers nonsense: Allow lets it pass uncounted,
    /// Deny refuses it with 503. Bad credentials are then counted by each replica for itself. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// The user to sign in as. Default: the user named default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<StoreUser>,
    /// The password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_ref: Option<SecretKeyRef>,
    /// How long one count may take, 10ms to 10s, and never longer than the rest of the check. Default: 50ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<CallTimeout>,
    /// What the names of all keys begin with. Default: "gatewright:".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<KeyPrefix>,
    /// Certificate authorities of the server, in place of those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<KeySetRef>,
    /// A Secret of type kubernetes.io/tls whose certificate and key we show the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
}

/// What happens to requests that cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum OnFailure {
    /// They pass.
    Allow,
    /// They are refused.
    Deny,
}

/// Limits of a route, beside the policy's: both hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteLimits {
    /// Requests that are let in here; one more is refused with 429. Default: no limit but the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestLimit>,
}

/// A number of requests in a window, which begins with its first request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestLimit {
    /// Requests per window. Example: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: u32,
    /// Length of the window, 1s to 24h. Example: 60s.
    pub window: LimitWindow,
    /// Whose requests are counted together: IP those of an address (IPv6: of a /64), Principal those of a person, by address where nobody
    /// is signed in, Global all. Default: Principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<LimitBy>,
}

/// A number of connections at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionLimit {
    /// Connections at once. Example: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: u32,
    /// Whose connections are counted together: IP those of an address (IPv6: of a /64), Principal those of a person, by address where nobody
    /// is signed in, Global all. Default: Principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<LimitBy>,
}

/// A number of bad credentials in a window, which begins with the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureLimit {
    /// Bad credentials per window. Example: 10.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: u32,
    /// Length of the window, 1s to 24h. Example: 60s.
    pub window: LimitWindow,
    /// Whose bad credentials are counted together: IP those of an address (IPv6: of a /64). Default: IP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<FailuresBy>,
}

/// Whose requests or connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum LimitBy {
    /// Those of an address.
    IP,
    /// Those of a person.
    Principal,
    /// All.
    Global,
}

/// Whose bad credentials are counted together. Nobody is proven by a bad credential, so nothing but the address is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = field_explains)]
pub enum FailuresBy {
    /// Those of an address.
    IP,
}

/// A [`Duration`] of one second to one day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitWindow(
    /// The text as written.
    pub Duration,
);

/// The shortest and the longest window.
pub(super) const WINDOWS: std::ops::RangeInclusive<Time> = Time::from_secs(1)..=Time::from_hours(24);

// === impl LimitWindow ===

impl LimitWindow {
    /// The length; its bounds are checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

impl JsonSchema for LimitWindow {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LimitWindow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::LIMIT_WINDOW])
    }
}
