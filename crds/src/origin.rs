//! Web origins (RFC 6454): scheme, host and port, compared as a whole.

use std::fmt;

use serde::Serialize;
use url::Url;

/// A tuple origin; opaque ones, such as `null`, do not exist as a value of this type and so equal nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Origin(String);

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an origin; write scheme and host, such as `https://app.example.com`, without path")]
pub struct BadOrigin(String);

// === impl Origin ===

impl Origin {
    /// Reads the serialised form `scheme://host[:port]` of an `Origin` header or of a policy.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let bad = || BadOrigin(text.chars().take(80).collect());
        let url = Url::parse(text).map_err(|_| bad())?;
        // `https://a/path` or `https://user@a` has an origin, but is none: a policy that says so means something else.
        let bare = url.path() == "/" && !text.ends_with('/') && url.query().is_none() && url.fragment().is_none();
        let bare = bare && url.username().is_empty() && url.password().is_none();
        if !bare || !matches!(url.scheme(), "http" | "https") {
            return Err(bad());
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// The origin of a URL that may have a path.
    pub fn of_url(url: &Url) -> Option<Self> {
        matches!(url.scheme(), "http" | "https").then(|| Self(url.origin().ascii_serialization()))
    }

    /// The origin a request was sent to, from its scheme and host.
    pub fn of_request(scheme: &str, host: &str) -> Option<Self> {
        Self::parse(&format!("{scheme}://{}", host.strip_suffix('.').unwrap_or(host))).ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_compare_as_a_whole() {
        let own = Origin::of_request("http", "aiq.example.com").unwrap();
        assert_eq!(own, Origin::parse("http://AIQ.example.com:80").unwrap());
        for other in [
            "https://aiq.example.com",
            "http://aiq.example.com:8080",
            "http://aiq.example.com.evil.example",
            "http://x.aiq.example.com",
        ] {
            assert_ne!(own, Origin::parse(other).unwrap(), "{other}");
        }
        for none in [
            "null",
            "",
            "aiq.example.com",
            "http://",
            "https://a/",
            "https://a/x",
            "https://u@a",
            "ftp://a",
            "https://a?x",
            "https://a#x",
            "https://a b",
        ] {
            assert!(Origin::parse(none).is_err(), "{none}");
        }
    }
}
