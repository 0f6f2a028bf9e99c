//! Gzip members (RFC 1952) made by hand: a harmless one, and one that grows by a factor of a hundred and more.

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The body in one stored block.
pub(crate) fn stored(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let mut out = HEADER.to_vec();
    out.push(1);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(body);
    out.extend(crc32(body).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// At least `size` blanks: one literal, then "the last 258 bytes again" as often as needed, in the fixed Huffman code.
pub(crate) fn bomb(size: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |code: u32, length: u32| bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    put(0b110, 3); // The last block; its type, least significant bit first.
    put(0x30 + 0x20, 8);
    for _ in 0..size.div_ceil(258) {
        put(0xc5, 8);
        put(0, 5);
    }
    put(0, 7);
    let packed = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |value, bit| value << 1 | u8::from(*bit)));
    // The check sum is never reached by a reader that stops in time.
    HEADER.into_iter().chain(packed).chain([0; 8]).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
