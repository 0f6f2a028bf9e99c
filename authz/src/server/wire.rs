//! The messages of `envoy.service.auth.v3` on the wire: a request read without copying its headers, a response that is bytes already.
//!
//! Owns field numbers. Envoy sends dozens of attributes with every check; those that no decision reads are skipped, and the others
//! are slices of the message they came in. `envoy_types` would copy each into a string and a map, which costs more than the decision.
//! A test decodes the same bytes by both and compares. Must never let a few bytes become many: two make a header line without name and
//! value, which takes 96 here.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message, Oneof,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
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

/// Repeated fields of [`Check`], and the messages they are in.
enum Lines {
    /// Each is a line.
    Here,
    /// They are in these fields.
    Below(&'static [(u32, Lines)]),
}

/// Header lines and context extensions of one check. Envoy takes 100 headers of a request unless told otherwise.
const MOST_LINES: usize = 2 * 1024;
/// What a line takes at least where it comes; where it is kept that is 96.
const LINE_BYTES: usize = 2;
const CHECK: &[(u32, Lines)] = &[(1, Lines::Below(&[(4, REQUEST), (10, Lines::Here)]))];
const REQUEST: Lines = Lines::Below(&[(2, Lines::Below(&[(3, Lines::Here), (13, Lines::Below(&[(1, Lines::Here)]))]))]);

/// How many lines are in these bytes.
fn lines(mut bytes: &[u8], kinds: &[(u32, Lines)]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while bytes.has_remaining() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        let kind = kinds.iter().find(|(own, _)| *own == tag && wire_type == WireType::LengthDelimited);
        let before = bytes;
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
        match kind {
            None => {}
            Some((_, Lines::Here)) => count += 1,
            Some((_, Lines::Below(kinds))) => {
                let mut inner = before.get(..before.len() - bytes.len()).unwrap_or_default();
                decode_varint(&mut inner)?;
                count += lines(inner, kinds)?;
            }
        }
    }
    Ok(count)
}

/// Refusals and most answers fit; a longer one grows it once. Held for each answer that its peer does not take.
const ANSWER_BYTES: usize = 1024;
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
        let not_one = |_| Status::invalid_argument("not a CheckRequest");
        // Shorter ones cannot hold too many, so that nearly none is looked through twice.
        if buffer.remaining() > MOST_LINES * LINE_BYTES && lines(buffer.chunk(), CHECK).map_err(not_one)? > MOST_LINES {
            return Err(Status::resource_exhausted("too many headers"));
        }
        Check::decode(buffer).map(Some).map_err(not_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: usize, lines: usize, extensions: usize) -> Check {
        let entry = || Entry { key: Bytes::new(), value: Bytes::new() };
        let line = || Line { key: Bytes::new(), value: Bytes::new(), raw_value: Bytes::new() };
        let header_map = Some(HeaderMap { headers: (0..lines).map(|_| line()).collect() });
        let http = Http { headers: (0..headers).map(|_| entry()).collect(), header_map, ..Http::default() };
        let context_extensions = (0..extensions).map(|_| entry()).collect();
        let request = Some(Request { http: Some(http) });
        Check { attributes: Some(Attributes { request, context_extensions, ..Attributes::default() }) }
    }

    #[test]
    fn lines_are_counted_wherever_they_are() {
        let few = check(1, 20, 300);
        let bytes = few.encode_to_vec();
        assert_eq!(lines(&bytes, CHECK).unwrap(), 321);
        // Two of one field are one when they are read, and so are their lines.
        assert_eq!(lines(&[bytes.clone(), bytes.clone()].concat(), CHECK).unwrap(), 642);
        // As far as they can be read; never a panic.
        for end in 0..bytes.len() {
            let _ = lines(&bytes[..end], CHECK);
        }
        assert!(lines(&bytes[..bytes.len() - 1], CHECK).is_err());
    }
}
