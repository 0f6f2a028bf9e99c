//! Lists and watches of the API server, as changes.
//!
//! ```text
//!  list: Change::Begins, Put …, Ends ─► watch: Change::Put, Gone … ─► (410, silence, errors) ─► list …
//! ```
//!
//! Owns the resource version and everything that can go wrong on the wire. An error is never a change: whoever listens keeps what it
//! has until a whole new list says otherwise. A list is told page by page, into a queue that is bounded: no list is in memory as a whole.
//! Objects are JSON: one that cannot be read spoils nobody else's list. Must never decide,
//! and never compare resource versions: after a restore of etcd they run backwards.

mod backoff;
mod call;
mod driver;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

pub use backoff::Backoff;
pub use call::{Call, CallError};
pub(crate) use driver::encoded;
pub use driver::follow;

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its name in metrics and messages, such as `authpolicies`.
    pub kind: &'static str,
    /// The collection's path, such as `/apis/gatewright.dev/v1alpha1/authpolicies`.
    pub path: String,
    /// Whether metadata is enough: content stays in the API server.
    pub metadata_only: bool,
}

/// What happened to the objects of a source.
#[derive(Debug, Clone)]
pub enum Change {
    /// Everything there is will be told. Begins anew if it failed midway.
    Begins,
    /// This one is there: new, changed, or part of what is told as a whole.
    Put(Value),
    /// That was all: what was not put since it began is gone.
    Ends,
    /// This one is gone.
    Gone(Value),
    /// Nothing is known at the moment; what was told before stays. Told once per kind of trouble.
    Trouble(String),
    /// Everything is well again.
    Well,
}

/// How long is waited for an API server that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A watch that says nothing for so long is dead: the server sends a bookmark about once a minute.
    pub silence: Duration,
}

/// Where the changes of a source go, each made an `E`. Waits while the queue is full.
pub struct Told<E> {
    queue: mpsc::Sender<E>,
    form: Box<dyn Fn(Change) -> E + Send>,
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(150) }
    }
}

// === impl Told ===

impl<E: Send> Told<E> {
    /// Into this queue, in this form.
    pub fn new(queue: mpsc::Sender<E>, form: impl Fn(Change) -> E + Send + 'static) -> Self {
        Self { queue, form: Box::new(form) }
    }

    async fn tell(&mut self, change: Change) {
        let event = (self.form)(change);
        // A receiver that is gone is the end of the process.
        drop(self.queue.send(event).await);
    }
}
