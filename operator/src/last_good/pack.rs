//! One part as bytes: JSON, compressed, sealed for its place. Pure.

use std::io::{Read, Write};

use crds::compile::LastGood;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::seal::{Seal, SealError};

/// Largest sealed part: a Secret holds 1 MiB, in base64 of which it is counted decoded, with some room for its metadata.
pub(super) const MAX_BYTES: usize = 1000 * 1024;
/// Largest part when it is read: far more than 1 MiB of text compresses to, and no bomb.
const MAX_PLAIN: u64 = 256 * 1024 * 1024;

/// Why a part cannot be packed or opened. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("it cannot be compressed or decompressed: {0}")]
    Gzip(#[from] std::io::Error),
    #[error("it is no list of last good versions")]
    Json,
    #[error("it is too large for a Secret: {0} bytes compressed; use smaller or fewer policies")]
    TooLarge(usize),
}

fn purpose(part: usize) -> String {
    format!("last-good {part}")
}

pub(super) fn seal(seal: &Seal, part: usize, kept: &LastGood) -> Result<Vec<u8>, PackError> {
    let json = serde_json::to_vec(kept).map_err(|_| PackError::Json)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&json)?;
    let sealed = seal.seal(&purpose(part), gzip.finish()?)?;
    if sealed.len() > MAX_BYTES { Err(PackError::TooLarge(sealed.len())) } else { Ok(sealed) }
}

pub(super) fn open(seal: &Seal, part: usize, sealed: &[u8]) -> Result<LastGood, PackError> {
    let packed = seal.open(&purpose(part), sealed)?;
    let mut json = Vec::new();
    GzDecoder::new(&*packed).take(MAX_PLAIN).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map_err(|_| PackError::Json)
}
