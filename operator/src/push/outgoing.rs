//! One change, cut into messages. Resources are copied when their message is made: a stream that does not read holds no copies.

use std::sync::Arc;

use crds::push::{Name, RESOURCE_TYPE, State};
use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource},
    google::protobuf::Any,
};

use super::table::{Diff, Encoded, Table};

/// What a message holds at most, in bytes; one larger resource is a message of its own.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// A change on its way out.
pub(super) struct Outgoing {
    pub(super) table: Arc<Table>,
    pub(super) state: State,
    /// The CA certificates, if they are part of it.
    pub(super) trust: Option<Arc<Encoded>>,
    diff: Arc<Diff>,
    /// How many of what changed and of what is removed went out.
    sent: (usize, usize),
    messages: usize,
    /// The nonce of the last message, once that is made.
    pub(super) last: Option<String>,
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(table: Arc<Table>, diff: Arc<Diff>, trust: Option<Arc<Encoded>>, state: State) -> Self {
        Self { table, state, trust, diff, sent: (0, 0), messages: 0, last: None }
    }

    /// Whether every message was made.
    pub(super) fn is_sent(&self) -> bool {
        self.last.is_some()
    }

    /// The next message; the last one has the state.
    pub(super) fn next(&mut self) -> DeltaDiscoveryResponse {
        let (mut resources, mut removed_resources) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while let Some(one) = self.diff.changed.get(self.sent.0) {
            if !resources.is_empty() && bytes + one.bytes.len() > MESSAGE_BYTES {
                break;
            }
            bytes += one.bytes.len();
            resources.push(resource(one));
            self.sent.0 += 1;
        }
        while self.sent.0 == self.diff.changed.len()
            && bytes < MESSAGE_BYTES
            && let Some(name) = self.diff.removed.get(self.sent.1)
        {
            let name = name.to_string();
            bytes += name.len();
            removed_resources.push(name);
            self.sent.1 += 1;
        }
        self.messages += 1;
        let nonce = format!("{}.{}", self.state.counter, self.messages);
        if self.sent == (self.diff.changed.len(), self.diff.removed.len()) {
            resources.extend(self.trust.as_deref().map(resource));
            resources.extend(Encoded::new(Name::State, &self.state).as_deref().map(resource));
            self.last = Some(nonce.clone());
        }
        DeltaDiscoveryResponse {
            system_version_info: format!("{}.{}", self.state.epoch, self.table.counter),
            type_url: RESOURCE_TYPE.to_owned(),
            resources,
            removed_resources,
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

fn resource(one: &Encoded) -> Resource {
    Resource {
        name: one.name.to_string(),
        version: one.version.clone(),
        resource: Some(Any { type_url: one.name.type_url().to_owned(), value: one.bytes.clone() }),
        ..Resource::default()
    }
}
