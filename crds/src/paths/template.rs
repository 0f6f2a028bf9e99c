//! Path templates: literal segments, `{*}` or `{name}` for one segment, `{**}` at the end for any number.

use std::fmt;

use serde::Serialize;

use super::CanonicalPath;

/// A compiled path template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct PathTemplate {
    text: Box<str>,
    segments: Vec<Segment>,
    /// Ends with `{**}`.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// Exactly one segment, not empty.
    Any,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// No leading slash.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// A literal that no canonical path can equal.
    #[error(
        "segment `{0}` can never match; write the decoded path without `.`, `..`, empty segments, query or backslash"
    )]
    Unmatchable(String),
    /// Braces that are no template.
    #[error("segment `{0}` is no template; use `{{*}}` or `{{name}}` for one whole segment and `{{**}}` for the rest")]
    Braces(String),
    /// `{**}` before the end.
    #[error("`{{**}}` stands at the end only")]
    OpenNotLast,
}

// === impl PathTemplate ===

impl PathTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let rest = text.strip_prefix('/').ok_or(BadTemplate::NotAbsolute)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let last = parts.len().saturating_sub(1);
        let (mut segments, mut open) = (Vec::with_capacity(parts.len()), false);
        for (index, part) in parts.iter().enumerate() {
            match *part {
                "{**}" if index == last => open = true,
                "{**}" => return Err(BadTemplate::OpenNotLast),
                part if is_variable(part) => segments.push(Segment::Any),
                part if part.contains(['{', '}']) => return Err(BadTemplate::Braces(part.to_owned())),
                part => segments.push(literal(part, index == last)?),
            }
        }
        Ok(Self { text: text.into(), segments, open })
    }

    /// Whether it matches; case-sensitive.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let mut segments = path.segments();
        for expected in &self.segments {
            let matched = match (expected, segments.next()) {
                (Segment::Literal(literal), Some(segment)) => **literal == *segment,
                (Segment::Any, Some(segment)) => !segment.is_empty(),
                (_, None) => false,
            };
            if !matched {
                return false;
            }
        }
        self.open || segments.next().is_none()
    }

    /// The position of a variable among the segments; the first one of that name.
    pub fn position(&self, variable: &str) -> Option<usize> {
        let named = |part: &str| part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(variable);
        self.text.split('/').skip(1).position(named)
    }

    /// The one path it matches, if it holds no variable.
    pub(super) fn as_literal(&self) -> Option<&str> {
        let literal = !self.open && self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)));
        literal.then_some(&*self.text)
    }

    /// The first segment, where it is a literal: what the route table groups by.
    pub(super) fn first_literal(&self) -> Option<&str> {
        match self.segments.first() {
            Some(Segment::Literal(literal)) => Some(literal),
            _ => None,
        }
    }
}

fn is_variable(part: &str) -> bool {
    let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    name == "*"
        || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')))
}

/// A literal segment must be one that a canonical path can hold: anything else is a mistake of the author.
fn literal(part: &str, is_last: bool) -> Result<Segment, BadTemplate> {
    let name = part.split_once(';').map_or(part, |(name, _)| name);
    let odd = part.contains(['\\', '?', '#']) || part.chars().any(char::is_control);
    if odd || name == "." || name == ".." || (part.is_empty() && !is_last) {
        return Err(BadTemplate::Unmatchable(part.to_owned()));
    }
    Ok(Segment::Literal(part.into()))
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl From<PathTemplate> for String {
    fn from(template: PathTemplate) -> Self {
        template.text.into()
    }
}
