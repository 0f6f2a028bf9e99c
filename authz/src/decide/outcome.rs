//! What can come of one authenticator, and which of several failures is the answer.

use crds::code::Code;

use super::Deny;

/// What came of one authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Verified,
    /// Not good; fixed words say why.
    Invalid(&'static str),
    /// Good, but a needed claim is missing.
    ClaimMissing,
    /// We could not find out.
    Unavailable(&'static str),
    /// Was good once.
    Expired,
}

// === impl Outcome ===

impl Outcome {
    /// The word of `explain` and its JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Invalid(_) => "invalid_token",
            Self::ClaimMissing => "claim_missing",
            Self::Unavailable(_) => "unavailable",
            Self::Expired => "expired_token",
        }
    }

    /// More words, where there are some.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Verified => "the credential is good",
            Self::Invalid(why) | Self::Unavailable(why) => why,
            Self::ClaimMissing => "a claim that this policy needs is missing",
            Self::Expired => "the token was good and has expired",
        }
    }

    /// Which failure of several is the answer (contract, section 2, step 5).
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Invalid(_) => 1,
            Self::ClaimMissing => 2,
            Self::Unavailable(_) => 3,
            Self::Expired => 4,
        }
    }

    pub(super) fn deny(self) -> Deny {
        let code = match self {
            // A success never gets here; if it did, refusing is the only safe answer.
            Self::Verified | Self::Invalid(_) => Code::InvalidToken,
            Self::ClaimMissing => Code::ClaimMissing,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Expired => Code::ExpiredToken,
        };
        Deny::new(code, self.detail())
    }
}
