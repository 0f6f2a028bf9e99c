//! Path templates: literal segments, `{*}` or `{name}` for one segment, `{**}` at the end for any number.

use std::fmt;

use serde::Serialize;

use super::{CanonicalPath, canonical::Segments};

/// A path template that is known to be one. Its text is all there is: ten thousand policies hold tens of thousands, and a request reads one
/// piece of memory for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct PathTemplate {
    text: Box<str>,
}

/// What stands between two slashes of a template.
enum Part<'t> {
    Literal(&'t str),
    /// Exactly one segment, not empty.
    Any,
    /// Any number of segments; the last part.
    Rest,
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
        for (index, part) in parts.iter().enumerate() {
            match *part {
                "{**}" if index == last => {}
                "{**}" => return Err(BadTemplate::OpenNotLast),
                part if is_variable(part) => {}
                part if part.contains(['{', '}']) => return Err(BadTemplate::Braces(part.to_owned())),
                part => check_literal(part, index == last)?,
            }
        }
        Ok(Self { text: text.into() })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches; case-sensitive.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        matches(&self.text, path)
    }

    /// The position of a variable among the segments; the first one of that name.
    pub fn position(&self, variable: &str) -> Option<usize> {
        let named = |part: &str| part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(variable);
        Segments::of(&self.text).position(named)
    }
}

/// Whether a template of this text matches.
pub(super) fn matches(template: &str, path: &CanonicalPath<'_>) -> bool {
    let mut segments = path.segments();
    for part in parts(template) {
        let matched = match part {
            Part::Literal(literal) => segments.next() == Some(literal),
            Part::Any => segments.next().is_some_and(|segment| !segment.is_empty()),
            Part::Rest => return true,
        };
        if !matched {
            return false;
        }
    }
    segments.next().is_none()
}

/// Whether a template of this text matches one path only, which is its text.
pub(super) fn is_literal(template: &str) -> bool {
    parts(template).all(|part| matches!(part, Part::Literal(_)))
}

/// The first segment, where it is a literal: what the route table groups by.
pub(super) fn first_literal(template: &str) -> Option<&str> {
    match parts(template).next() {
        Some(Part::Literal(literal)) => Some(literal),
        _ => None,
    }
}

/// No literal of a template holds a brace.
fn parts(template: &str) -> impl Iterator<Item = Part<'_>> {
    Segments::of(template).map(|part| match part {
        "{**}" => Part::Rest,
        part if part.starts_with('{') => Part::Any,
        part => Part::Literal(part),
    })
}

fn is_variable(part: &str) -> bool {
    let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    name == "*"
        || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')))
}

/// A literal segment must be one that a canonical path can hold: anything else is a mistake of the author.
fn check_literal(part: &str, is_last: bool) -> Result<(), BadTemplate> {
    let name = part.split_once(';').map_or(part, |(name, _)| name);
    let odd = part.contains(['\\', '?', '#']) || part.chars().any(char::is_control);
    if odd || name == "." || name == ".." || (part.is_empty() && !is_last) {
        return Err(BadTemplate::Unmatchable(part.to_owned()));
    }
    Ok(())
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
