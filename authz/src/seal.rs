//! Sealing state at rest: AES-256-GCM with a random nonce per sealing. Owns the frame; the arithmetic is aws-lc's.
//!
//! ```text
//!  "GWS1" │ nonce, 12 bytes │ ciphertext │ tag, 16 bytes        associated data: "gatewright " + purpose
//! ```
//!
//! The purpose binds a text to its place: what was sealed as one thing cannot be put where another is read.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// Length of a key, in bytes.
pub const KEY_LEN: usize = 32;
const FRAME: &[u8; 4] = b"GWS1";

/// Seals and opens under one key.
pub struct Seal {
    key: RandomizedNonceKey,
}

/// Why something could not be sealed or opened. Says nothing about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is of another length.
    #[error("a sealing key has 32 bytes, this one has {0}")]
    KeyLength(usize),
    /// Not of this format.
    #[error("not a sealed text of this version")]
    Frame,
    /// Changed, sealed under another key, or sealed for another purpose.
    #[error("it was changed, or sealed under another key or for another purpose")]
    Broken,
    /// The library refused.
    #[error("it cannot be sealed")]
    Failed,
}

// === impl Seal ===

impl Seal {
    /// Takes a key of [`KEY_LEN`] bytes.
    pub fn new(key: &[u8]) -> Result<Self, SealError> {
        if key.len() != KEY_LEN {
            return Err(SealError::KeyLength(key.len()));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Failed)?;
        Ok(Self { key })
    }

    /// Seals `plain` for `purpose`.
    pub fn seal(&self, purpose: &str, mut plain: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let nonce =
            self.key.seal_in_place_append_tag(associated(purpose), &mut plain).map_err(|_| SealError::Failed)?;
        Ok([&FRAME[..], nonce.as_ref(), &plain].concat())
    }

    /// Opens what was sealed for `purpose`.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let rest = sealed.strip_prefix(FRAME).ok_or(SealError::Frame)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Frame)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Frame)?;
        let mut text = text.to_vec();
        let length = {
            let plain = self.key.open_in_place(nonce, associated(purpose), &mut text).map_err(|_| SealError::Broken)?;
            plain.len()
        };
        text.truncate(length);
        Ok(text)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Seal(…)")
    }
}

fn associated(purpose: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("gatewright {purpose}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_byte() {
        let seal = Seal::new(&[7; KEY_LEN]).unwrap();
        let sealed = seal.seal("state", b"policies".to_vec()).unwrap();
        assert_eq!(seal.open("state", &sealed).unwrap(), b"policies");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open("state", &changed).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(seal.open("state", &sealed[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn another_key_or_purpose_opens_nothing() {
        let seal = Seal::new(&[7; KEY_LEN]).unwrap();
        let sealed = seal.seal("state", b"policies".to_vec()).unwrap();
        assert_eq!(seal.open("identity", &sealed), Err(SealError::Broken));
        assert_eq!(Seal::new(&[8; KEY_LEN]).unwrap().open("state", &sealed), Err(SealError::Broken));
        assert_eq!(Seal::new(&[7; 31]).unwrap_err(), SealError::KeyLength(31));
    }

    #[test]
    fn equal_texts_are_sealed_differently() {
        let seal = Seal::new(&[7; KEY_LEN]).unwrap();
        assert_ne!(seal.seal("state", Vec::new()).unwrap(), seal.seal("state", Vec::new()).unwrap());
    }
}
