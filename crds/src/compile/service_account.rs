//! The kind `serviceAccount`: the rules of its tokens. Where the API server is, whoever serves the snapshot knows.

use std::time::Duration;

use crate::{
    algorithm::Algorithm,
    snapshot::{AudienceRule, DeniedTokenIds, Jwt, JwtKeys, KeySetSource, ServiceAccounts},
    v1alpha1::{self, TokenReviewing},
};

/// What an API server signs with (`--service-account-signing-key-file`: RSA, or a curve of NIST's).
const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::ES512];

pub(super) fn compile(spec: &v1alpha1::ServiceAccount, key_sets: &mut Vec<KeySetSource>) -> ServiceAccounts {
    let source = KeySetSource::cluster();
    let keys = JwtKeys::Remote(source.id.clone());
    key_sets.push(source);
    let token = Jwt {
        issuer: None,
        keys,
        audiences: AudienceRule::AnyOf(spec.audiences.iter().map(|one| (**one).into()).collect()),
        algorithms: ALGORITHMS.into(),
        clock_skew: Duration::ZERO,
        require_expiry: true,
        accepted_types: None,
        authorized_parties: None,
        required_claims: Vec::new(),
        denied: DeniedTokenIds::Nobody,
    };
    ServiceAccounts { token, review: spec.review == Some(TokenReviewing::TokenReview) }
}
