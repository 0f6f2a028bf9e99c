//! What can come of one authenticator, and which of several failures is the answer.

use crds::code::Code;

use super::{Deny, RateLimited};

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
    /// The token is good, the second factor is not.
    Factor(Factor),
    /// The token is good, and its holder was wrong about the second factor too often.
    Locked(RateLimited),
}

/// What is wrong with a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// None was sent.
    Missing,
    /// It is not right, not any more, or was used before.
    Wrong,
}

// === impl Outcome ===

impl Outcome {
    /// The word of `explain` and its JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Invalid(_) | Self::Factor(_) => "invalid_token",
            Self::ClaimMissing => "claim_missing",
            Self::Unavailable(_) => "unavailable",
            Self::Expired => "expired_token",
            Self::Locked(_) => "too_many_failures",
        }
    }

    /// More words, where there are some.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Verified => "the credential is good",
            Self::Invalid(why) | Self::Unavailable(why) => why,
            Self::ClaimMissing => "a claim that this policy needs is missing",
            Self::Expired => "the token was good and has expired",
            Self::Factor(Factor::Missing) => "the token is good, and no code follows it after a colon",
            Self::Factor(Factor::Wrong) => "the token is good, and the code is wrong or was used before",
            Self::Locked(_) => "too many wrong codes for this person",
        }
    }

    /// Which failure of several is the answer (contract, section 2, step 5).
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Invalid(_) => 1,
            Self::Factor(_) => 2,
            Self::ClaimMissing => 3,
            Self::Unavailable(_) => 4,
            Self::Expired => 5,
            Self::Locked(_) => 6,
        }
    }

    pub(super) fn deny(self) -> Deny {
        let code = match self {
            // A success never gets here; if it did, refusing is the only safe answer.
            Self::Verified | Self::Invalid(_) | Self::Factor(_) => Code::InvalidToken,
            Self::ClaimMissing => Code::ClaimMissing,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Expired => Code::ExpiredToken,
            Self::Locked(_) => Code::TooManyFailures,
        };
        let (factor, limited) = match self {
            Self::Factor(factor) => (Some(factor), None),
            Self::Locked(limited) => (None, Some(limited)),
            _ => (None, None),
        };
        Deny { factor, limited, ..Deny::new(code, self.detail()) }
    }
}
