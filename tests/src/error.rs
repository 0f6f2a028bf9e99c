//! Why a peer could not be started, reached or understood. Each text says what to look at or run next.

use std::{io, time::Duration};

/// A failure of the surroundings of a test, as opposed to a wrong answer of the product.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A file, socket or program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A condition did not come true in time.
    #[error("still waiting after {waited:?}: {what}")]
    Late {
        /// The condition.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A program ended although it should serve.
    #[error("{program} ended with {status}; its output:\n{output}")]
    Ended {
        /// The program's name.
        program: String,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
    /// A program is not there.
    #[error("{program} is missing; run: {command}")]
    Missing {
        /// What is missing, with the path where it should be.
        program: String,
        /// The command that makes it.
        command: &'static str,
    },
    /// A peer answered something that could not be read.
    #[error("{what}: {detail}")]
    Unreadable {
        /// Whose answer to what.
        what: String,
        /// What was wrong with it.
        detail: String,
    },
}

impl PeerError {
    /// Wraps an error of the system with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// An answer that could not be read.
    pub fn unreadable(what: impl Into<String>, detail: &impl ToString) -> Self {
        Self::Unreadable { what: what.into(), detail: detail.to_string() }
    }
}
