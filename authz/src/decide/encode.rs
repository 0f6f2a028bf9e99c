//! Claim values as header values (contract, section 3). One rule for every header: what cannot be carried refuses the request.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use crds::snapshot::IdentityHeader;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::changes::HeaderText;
use crate::principal::{CallerKind, Principal};

/// Longest header value, in bytes as sent.
pub(super) const MAX_VALUE_BYTES: usize = 4096;

/// A value that no header can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable;

/// The encoded identity headers of a caller. Their values stand in one text that all requests of the caller share: with many callers each
/// piece of memory that a request touches is one that no cache of the processor holds.
#[derive(Debug)]
pub struct IdentityHeaders {
    text: Arc<str>,
    /// In order of the text, each with where its value ends.
    ends: SmallVec<[(IdentityHeader, u32); 10]>,
}

// === impl IdentityHeaders ===

impl IdentityHeaders {
    /// Each header and its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IdentityHeader, HeaderText)> {
        let begins = [0].into_iter().chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(begins).map(|((header, end), begin)| (*header, HeaderText::part(&self.text, begin..*end)))
    }

    /// What they take, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.text.len()
    }
}

/// One text.
pub(super) fn text(value: &str) -> Result<String, Unusable> {
    let mut out = String::with_capacity(value.len());
    push(&mut out, value, false)?;
    within_bounds(out)
}

/// Several texts, comma-separated; a comma inside one is encoded, so that no element can pose as two.
pub(super) fn list<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<String, Unusable> {
    let mut out = String::new();
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(&mut out, value, true)?;
    }
    within_bounds(out)
}

/// All claims as base64url JSON.
pub(super) fn claims(claims: &Map<String, Value>) -> Result<String, Unusable> {
    let json = serde_json::to_vec(claims).map_err(|_| Unusable)?;
    within_bounds(URL_SAFE_NO_PAD.encode(json))
}

/// A claim mapped to a header: texts, numbers and truth values as they are, lists of them joined; anything else as JSON.
pub(super) fn claim(value: &Value) -> Result<Option<String>, Unusable> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let encoded = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => match items.iter().map(scalar).collect::<Option<Vec<_>>>() {
            Some(texts) => list(texts.iter().map(String::as_str))?,
            None => text(&value.to_string())?,
        },
        other => text(&scalar(other).unwrap_or_else(|| other.to_string()))?,
    };
    Ok((!encoded.is_empty()).then_some(encoded))
}

/// Whether a part of a header that the client sent can be written again: what was not UTF-8 is lost by then, and no header of ours
/// holds a control byte, whoever made it.
pub(super) fn can_be_written_back(part: &str) -> bool {
    !part.chars().any(|one| one.is_control() || one == char::REPLACEMENT_CHARACTER)
}

/// The identity headers of a principal; `None` when one cannot be carried.
pub(super) fn identity(principal: &Principal) -> Option<IdentityHeaders> {
    let optional = |header, value: &Option<Box<str>>| value.as_deref().map(|value| (header, text(value)));
    let several =
        |header, values: &[Box<str>]| (!values.is_empty()).then(|| (header, list(values.iter().map(|one| &**one))));
    let kind = CallerKind::Proven(principal.kind).as_str();
    let all = [
        Some((IdentityHeader::Type, text(kind))),
        Some((IdentityHeader::Authenticator, text(&principal.authenticator))),
        optional(IdentityHeader::Issuer, &principal.issuer),
        Some((IdentityHeader::Subject, text(&principal.subject))),
        Some((IdentityHeader::User, text(&principal.user))),
        optional(IdentityHeader::Email, &principal.email),
        optional(IdentityHeader::Name, &principal.name),
        several(IdentityHeader::Roles, &principal.roles),
        several(IdentityHeader::Scopes, &principal.scopes),
        principal.mfa.then(|| (IdentityHeader::Mfa, Ok("true".to_owned()))),
    ];
    let (mut together, mut ends) = (String::new(), SmallVec::new());
    for (header, value) in all.into_iter().flatten() {
        let value = value.ok()?;
        if !value.is_empty() {
            together.push_str(&value);
            ends.push((header, u32::try_from(together.len()).ok()?));
        }
    }
    Some(IdentityHeaders { text: together.into(), ends })
}

fn push(out: &mut String, value: &str, in_list: bool) -> Result<(), Unusable> {
    let bytes = value.as_bytes();
    let first = bytes.iter().position(|byte| *byte != b' ').unwrap_or(bytes.len());
    let last = bytes.iter().rposition(|byte| *byte != b' ').unwrap_or(0);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            // Encoding these would carry them to an upstream that decodes: no name or subject holds them honestly.
            b'\r' | b'\n' | 0 => return Err(Unusable),
            b'%' => encode(out, *byte),
            b',' if in_list => encode(out, *byte),
            b' ' if index < first || index > last => encode(out, *byte),
            0x20..=0x7E => out.push(char::from(*byte)),
            _ => encode(out, *byte),
        }
    }
    Ok(())
}

fn encode(out: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn within_bounds(out: String) -> Result<String, Unusable> {
    if out.len() > MAX_VALUE_BYTES { Err(Unusable) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_by_one_rule() {
        for (value, encoded) in [
            ("Alice", "Alice"),
            ("100% A, B", "100%25 A, B"),
            (" Al Ice ", "%20Al Ice%20"),
            ("  ", "%20%20"),
            ("A\tB", "A%09B"),
            ("Zoë", "Zo%C3%AB"),
            ("\u{7f}", "%7F"),
            ("", ""),
        ] {
            assert_eq!(text(value).as_deref(), Ok(encoded), "{value:?}");
        }
        assert_eq!(list(["a,admin", "50%"]).as_deref(), Ok("a%2Cadmin,50%25"));
        for bad in ["a\rb", "a\nb", "a\0b", "\r\nx-evil: 1"] {
            assert_eq!(text(bad), Err(Unusable), "{bad:?}");
            assert_eq!(list(["a", bad]), Err(Unusable), "{bad:?}");
        }
        assert_eq!(text(&"n".repeat(4096)).map(|value| value.len()), Ok(4096));
        assert_eq!(text(&"n".repeat(4097)), Err(Unusable));
        assert_eq!(text(&"ë".repeat(800)), Err(Unusable));
    }

    #[test]
    fn parts_that_are_written_back() {
        for (part, expected) in
            [("a=b", true), ("a=é", true), ("", true), ("a\tb", false), ("a\u{7f}", false), ("a\u{fffd}", false)]
        {
            assert_eq!(can_be_written_back(part), expected, "{part:?}");
        }
    }

    #[test]
    fn claims_of_every_type() {
        use serde_json::json;
        for (value, encoded) in [
            (json!("blue"), Some("blue")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a,b", 1]), Some("a%2Cb,1")),
            (json!({"a": 1}), Some("{\"a\":1}")),
            (json!(null), None),
            (json!(""), None),
            (json!([]), None),
        ] {
            assert_eq!(claim(&value), Ok(encoded.map(str::to_owned)), "{value}");
        }
    }
}
