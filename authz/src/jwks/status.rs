//! What is told about key sets to people and machines: the live state, without a secret and without a quote of any answer.

use serde::Serialize;
use tokio::time::Instant;

use crds::{algorithm::Algorithm, keys::SkippedKey};

use super::slot::Slot;

/// One key set as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySetStatus {
    /// The id of the set.
    pub id: String,
    /// The issuer, as configured.
    pub issuer: String,
    /// Where the keys come from, configured or discovered; absent before the first successful discovery.
    pub jwks_uri: Option<String>,
    /// How good the keys are.
    pub freshness: Freshness,
    /// Time since the keys were fetched.
    pub age_seconds: Option<u64>,
    /// The usable keys, in the order of the document.
    pub keys: Vec<KeyStatus>,
    /// The entries that cannot be used.
    pub skipped: Vec<SkippedKey>,
    /// Whether the newest attempt failed.
    pub failing: bool,
    /// What went wrong in the newest attempt. Also set when only discovery failed and the known location gave the keys.
    pub last_error: Option<String>,
    /// When the next scheduled fetch is due; absent while one runs.
    pub next_fetch_in_seconds: Option<u64>,
}

/// How good the keys of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Fetched less than `max_age` ago.
    Fresh,
    /// Older, or from disk, and still in force.
    Stale,
    /// Too old: no longer in force.
    Expired,
    /// There are none.
    Absent,
}

/// One usable key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// What it may verify.
    pub algorithms: Vec<Algorithm>,
}

impl Slot {
    pub(super) fn status(&self) -> KeySetStatus {
        let (held, in_force) = (self.held(), self.keys_in_force().is_some());
        let freshness = match &held {
            None => Freshness::Absent,
            Some(_) if !in_force => Freshness::Expired,
            Some((_, true)) => Freshness::Fresh,
            Some((_, false)) => Freshness::Stale,
        };
        let control = self.control.lock();
        let next = control.next_fetch.filter(|_| control.running.is_none());
        let set = held.as_ref().map(|(held, _)| &held.set);
        KeySetStatus {
            id: self.id().0.to_string(),
            issuer: self.issuer().to_owned(),
            jwks_uri: self.jwks_uri().map(str::to_owned).or_else(|| Some(control.known.as_ref()?.to_string())),
            freshness,
            age_seconds: held.as_ref().map(|(held, _)| held.age().as_secs()),
            keys: set.map_or_else(Vec::new, |set| set.keys().iter().map(KeyStatus::of).collect()),
            skipped: set.map_or_else(Vec::new, |set| set.skipped().to_vec()),
            failing: self.is_failing(),
            last_error: control.last_error.as_ref().map(ToString::to_string),
            next_fetch_in_seconds: next.map(|due| due.saturating_duration_since(Instant::now()).as_secs()),
        }
    }
}

impl KeyStatus {
    fn of(key: &crds::keys::VerifyingKey) -> Self {
        Self { kid: key.kid().map(str::to_owned), algorithms: key.algorithms().collect() }
    }
}
