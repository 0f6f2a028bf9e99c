//! A second factor: codes that change with time (RFC 6238).

use std::time::Duration as Time;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    duration::{BadDuration, Duration, schema},
    refs::SecretRef,
    rules,
};

/// A code beside the token: the credential is TOKEN:CODE. A code is good once, and after five wrong ones in five minutes no code of that
/// person is looked at for the rest of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totp {
    /// The Secret with everybody's shared secret in base32, at least 128 bits each. An entry's name is the stable id of the person
    /// (claims.stableID); of an id with other characters than letters, digits, -, _ and ., the value of x-auth-user.
    pub secrets_ref: SecretRef,
    /// How many digits a code has, 6 to 8. Default: 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6, max = 8))]
    pub digits: Option<u8>,
    /// How long a code is shown, in whole seconds from 15s to 2m; the one before and the one after it count too. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<CodePeriod>,
}

/// A [`Duration`] of whole seconds, fifteen of them to two minutes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodePeriod(
    /// The text as written.
    pub Duration,
);

/// How long a code may be shown.
pub(super) const PERIODS: std::ops::RangeInclusive<Time> = Time::from_secs(15)..=Time::from_mins(2);

// === impl CodePeriod ===

impl CodePeriod {
    /// The length; its bounds are checked with the document's other rules.
    pub fn parse(&self) -> Result<Time, BadDuration> {
        self.0.parse()
    }
}

impl JsonSchema for CodePeriod {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CodePeriod".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&[rules::CODE_PERIOD])
    }
}
