//! Lengths of time as Gateway API writes them (GEP-2257).

use std::{borrow::Cow, fmt, time::Duration as Time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    rules::{self, Rule},
    text::attach_rules,
};

/// The pattern of GEP-2257.
const PATTERN: &str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A length of time: one to four numbers with a unit (`h`, `m`, `s`, `ms`), such as `90s` or `1h30m`. Never negative, never a fraction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(
    /// The text as written.
    pub String,
);

/// A [`Duration`] of at most five minutes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockSkew(
    /// The text as written.
    pub Duration,
);

/// A [`Duration`] of one second to one hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenLifetime(
    /// The text as written.
    pub Duration,
);

/// A [`Duration`] of ten milliseconds to ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallTimeout(
    /// The text as written.
    pub Duration,
);

/// A [`Duration`] of at most one hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnswerAge(
    /// The text as written.
    pub Duration,
);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration; write one to four numbers of at most five digits, each with h, m, s or ms, such as `90s` or `1h30m`"
)]
pub struct BadDuration(String);

/// The longest clock skew.
pub(super) const MAX_SKEW: Time = Time::from_mins(5);

/// The lifetimes of tokens that we make.
pub(super) const LIFETIMES: std::ops::RangeInclusive<Time> = Time::from_secs(1)..=Time::from_hours(1);

/// How long a question to another service may take.
pub(super) const CALL_TIMEOUTS: std::ops::RangeInclusive<Time> = Time::from_millis(10)..=Time::from_secs(10);

/// How long an answer of another service may be kept.
pub(super) const MAX_ANSWER_AGE: Time = Time::from_hours(1);

// === impl Duration ===

impl Duration {
    /// The length. Parts add up; none can overflow, five digits of hours being the most.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        parse(&self.0).ok_or_else(|| BadDuration(crate::schema::shorten(&self.0)))
    }
}

impl TokenLifetime {
    /// The length; its bounds are checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

impl ClockSkew {
    /// The length; the bound of five minutes is checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

impl CallTimeout {
    /// The length; its bounds are checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

impl AnswerAge {
    /// The length; its bound is checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

fn parse(text: &str) -> Option<Time> {
    let (mut rest, mut total) = (text, Time::ZERO);
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).filter(|_| (1..=5).contains(&digits))?;
        let number: u64 = number.parse().ok()?;
        // `ms` before `m`, or milliseconds would be read as minutes.
        let (part, after) = if let Some(after) = after.strip_prefix("ms") {
            (Time::from_millis(number), after)
        } else if let Some(after) = after.strip_prefix('h') {
            (Time::from_secs(number * 3600), after)
        } else if let Some(after) = after.strip_prefix('m') {
            (Time::from_secs(number * 60), after)
        } else {
            (Time::from_secs(number), after.strip_prefix('s')?)
        };
        total = total.checked_add(part)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
    None
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[])
    }
}

impl JsonSchema for ClockSkew {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClockSkew".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::CLOCK_SKEW])
    }
}

impl JsonSchema for TokenLifetime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TokenLifetime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::TOKEN_LIFETIME])
    }
}

impl JsonSchema for CallTimeout {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CallTimeout".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::CALL_TIMEOUT])
    }
}

impl JsonSchema for AnswerAge {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnswerAge".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::ANSWER_AGE])
    }
}

pub(super) fn schema(rules: &[Rule]) -> Schema {
    // Four parts of five digits and two letters.
    let mut schema = json_schema!({"type": "string", "minLength": 2, "maxLength": 28, "pattern": PATTERN});
    if !rules.is_empty() {
        attach_rules(&mut schema, rules);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_pattern_takes_and_nothing_else() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        let good = [
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("6h", Some(21_600_000)),
            ("1h30m", Some(5_400_000)),
            ("1m1ms", Some(60_001)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
        ];
        let bad = ["", "soon", "1", "s", "1d", "-1s", "1.5s", "123456s", "1s1s1s1s1s", " 1s", "1s ", "1S", "١s"]
            .map(|text| (text, None));
        for (text, millis) in good.into_iter().chain(bad) {
            let parsed = Duration(text.to_owned()).parse().ok().map(|time| u64::try_from(time.as_millis()).unwrap());
            assert_eq!(parsed, millis, "{text}");
            assert_eq!(pattern.is_match(text), millis.is_some(), "{text} against the pattern");
        }
    }
}
