//! The verdict about one token under one authenticator's settings.

use std::collections::BTreeSet;

use crds::{
    algorithm::Algorithm,
    keys::{Candidates, KeySet},
    snapshot::Jwt,
};

use super::{claims, jws::Jws, token::Token};

/// A token that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Its `exp` in milliseconds since the Unix epoch, fractions rounded down, without leeway.
    pub expires_at_ms: Option<i64>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It never was. Fixed words for `explain`, nothing of the token in them.
    Invalid(&'static str),
    /// It was good in every other respect, and its time is over.
    Expired,
    /// It names a key that the set does not hold; a newer set may.
    UnknownKey,
    /// It names none, and the set holds none that made it; a newer set may. Fixed words.
    NotOfTheseKeys(&'static str),
    /// A key that should be configured for its algorithm is not there, and no other made its signature.
    KeyMissing,
    /// It is signed well and lacks a claim: the position in the settings' list of required claims.
    ClaimMissing(usize),
}

/// Verifies a token: algorithm, key and signature first, then its claims, its end last. `now_ms` counts milliseconds since the Unix
/// epoch.
pub fn verify(token: &Token<'_>, settings: &Jwt, keys: &KeySet, now_ms: i64) -> Result<Verified, Failure> {
    verify_signature(token.jws(), &settings.algorithms, keys)?;
    claims::verify(token, settings, now_ms)
}

/// Verifies that one of the keys made the signature with one of the allowed algorithms. The token's `alg` only chooses among what
/// the caller allows and the key permits (RFC 8725 section 3.1).
pub fn verify_signature(jws: &Jws<'_>, allowed: &BTreeSet<Algorithm>, keys: &KeySet) -> Result<(), Failure> {
    let header = jws.header();
    let algorithm = Algorithm::from_name(&header.algorithm)
        .filter(|algorithm| allowed.contains(algorithm))
        .ok_or(Failure::Invalid("its algorithm is not accepted here"))?;
    // Issuers with one key often name it nowhere: that one may have been turned.
    let other = if header.kid.is_some() { Failure::Invalid } else { Failure::NotOfTheseKeys };
    let candidates = match keys.candidates(header.kid.as_deref(), algorithm) {
        Candidates::Keys(candidates) => candidates,
        Candidates::UnknownKid => return Err(Failure::UnknownKey),
        Candidates::Unnamed(key) => {
            let good = key.verify(algorithm, jws.signing_input(), jws.signature());
            // If it is not that key's work, it may be that of one we do not know yet.
            return if good { Ok(()) } else { Err(Failure::UnknownKey) };
        }
        Candidates::NoneFits => return Err(other("no key of the issuer permits its algorithm")),
        Candidates::Ambiguous => return Err(Failure::Invalid("several keys fit and it does not say which")),
    };
    if candidates.iter().any(|key| key.verify(algorithm, jws.signing_input(), jws.signature())) {
        Ok(())
    } else {
        Err(other("its signature is wrong"))
    }
}
