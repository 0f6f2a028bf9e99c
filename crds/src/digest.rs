//! SHA-256 as the array that maps and caches are keyed by. Owns nothing else: the arithmetic is aws-lc's.

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
