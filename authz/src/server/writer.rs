//! Protobuf written front to back, without a message in between. Owns lengths; knows no message.

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};

/// Bytes of a message in the making.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

// === impl Writer ===

impl Writer {
    /// Continues a message.
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self::new(Vec::with_capacity(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A field of text, empty or not.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(text.len() as u64, &mut self.bytes);
        self.bytes.put_slice(text.as_bytes());
    }

    /// A number or enumeration.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    /// A field that is a message. Its length stands before it and is known after it: one byte is left for it, and more are made
    /// room for if it is long.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        let place = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - place - 1;
        if let (Ok(length @ 0..=127), Some(byte)) = (u8::try_from(length), self.bytes.get_mut(place)) {
            *byte = length;
            return;
        }
        let mut varint = Vec::with_capacity(10);
        encode_varint(length as u64, &mut varint);
        self.bytes.splice(place..=place, varint);
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    use prost::Message;

    use super::*;

    #[test]
    fn lengths_of_every_width_are_read_back() {
        for length in [0, 1, 126, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = Writer::with_capacity(0);
            out.message(1, |out| {
                out.text(1, "name");
                out.text(2, &"v".repeat(length));
            });
            out.number(3, 2);
            let read = HeaderValueOption::decode(out.into_bytes().as_slice()).unwrap();
            let header = HeaderValue { key: "name".to_owned(), value: "v".repeat(length), raw_value: Vec::new() };
            assert_eq!(
                read,
                HeaderValueOption { header: Some(header), append_action: 2, ..HeaderValueOption::default() }
            );
        }
    }
}
