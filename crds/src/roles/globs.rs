//! Patterns of e-mail addresses.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Serialize, Serializer};

/// Patterns, one of which must match all of an address. Case of ASCII letters does not count.
#[derive(Clone)]
pub struct Globs {
    patterns: Vec<Box<str>>,
    set: GlobSet,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pattern}` is no pattern: {why}; use * for any characters, ? for one, [a-z] for one of a set, and \\ before any of these to mean itself"
)]
pub struct BadGlob {
    /// Position in the list.
    pub index: usize,
    pattern: String,
    why: String,
}

/// Braces are alternatives to the library, and characters of addresses to everybody else: outside of sets they get one of their own.
fn plain(pattern: &str) -> String {
    let (mut out, mut in_set, mut escaped) = (String::with_capacity(pattern.len()), false, false);
    for character in pattern.chars() {
        match character {
            '{' | '}' if !in_set && !escaped => out.extend(['[', character, ']']),
            _ => out.push(character),
        }
        in_set = !escaped && (character == '[' || (in_set && character != ']'));
        escaped = !escaped && !in_set && character == '\\';
    }
    out
}

// === impl Globs ===

impl Globs {
    /// Reads patterns.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, BadGlob> {
        let (mut kept, mut set) = (Vec::new(), GlobSetBuilder::new());
        for (index, pattern) in patterns.into_iter().enumerate() {
            let bad = |error: &globset::Error| BadGlob {
                index,
                pattern: crate::schema::shorten(pattern),
                why: error.kind().to_string(),
            };
            let glob = GlobBuilder::new(&plain(pattern))
                .case_insensitive(true)
                .literal_separator(false)
                .backslash_escape(true)
                .build();
            set.add(glob.map_err(|error| bad(&error))?);
            kept.push(pattern.into());
        }
        let set =
            set.build().map_err(|error| BadGlob { index: 0, pattern: String::new(), why: error.kind().to_string() })?;
        Ok(Self { patterns: kept, set })
    }

    /// Whether one of them matches.
    pub fn match_any(&self, address: &str) -> bool {
        // Nothing is an address of nobody: `*` must not turn callers without one into somebody.
        !address.is_empty() && self.set.is_match(address)
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.patterns.fmt(out)
    }
}

impl Serialize for Globs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.patterns.serialize(serializer)
    }
}
