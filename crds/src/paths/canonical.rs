//! The canonical reading of a request path (contract, section 2, step 3).

use std::borrow::Cow;

/// A path without query, percent-decoded once, safe to match on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

/// What stands between the slashes of a path or a template. Byte by byte: segments are short, and a search that is made for long texts costs
/// more than it saves.
pub(super) struct Segments<'t>(Option<&'t str>);

/// Why a path has no canonical reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `#` that a client never sends.
    #[error("the path holds a fragment")]
    Fragment,
    /// `%` without two hex digits.
    #[error("the path holds a bad percent escape")]
    Escape,
    /// `/` or `\` as an escape, or a backslash as it is.
    #[error("the path holds an encoded slash or a backslash")]
    Slash,
    /// A byte below 0x20, or 0x7F.
    #[error("the path holds a control byte")]
    Control,
    /// Not UTF-8 after decoding.
    #[error("the path is not UTF-8")]
    Encoding,
    /// `.` or `..`, also before a `;`.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// `//`.
    #[error("the path holds an empty segment")]
    EmptySegment,
}

// === impl Segments ===

impl<'t> Segments<'t> {
    /// Those of a text that begins with a slash; of another, none.
    pub(super) fn of(text: &'t str) -> Self {
        Self(text.strip_prefix('/'))
    }
}

impl<'t> Iterator for Segments<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.0?;
        let (segment, rest) = match text.bytes().position(|byte| byte == b'/') {
            Some(slash) => text.split_at_checked(slash)?,
            None => (text, ""),
        };
        self.0 = rest.strip_prefix('/');
        Some(segment)
    }
}

// === impl CanonicalPath ===

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target; everything from the first `?` on is not part of it.
    pub fn parse(target: &'a str) -> Result<Self, MalformedPath> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if !path.starts_with('/') {
            return Err(MalformedPath::NotAbsolute);
        }
        let decoded = decode(path)?;
        let mut segments = Segments::of(&decoded).peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() && segments.peek().is_some() {
                return Err(MalformedPath::EmptySegment);
            }
            // `..;x` is `..` to servers that strip path parameters.
            let name = segment.split_once(';').map_or(segment, |(name, _)| name);
            if name == "." || name == ".." {
                return Err(MalformedPath::DotSegment);
            }
        }
        Ok(Self(decoded))
    }

    /// The decoded path; begins with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it still holds what looks like an escape: a server that decodes twice reads another path.
    pub fn holds_escape(&self) -> bool {
        // What was sent without an escape holds none.
        let Cow::Owned(path) = &self.0 else { return false };
        let is_escape = |three: &[u8]| match three {
            [b'%', high, low] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
            _ => false,
        };
        path.as_bytes().windows(3).any(is_escape)
    }

    /// Segments between the slashes; the last one is empty when the path ends with a slash.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        Segments::of(&self.0)
    }
}

/// Decodes escapes once, and refuses the bytes that servers disagree about.
fn decode(path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    for byte in path.bytes() {
        match byte {
            b'\\' => return Err(MalformedPath::Slash),
            b'#' => return Err(MalformedPath::Fragment),
            0..0x20 | 0x7F => return Err(MalformedPath::Control),
            _ => {}
        }
    }
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        match (hex(bytes.next())? << 4) | hex(bytes.next())? {
            b'/' | b'\\' => return Err(MalformedPath::Slash),
            0..0x20 | 0x7F => return Err(MalformedPath::Control),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| MalformedPath::Encoding)
}

fn hex(byte: Option<u8>) -> Result<u8, MalformedPath> {
    byte.and_then(|byte| char::from(byte).to_digit(16))
        .and_then(|digit| u8::try_from(digit).ok())
        .ok_or(MalformedPath::Escape)
}
