//! Keys that verify signatures, and sets of them (RFC 7517): the bytes of a document in, checked keys out.
//!
//! Owns the rules for which key may verify what. Must never hold a private key, fetch anything, or take an algorithm from a token: what a
//! key permits follows from its type and its own `alg` alone. Shared secrets live in [`StaticKeys`] only, each bound to one algorithm; a
//! [`KeySet`] never holds one.
//!
//! Invariants, each guarded by a test beside it: one bad entry never spoils a set; a document over its limits is refused whole; a key
//! that is kept was parsed and validated once, here.

mod document;
mod fixed;
mod jwk;
mod key;
mod pem;
mod private;
mod rsa;
mod set;

pub use document::{MAX_DOCUMENT_BYTES, MAX_ENTRIES};
pub use fixed::{MAX_KEYS_PER_ENTRY, StaticKey, StaticKeyError, StaticKeys};
pub use jwk::MAX_KID_BYTES;
pub use key::{KeyType, VerifyingKey};
pub use private::looks_private;
pub use set::{Candidates, KeySet, KeySetError, MAX_CANDIDATES, MAX_KEYS, SkippedKey};

#[cfg(test)]
mod tests;
