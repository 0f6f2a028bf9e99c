//! Tokens under keys that stand in Secrets. The algorithm belongs to the key: the token's `alg` only chooses among them.

use crds::{keys::StaticKeys, snapshot::Jwt};

use super::{
    claims,
    token::Token,
    verify::{Failure, Verified},
};

/// Verifies a token: key and signature first, then its claims, its end last.
pub fn verify_static(token: &Token<'_>, settings: &Jwt, keys: &StaticKeys, now_ms: i64) -> Result<Verified, Failure> {
    let (header, jws) = (token.header(), token.jws());
    if !keys.knows(&header.algorithm) {
        return Err(Failure::Invalid("its algorithm is not accepted here"));
    }
    let mut candidates = keys.candidates(&header.algorithm, header.kid.as_deref());
    if candidates.any(|key| key.verify(jws.signing_input(), jws.signature())) {
        return claims::verify(token, settings, now_ms);
    }
    // A token of the key that is not there may be a good one: that is our failure, not the client's.
    if keys.lacks(&header.algorithm) {
        Err(Failure::KeyMissing)
    } else {
        Err(Failure::Invalid("its signature is wrong"))
    }
}
