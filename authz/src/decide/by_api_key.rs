//! The kind `apiKey`: a text that a table of records knows. Everything that is wrong with a key looks the same to the client.

use crds::{
    api_keys::CQA_V1_PREFIX,
    snapshot::{ApiKey, Authenticator},
};

use super::{
    authenticate::{Failed, Good, Presented, named},
    outcome::Outcome,
};

/// Unknown, of a wrong secret, expired, revoked: one answer.
const BAD: Outcome = Outcome::Invalid("no API key that is known and in force");
const MISSING: Outcome =
    Outcome::Unavailable("the records of the API keys, or what they are checked with, are missing");

/// Whether a text is of this kind. Tokens never are, with a code or without, and a key that says its kind is of that kind alone.
pub(super) fn takes(keys: &ApiKey, presented: &Presented<'_>) -> bool {
    let says_cqa = presented.text.starts_with(CQA_V1_PREFIX);
    match keys {
        ApiKey::Sha256 { .. } => !says_cqa && presented.token_and_code().is_none(),
        ApiKey::CqaV1 { .. } => says_cqa,
    }
}

/// Whether a text is nobody else's to judge. Digests know some opaque texts and not others; what they know stays theirs when it has ended.
pub(super) fn claims(keys: &ApiKey, presented: &Presented<'_>) -> bool {
    let known = match keys {
        ApiKey::Sha256 { records } => records.as_ref().is_some_and(|records| records.knows(presented.text)),
        ApiKey::CqaV1 { .. } => true,
    };
    known && takes(keys, presented)
}

pub(super) fn verify(
    keys: &ApiKey,
    authenticator: &Authenticator,
    presented: &Presented<'_>,
    now_ms: i64,
) -> Result<Good, Failed> {
    let entry = match keys {
        ApiKey::Sha256 { records } => records.as_ref().ok_or(MISSING)?.find(presented.text),
        ApiKey::CqaV1 { peppers, records } => match records.as_ref().ok_or(MISSING)?.find(peppers, presented.text) {
            // It may be good under the pepper that is not there.
            None if peppers.lack() => return Err(MISSING.into()),
            found => found,
        },
    };
    let entry = entry.filter(|entry| entry.ends_ms.is_none_or(|end| end > now_ms)).ok_or(BAD)?;
    let principal = named(&entry.claims, authenticator, None)?;
    Ok(Good { principal, ends_ms: entry.ends_ms, keep_until_ms: None, key: Some(entry.id) })
}
