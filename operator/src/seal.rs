//! The sealing key of the operator: Secret `gatewright-seal`, 32 random bytes, made by the leader.

pub use authz::seal::{KEY_LEN, Seal, SealError};

/// Name of the Secret.
pub const SECRET: &str = "gatewright-seal";
/// Its entry, as a file of a volume.
pub const ENTRY: &str = "key";

/// A new key.
pub(crate) fn new_key() -> Result<Vec<u8>, SealError> {
    let mut key = vec![0; KEY_LEN];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| SealError::Failed)?;
    Ok(key)
}
