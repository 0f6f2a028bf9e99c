//! SHA-256 as the array that maps and caches are keyed by, and what is made of it. Owns nothing else: the arithmetic is aws-lc's.

use aws_lc_rs::digest::{Context, Digest};

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// The digest of everything the context was fed.
pub(crate) fn finish(context: Context) -> Sha256 {
    array(&context.finish())
}

/// The digest as an array. A shorter one, which SHA-256 is not, would end in zeros: it could miss a cache, never confuse two keys silently.
pub fn array(digest: &Digest) -> Sha256 {
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(own, byte)| *own = *byte);
    out
}

/// The first eight bytes as a number: what tells versions apart that nobody can choose.
pub fn short(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
