//! The messages of `envoy.service.auth.v3` on the wire: a request read without copying its headers, a response that is bytes already.
//!
//! Owns field numbers. Envoy sends dozens of attributes with every check; those that no decision reads are skipped, and the others
//! are slices of the message they came in. `envoy_types` would copy each into a string and a map, which costs more than the decision.
//! A test decodes the same bytes by both and compares.

use bytes::{BufMut, Bytes};
use prost::{Message, Oneof};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// `CheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Check {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<Request>,
    /// A map on the wire is a list of entries.
    #[prost(message, repeated, tag = "10")]
    pub(super) context_extensions: Vec<Entry>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<Address>,
    #[prost(string, tag = "4")]
    pub(super) principal: String,
}

/// `core.v3.Address`. All kinds are named: of two, the last one counts.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Address {
    #[prost(oneof = "AddressKind", tags = "1, 2, 3")]
    pub(super) kind: Option<AddressKind>,
}

/// Other kinds than sockets have no IP address.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum AddressKind {
    #[prost(message, tag = "1")]
    Socket(SocketAddress),
    #[prost(message, tag = "2")]
    Pipe(Unread),
    #[prost(message, tag = "3")]
    Internal(Unread),
}

/// A message of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unread {}

/// `core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(super) address: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<Http>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Http {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) headers: Vec<Entry>,
    #[prost(string, tag = "4")]
    pub(super) path: String,
    #[prost(string, tag = "5")]
    pub(super) host: String,
    #[prost(string, tag = "6")]
    pub(super) scheme: String,
    #[prost(message, optional, tag = "13")]
    pub(super) header_map: Option<HeaderMap>,
}

/// One entry of a `map<string, string>`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(super) headers: Vec<Line>,
}

/// `core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Line {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) raw_value: Bytes,
}

/// Reads [`Check`], writes bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CheckCodec;

/// Nearly every answer fits, and nothing is grown for it.
const ANSWER_BYTES: usize = 2 * 1024;
/// tonic's own: answers are sent one by one.
const YIELD_BYTES: usize = 32 * 1024;

impl Codec for CheckCodec {
    type Encode = Vec<u8>;
    type Decode = Check;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for CheckCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ANSWER_BYTES, YIELD_BYTES)
    }
}

impl Decoder for CheckCodec {
    type Item = Check;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Check>, Status> {
        // The reason is not repeated: it may quote the request. Envoy takes an error for a refusal.
        Check::decode(buffer).map(Some).map_err(|_| Status::invalid_argument("not a CheckRequest"))
    }
}
