//! Compiled API keys.

use std::sync::Arc;

use serde::Serialize;

use crate::api_keys::{CqaV1Record, Peppers, Sha256Record, Table};

/// Where the records of API keys are. `None`: the Secret is referenced and not there, and its readers are refused with `unavailable`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ApiKey {
    /// Known by their SHA-256.
    Sha256 {
        /// Shared by every authenticator of the same Secrets.
        records: Option<Arc<Table<Sha256Record>>>,
    },
    /// `cqa.v1` keys.
    CqaV1 {
        /// Keys of the HMAC.
        peppers: Peppers,
        /// Shared by every authenticator of the same Secrets.
        records: Option<Arc<Table<CqaV1Record>>>,
    },
}

impl ApiKey {
    /// Changes whenever a verdict about a key can.
    pub fn version(&self) -> u64 {
        match self {
            Self::Sha256 { records } => records.as_ref().map_or(0, |one| one.version()),
            Self::CqaV1 { peppers, records } => {
                records.as_ref().map_or(0, |one| one.version()) ^ peppers.version().rotate_left(1)
            }
        }
    }
}
