//! Host names: how a request's host is read, and how a policy's patterns match it.
//!
//! Owns the one canonical form (lower case, no port, no trailing dot). Must never guess: a host that can be read in two ways is refused.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// A host of a policy: exact, or everything below a suffix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// One or more labels below this suffix; not the suffix itself. Stored without `*.`.
    Suffix(Box<str>),
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host name; write a DNS name such as `api.example.com`, or `*.example.com` for everything below it, without port"
)]
pub struct BadHost(String);

/// A request's host in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    text: std::borrow::Cow<'a, str>,
}

/// A request whose host cannot be read in one way only (contract, section 2, step 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is empty, or holds a comma, a blank, user information or a bad port")]
pub struct MalformedHost;

// === impl HostPattern ===

impl HostPattern {
    /// Reads `name` or `*.suffix`; upper case is folded.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        let lower = text.to_ascii_lowercase();
        let (suffix, name) = match lower.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        if !is_dns_name(name) || (suffix && name.parse::<IpAddr>().is_ok()) {
            return Err(BadHost(text.chars().take(80).collect()));
        }
        Ok(if suffix { Self::Suffix(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Whether it holds `host`.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == &**name,
            Self::Suffix(suffix) => is_below(host, suffix),
        }
    }

    /// Whether it holds everything that `other` holds.
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Suffix(name) => self == other || (matches!(self, Self::Suffix(_)) && self.matches(name)),
        }
    }

    /// The name without `*.`.
    pub fn name(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Suffix(name) => name,
        }
    }
}

/// One or more labels below `suffix`.
fn is_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).and_then(|labels| labels.strip_suffix('.')).is_some_and(|labels| !labels.is_empty())
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => out.write_str(name),
            Self::Suffix(name) => write!(out, "*.{name}"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = BadHost;

    fn try_from(text: String) -> Result<Self, BadHost> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

// === impl Host ===

impl<'a> Host<'a> {
    /// Canonical form of `Host` or `:authority` (RFC 9110 section 7.2).
    pub fn parse(raw: &'a str) -> Result<Self, MalformedHost> {
        let name = without_port(raw)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        // One dot is a spelling of the root; a second one would be an empty label.
        if name.is_empty() || name.len() > 253 || name.split('.').any(str::is_empty) || !name.bytes().all(is_host_byte)
        {
            return Err(MalformedHost);
        }
        let text = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            name.to_ascii_lowercase().into()
        } else {
            name.into()
        };
        Ok(Self { text })
    }

    /// The canonical text; IPv6 addresses without brackets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is a name or address of the machine itself.
    pub fn is_loopback(&self) -> bool {
        self.text == "localhost"
            || self.text.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Hosts that are cluster-internal unless a policy lists its own: names without a dot, `*.svc`, `*.svc.cluster.local`, loopback.
    pub fn is_internal_by_default(&self) -> bool {
        let plain_name = !self.text.contains(['.', ':']);
        plain_name || is_below(&self.text, "svc") || is_below(&self.text, "svc.cluster.local") || self.is_loopback()
    }
}

/// Cuts the port off; an IPv6 literal loses its brackets.
fn without_port(raw: &str) -> Result<&str, MalformedHost> {
    if let Some(rest) = raw.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(MalformedHost)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| MalformedHost)?;
        return match port.strip_prefix(':') {
            Some(port) if is_port(port) => Ok(address),
            None if port.is_empty() => Ok(address),
            _ => Err(MalformedHost),
        };
    }
    match raw.split_once(':') {
        None => Ok(raw),
        Some((name, port)) if is_port(port) && !name.contains(':') => Ok(name),
        Some(_) => Err(MalformedHost),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What a registered name or address may hold (RFC 3986 section 3.2.2 without percent-encoding, which no Envoy cluster routes on).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (raw, canonical) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM.:8443", "api.example.com"),
            ("api.example.com:443", "api.example.com"),
            ("localhost", "localhost"),
            ("[::1]:8080", "::1"),
            ("[::1]", "::1"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("under_score.example", "under_score.example"),
        ] {
            assert_eq!(Host::parse(raw).unwrap().as_str(), canonical, "{raw}");
        }
    }

    #[test]
    fn ambiguous_hosts_are_refused() {
        for raw in [
            "",
            ".",
            "a.example,b.example",
            "user@a.example",
            "a b",
            " a",
            "a ",
            "a..b",
            "a.example..",
            ":80",
            "a:",
            "a:x",
            "a:99999",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "a.example:80:80",
            "a%2eexample",
            "a/b",
            "a\tb",
            "é.example",
            "a\0b",
            "*.example.com",
            "a:+80",
            "[::1]:x",
        ] {
            assert_eq!(Host::parse(raw), Err(MalformedHost), "{raw:?}");
        }
    }

    /// RFC 1035 section 2.3.4.
    #[test]
    fn names_have_bounds() {
        let label = "a".repeat(63);
        let ending_in = |last: usize| [label.as_str(), &label, &label, &"a".repeat(last)].join(".");
        let (longest, too_long) = (ending_in(61), ending_in(62));
        assert_eq!((longest.len(), too_long.len()), (253, 254));
        assert!(Host::parse(&longest).is_ok() && HostPattern::parse(&longest).is_ok());
        assert!(Host::parse(&too_long).is_err() && HostPattern::parse(&too_long).is_err());
        assert!(HostPattern::parse(&label).is_ok() && HostPattern::parse(&format!("{label}a")).is_err());
    }

    #[test]
    fn a_pattern_covers_what_it_holds_and_no_more() {
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        for (own, other, expected) in [
            ("a.test", "a.test", true),
            ("a.test", "b.test", false),
            ("*.test", "a.test", true),
            ("*.test", "test", false),
            ("*.test", "*.test", true),
            ("*.test", "*.a.test", true),
            ("*.a.test", "*.test", false),
            ("a.test", "*.a.test", false),
            ("b.a.test", "*.b.a.test", false),
        ] {
            assert_eq!(pattern(own).covers(&pattern(other)), expected, "{own} {other}");
        }
        assert_eq!((pattern("*.a.test").name(), pattern("b.test").name()), ("a.test", "b.test"));
        let written = serde_json::to_value([pattern("*.a.test"), pattern("b.test")]).unwrap();
        assert_eq!(written, serde_json::json!(["*.a.test", "b.test"]));
        assert_eq!(
            serde_json::from_value::<Vec<HostPattern>>(written).unwrap(),
            [pattern("*.a.test"), pattern("b.test")]
        );
        assert!(serde_json::from_value::<HostPattern>(serde_json::json!("a/b")).is_err());
    }

    #[test]
    fn loopback_has_several_names() {
        for (host, expected) in [
            ("localhost", true),
            ("[::ffff:127.0.0.1]", true),
            ("127.9.9.9", true),
            ("localhost.test", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(Host::parse(host).unwrap().is_loopback(), expected, "{host}");
        }
    }

    #[test]
    fn patterns_match_whole_labels() {
        let suffix = HostPattern::parse("*.Example.com").unwrap();
        assert_eq!(suffix.to_string(), "*.example.com");
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("evilexample.com", false),
            (".example.com", false),
        ] {
            assert_eq!(suffix.matches(host), expected, "{host}");
        }
        assert!(HostPattern::parse("a.example").unwrap().matches("a.example"));
        for bad in ["", "*", "*.", "a_b", "a..b", "-a", "a-", "a:80", "*.10.0.0.1", "http://a", "a.*.b", "a."] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn internal_names() {
        for (host, expected) in [
            ("backend", true),
            ("a.b.svc", true),
            ("a.svc.cluster.local", true),
            ("localhost", true),
            ("127.0.0.9", true),
            ("[::1]", true),
            ("svc", true),
            ("svc.cluster.local", false),
            ("a.svc.evil.example", false),
            ("10.1.2.3", false),
            ("[fe80::1]", false),
            ("a.example", false),
        ] {
            assert_eq!(Host::parse(host).unwrap().is_internal_by_default(), expected, "{host}");
        }
    }
}
