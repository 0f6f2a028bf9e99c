//! Messages of delta xDS to what they mean here, and back. The only file of the client that reads their fields.

use std::collections::HashMap;

use crds::push::{Body, Name, PeerReport, RESOURCE_TYPE, Rejection, Report};
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    google::{
        protobuf::{Any, Struct, Value, value::Kind},
        rpc::Status,
    },
};

use super::held::{Incoming, Refusal};

/// Members of a node's metadata: the highest epoch seen, and what is to be told about issuers and about proxies (JSON).
pub const EPOCH: &str = "epoch";
/// See [`EPOCH`].
pub const REPORTS: &str = "issuers";
/// See [`EPOCH`]: last uses of API keys (JSON of `crds::api_keys::Uses`), in messages of their own.
pub const USES: &str = "apiKeyUses";
/// See [`EPOCH`].
pub const PEERS: &str = "peers";
/// Type of the refused resources in a nack: a JSON list of [`Rejection`].
pub const REJECTIONS_TYPE: &str = "type.gatewright.dev/v1alpha1.Rejections";
/// Code of a nack whose change is in force but for the resources it names (`INVALID_ARGUMENT`).
pub const PARTLY: i32 = 3;
/// Code of a nack whose change is not in force, as the sender no longer leads (`FAILED_PRECONDITION`).
pub const FENCED: i32 = 9;
/// Code of a nack whose change is not in force, as it is incomplete (`ABORTED`).
pub const INCOMPLETE: i32 = 10;
/// The most bytes of one reason that travel.
const MAX_REASON_BYTES: usize = 1024;

/// What a data plane tells beside its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) issuers: Vec<Report>,
    pub(super) peers: PeerReport,
}

/// One message of the operator.
pub(super) struct Message {
    pub(super) nonce: String,
    pub(super) incoming: Vec<Incoming>,
    pub(super) removed: Vec<Name>,
}

/// The first message: everything, please, but what is held already.
pub(super) fn hello(pod: &str, epoch: u64, told: &Told, held: HashMap<String, String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(pod, epoch, told)),
        type_url: RESOURCE_TYPE.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: held,
        ..DeltaDiscoveryRequest::default()
    }
}

/// A message that changes nothing but what is told about issuers and proxies.
pub(super) fn report(pod: &str, epoch: u64, told: &Told) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(pod, epoch, told)),
        type_url: RESOURCE_TYPE.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The message is taken; if it ended a change, the change is in force, but for these.
pub(super) fn acknowledge(nonce: String, rejected: &[Rejection]) -> DeltaDiscoveryRequest {
    let error_detail = (!rejected.is_empty()).then(|| {
        let shortened: Vec<Rejection> = rejected
            .iter()
            .map(|one| Rejection { resource: one.resource.clone(), reason: shorten(&one.reason).to_owned() })
            .collect();
        let value = serde_json::to_vec(&shortened).unwrap_or_default();
        Status {
            code: PARTLY,
            message: format!("{} resources are refused; everything else is in force", rejected.len()),
            details: vec![Any { type_url: REJECTIONS_TYPE.to_owned(), value }],
        }
    });
    answer(nonce, error_detail)
}

/// The change is not in force.
pub(super) fn refuse(nonce: String, refusal: &Refusal) -> DeltaDiscoveryRequest {
    let code = match refusal {
        Refusal::Epoch { .. } => FENCED,
        Refusal::Order { .. } | Refusal::Incomplete { .. } => INCOMPLETE,
    };
    answer(nonce, Some(Status { code, message: refusal.to_string(), details: Vec::new() }))
}

/// A message that tells of the use of API keys, and nothing else.
pub(super) fn uses(pod: &str, uses: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(described(pod, [(USES, uses)])),
        type_url: RESOURCE_TYPE.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(nonce: String, error_detail: Option<Status>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: RESOURCE_TYPE.to_owned(),
        response_nonce: nonce,
        error_detail,
        ..DeltaDiscoveryRequest::default()
    }
}

/// Reads a message. A name of another version is passed over: it is not held, so every reconnect asks for it again.
pub(super) fn read(message: DeltaDiscoveryResponse) -> Message {
    let incoming = message.resources.into_iter().filter_map(|resource| {
        let name: Name = resource.name.parse().ok()?;
        let Any { type_url, value } = resource.resource.unwrap_or_default();
        let body = Body::read(&name, &type_url, &value).map_err(|error| error.to_string());
        // What could be read is text; what could not is not looked at again.
        let text = String::from_utf8(value).unwrap_or_default().into();
        Some(Incoming { name, version: resource.version.into(), text, body })
    });
    let incoming = incoming.collect();
    let removed = message.removed_resources.iter().filter_map(|name| name.parse().ok()).collect();
    Message { nonce: message.nonce, incoming, removed }
}

fn node(pod: &str, epoch: u64, told: &Told) -> Node {
    let issuers = serde_json::to_string(&told.issuers).unwrap_or_default();
    let peers = serde_json::to_string(&told.peers).unwrap_or_default();
    described(pod, [(EPOCH, epoch.to_string()), (REPORTS, issuers), (PEERS, peers)])
}

fn described<const N: usize>(pod: &str, fields: [(&str, String); N]) -> Node {
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    Node {
        id: pod.to_owned(),
        user_agent_name: "gatewright".to_owned(),
        metadata: Some(Struct { fields }),
        ..Node::default()
    }
}

/// Cut at a character, never inside one.
fn shorten(text: &str) -> &str {
    let end = (0..=MAX_REASON_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
