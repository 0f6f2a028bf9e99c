//! What calls of the API server have in common: the name that we go by, how long an answer may take, and how Events are told.

use std::time::Duration;

use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use tokio::time::timeout;

/// Our name as a manager of fields, and on what we made.
pub(crate) const MANAGER: &str = "gatewright-operator";
/// The label with it.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Who tells Events.
const CONTROLLER: &str = "gatewright.dev/operator";
/// How long the API server may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Longest note of an Event that it takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Why a call was no help.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Somebody else wrote.
    Conflict(String),
    /// It is refused, or nobody answers.
    Unavailable(String),
}

/// The answer to a call, in time.
pub(crate) async fn answer<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            Err(if is_conflict {
                Failure::Conflict(error.to_string())
            } else {
                Failure::Unavailable(error.to_string())
            })
        }
        Err(_) => Err(Failure::Unavailable("no answer in time".to_owned())),
    }
}

/// Tells Events as this pod of ours.
pub(crate) fn recorder(client: Client, pod: &str) -> Recorder {
    Recorder::new(client, Reporter { controller: CONTROLLER.to_owned(), instance: Some(pod.to_owned()) })
}

/// As much of a text as a note holds.
pub(crate) fn note(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_NOTE)).unwrap_or_default().to_owned()
}

// === impl Failure ===

impl Failure {
    /// Why, for a person.
    pub(crate) fn text(self) -> String {
        let (Self::Conflict(text) | Self::Unavailable(text)) = self;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_by_bytes_and_between_characters() {
        for (text, length) in [("a".repeat(1024), 1024), ("a".repeat(1025), 1024), ("\u{20ac}".repeat(400), 1023)] {
            let note = note(&text);
            assert_eq!(note.len(), length);
            assert!(text.starts_with(&note));
        }
    }
}
