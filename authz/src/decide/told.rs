//! The word that counters, logs and traces have for a decision. Derived here and nowhere else, so that they never differ.

use crds::code::Code;

use super::{Decision, Verdict};

/// How counters, logs and traces tell of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It may pass, an answer of the policy's own included.
    Allow,
    /// It may not, and why.
    Deny(Code),
    /// It passes because its policy is on trial; what would have refused it.
    Audit(Code),
}

// === impl Decision ===

impl Decision {
    /// What is told of it.
    pub fn told(&self) -> Told {
        match (&self.verdict, &self.facts.audited) {
            (Verdict::Deny(deny), _) => Told::Deny(deny.code),
            (_, Some(deny)) => Told::Audit(deny.code),
            (Verdict::Allow(_) | Verdict::Answer(_), None) => Told::Allow,
        }
    }
}

// === impl Told ===

impl Told {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Audit(_) => "audit",
        }
    }

    /// Why, unless it was let in without a word.
    pub const fn code(self) -> Option<Code> {
        match self {
            Self::Allow => None,
            Self::Deny(code) | Self::Audit(code) => Some(code),
        }
    }
}
