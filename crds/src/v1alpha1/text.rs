//! Bounded texts of the API: one type per meaning, each with the length and pattern that the API server enforces.
//!
//! Owns the lexical shape only. Whether a text makes sense (a URL that parses, a host that is free) is decided when it is compiled.

use std::{borrow::Cow, fmt, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::rules::{self, Rule};

/// A host name: lower case, optionally `*.` for everything below.
const HOST: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$";
/// RFC 9110 section 5.6.2.
const TOKEN: &str = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
/// RFC 1123 label.
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// RFC 1123 subdomain.
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A URL without fragment, in printable ASCII.
const URL: &str = r#"^https?://[!"$-~]+$"#;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident: $least:literal..=$most:literal $(, $pattern:expr)? $(; $($rule:expr),+)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(
            /// The text as written.
            pub String,
        );

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                #[allow(unused_mut, reason = "not every text has a pattern or rules")]
                let mut schema = json_schema!({"type": "string", "minLength": $least, "maxLength": $most});
                $(schema.insert("pattern".to_owned(), $pattern.into());)?
                $(attach_rules(&mut schema, &[$($rule),+]);)?
                schema
            }
        }
    };
}

text! {
    /// Name of an entry of a list: a DNS label, unique in its list.
    Name: 1..=63, LABEL
}
text! {
    /// A trust domain of SPIFFE, without scheme and path.
    TrustDomain: 1..=255, r"^[a-z0-9._-]+$"
}
text! {
    /// A host name as policies hold them: lower case, without port; `*.suffix` for one or more labels below a suffix; or an IPv4 address.
    HostName: 1..=253, HOST
}
text! {
    /// A mail domain: a host name without star, in any case.
    DomainName: 1..=253, r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$"
}
text! {
    /// A mail address.
    EmailAddress: 3..=320, r"^[^@ ]+@[^@ ]+$"
}
text! {
    /// A block of addresses, such as `10.0.0.0/8` or `fd00::/8`.
    CidrBlock: 3..=49, r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$"
}
text! {
    /// An http or https URL without fragment.
    HttpUrl: 8..=2048, URL
}
text! {
    /// The URL of a service that speaks HTTP or gRPC.
    WebhookUrl: 8..=2048, r#"^(https?|grpcs?)://[!"$-~]+$"#
}
text! {
    /// A web origin (RFC 6454): scheme, host and port, nothing behind.
    WebOrigin: 8..=512, r"^https?://[A-Za-z0-9.:\[\]-]+$"
}
text! {
    /// The URL of a server of the Redis protocol: no user information, and nothing behind the number of a database.
    StoreUrl: 9..=512, r"^rediss?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[0-9]{0,5})?$"
}
text! {
    /// A user of a store.
    StoreUser: 1..=128, r"^[!-~]+$"
}
text! {
    /// Beginning of the names of keys in a store.
    KeyPrefix: 1..=64, r"^[A-Za-z0-9._:-]+$"
}
text! {
    /// A token issuer, compared with `iss` code point by code point.
    IssuerName: 1..=1024
}
text! {
    /// An audience, compared with `aud` code point by code point.
    Audience: 1..=512
}
text! {
    /// A client identifier, as in `azp` and `client_id`.
    ClientId: 1..=256
}
text! {
    /// A key's identifier, as in `kid`.
    KeyId: 1..=256
}
text! {
    /// What a token begins with: the characters of a token (RFC 6750 section 2.1).
    TokenPrefix: 1..=128, r"^[A-Za-z0-9._~+/=:-]+$"
}
text! {
    /// A regular expression.
    RegexText: 1..=256
}
text! {
    /// A variable of a path template.
    ResourceVariable: 3..=130, r"^[{][A-Za-z0-9_-]+[}]$"
}
text! {
    /// Name of a claim, or a path of names with dots.
    ClaimName: 1..=256
}
text! {
    /// A JOSE `typ`, case-insensitive; empty: none in the token.
    TokenType: 0..=64, r"^[A-Za-z0-9!#$&^_.+/-]*$"
}
text! {
    /// Name of an HTTP header field.
    HeaderName: 1..=128, TOKEN
}
text! {
    /// An HTTP authentication scheme.
    SchemeName: 1..=32, TOKEN
}
text! {
    /// Name of a cookie.
    CookieName: 1..=128, TOKEN
}
text! {
    /// Beginning of the names of identity headers; ends with `-`.
    HeaderPrefix: 1..=63, r"^[a-z0-9]([-a-z0-9]*-)?$"
}
text! {
    /// An HTTP method in upper case.
    MethodName: 1..=32, r"^[A-Z][A-Z0-9_-]*$"
}
text! {
    /// A path template: `/`-separated segments, each a literal, `{*}`, `{name}`, or `{**}` as the last one.
    PathPattern: 1..=1024, r"^(/([^/{}]*|[{]([*]|[A-Za-z0-9_-]+)[}]))*(/[{][*][*][}])?$"; rules::PATH_ABSOLUTE, rules::PATH_TAIL, rules::PATH_BYTES
}
text! {
    /// A CEL expression.
    CelText: 1..=4096
}
text! {
    /// An OAuth scope (RFC 6749 section 3.3).
    ScopeName: 1..=256, r"^[!#-\[\]-~]+$"
}
text! {
    /// A role.
    RoleName: 1..=256
}
text! {
    /// A role, or nothing.
    RoleOrNone: 0..=256
}
text! {
    /// A JMESPath expression.
    JmesPathText: 1..=1024
}
text! {
    /// A pattern of e-mail addresses.
    GlobText: 1..=320
}
text! {
    /// First line of the hash behind the stable id.
    IdentityNamespace: 1..=1024
}
text! {
    /// A sentence for people.
    Message: 1..=1024
}
text! {
    /// Name of an object of the same namespace.
    ObjectName: 1..=253, SUBDOMAIN
}
text! {
    /// Value of a Kubernetes label.
    LabelValue: 0..=63, r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"
}
text! {
    /// Name of a query parameter, in characters that need no encoding.
    QueryName: 1..=128, r"^[A-Za-z0-9._~-]+$"
}
text! {
    /// Name of a WebSocket subprotocol (RFC 6455 section 11.5).
    ProtocolName: 1..=128, TOKEN
}
text! {
    /// Key inside a Secret or ConfigMap.
    DataKey: 1..=253, r"^[-._a-zA-Z0-9]+$"
}
text! {
    /// Identifier of a data source or of its server, as applications know it; part of URLs.
    SourceId: 1..=128, r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
}
text! {
    /// Name of a tool.
    ToolName: 1..=128
}
text! {
    /// An origin, or `*` for every one.
    AllowedOrigin: 1..=512, r"^([*]|https?://[A-Za-z0-9.:\[\]-]+)$"
}
text! {
    /// The value of a response header: printable ASCII, no line break.
    HeaderText: 0..=1024, r"^[ -~]*$"
}
text! {
    /// The body of an answer.
    BodyText: 0..=8192
}
text! {
    /// Where a client is sent: a path of the same host, or a URL.
    Location: 1..=2048, r##"^(/|/[!"$-.0-\[\]-~][!"#$-\[\]-~]*|https?://[!"#$-\[\]-~]+)$"##
}
text! {
    /// A media type without parameters.
    MediaType: 3..=128, r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+*-]+$"
}
text! {
    /// A short label for people.
    Label: 1..=128
}

/// For enumerations: takes the type's own description out, which would otherwise replace that of the field.
pub(super) fn field_explains(schema: &mut Schema) {
    schema.remove("description");
}

/// Adds rules to a schema that is built by hand.
pub(super) fn attach_rules(schema: &mut Schema, rules: &[Rule]) {
    if let Ok(rules) = serde_json::to_value(rules) {
        schema.insert("x-kubernetes-validations".to_owned(), rules);
    }
}

/// A list that is written but empty-handed (`routes:` with nothing behind) is an absent one, as for the API server, which drops nulls.
pub(super) fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(from).map(Option::unwrap_or_default)
}
