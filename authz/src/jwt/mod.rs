//! JSON Web Tokens (RFC 7519) as RFC 8725 wants them verified: text in, verdict and principal out.
//!
//! Owns the form of a token, the order of its checks and the mapping of claims. Must never read a clock, wait, fetch, log, or take a
//! key, an address or a permission from a token: a header names an algorithm and a key, and both only choose among what is
//! configured.
//!
//! The order: form ([`Token::parse`]); algorithm, key, signature over the received bytes ([`verify_signature`]); claims, the end of
//! life last ([`verify`]); the principal ([`principal()`]). No claim decides anything before the signature is good: until then `iss`
//! chooses whose keys are tried, and that is all.

mod claims;
mod fixed;
mod identity;
mod json;
mod jws;
mod lookup;
mod principal;
mod token;
mod verify;

pub(crate) use claims::{audience_is_of, date_of};
pub use fixed::verify_static;
pub use identity::admits;
#[cfg(feature = "server")]
pub(crate) use json::object as strict_object;
pub use jws::{Header, Jws, MAX_HEADER_BYTES, MAX_TOKEN_BYTES, Malformed};
pub use lookup::claim;
pub use principal::{PrincipalFailure, missing, principal};
pub use token::Token;
pub use verify::{Failure, Verified, verify, verify_signature};

#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
