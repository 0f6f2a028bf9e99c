//! The request as the decision sees it: borrowed, without a copy, independent of Envoy's types.
//!
//! Owns the lookups on headers. Must never fetch, decode a token or decide.

use std::{borrow::Cow, net::IpAddr};

/// One check, read from an Envoy CheckRequest or from `explain`'s flags.
#[derive(Debug, Default)]
pub struct RequestView<'a> {
    /// As sent; methods are case-sensitive (RFC 9110 section 9.1).
    pub method: &'a str,
    /// `:authority` or `Host`, as sent.
    pub host: &'a str,
    /// Path and query, as sent.
    pub path: &'a str,
    /// `http` or `https`, as the proxy saw it. A client can lie about it: nothing but the origin comparison reads it.
    pub scheme: &'a str,
    /// Request headers.
    pub headers: Headers<'a>,
    /// The client's address as the proxy reports it.
    pub source: Option<IpAddr>,
    /// The name in the client's certificate, as the proxy verified it: its first URI name, else its first DNS name, else its subject.
    pub certificate: Option<&'a str>,
    /// The policy that a proven proxy names.
    pub policy: Option<&'a str>,
    /// Whether the proxy says that this came from outside.
    pub forced_external: bool,
    /// Whether it is known who the proxy is (mTLS, a Unix socket, loopback): only such a one may be given secrets.
    pub proven_peer: bool,
}

/// Header lines; names are lower case.
#[derive(Default)]
pub struct Headers<'a> {
    /// On the heap: a view is moved into futures, and moving a few dozen lines costs more than one allocation.
    lines: Vec<(Cow<'a, str>, &'a [u8])>,
}

// === impl Headers ===

impl<'a> Headers<'a> {
    /// Room for this many lines.
    pub fn with_capacity(lines: usize) -> Self {
        Self { lines: Vec::with_capacity(lines) }
    }

    /// Adds a line. Names that are lower case already, as Envoy's are, are not copied.
    pub fn push(&mut self, name: &'a str, value: &'a [u8]) {
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        self.lines.push((name, value));
    }

    /// The value of `name` (lower case). Several lines are joined as a proxy would: `; ` for cookies (RFC 9113 section 8.2.3), `,` else.
    /// Envoy's map has joined two `Cookie` lines of HTTP/1 with a comma by then: `decide::credential` refuses what could hide there.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.lines.iter().filter(|(own, _)| own == name).map(|(_, value)| *value);
        let first = values.next()?;
        let separator: &[u8] = if name == "cookie" { b"; " } else { b"," };
        let joined = values.fold(Cow::Borrowed(first), |joined, value| {
            let mut joined = joined.into_owned();
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value);
            Cow::Owned(joined)
        });
        Some(joined)
    }

    /// The value of `name` as text; bytes that are not UTF-8 become U+FFFD, which no token, origin or host holds.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).map(|value| match value {
            // Nearly always, and quicker than looking for what is not.
            Cow::Borrowed(bytes) => {
                std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
            }
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// Names in the order they came, with duplicates; pseudo-headers too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(name, _)| name.as_ref())
    }

    /// Whether the client speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.get("content-type").is_some_and(|value| {
            value
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
        })
    }

    /// Whether the client asks for a WebSocket (RFC 6455 section 4.1).
    pub fn is_websocket_upgrade(&self) -> bool {
        self.get("upgrade").is_some_and(|value| {
            value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
    }
}

/// Prints names only: values may be credentials.
impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.names()).finish()
    }
}
