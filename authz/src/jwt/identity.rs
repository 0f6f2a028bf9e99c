//! Rules about the person behind a principal (contract, section 2, step 6). What is absent or odd satisfies nothing.

use crds::snapshot::IdentityRequirements;
use serde_json::Value;

use crate::principal::Principal;

/// Whether the principal may come in. With both addresses and domains given, one match of either is enough.
pub fn admits(require: &IdentityRequirements, principal: &Principal) -> bool {
    let verified = principal.claims.get("email_verified") == Some(&Value::Bool(true));
    if require.verified_email && !verified {
        return false;
    }
    if require.emails.is_empty() && require.domains.is_empty() {
        return true;
    }
    let Some(address) = principal.email.as_deref().and_then(Address::parse) else { return false };
    require.emails.iter().any(|own| **own == *address.whole)
        || require.domains.iter().any(|own| **own == *address.domain())
}

/// An address of the plain form, in lower case: one `@`, and nothing that a mail system could read in two ways (quotes, comments,
/// blanks, control characters, letters outside ASCII that fold to ASCII ones).
struct Address {
    whole: String,
    at: usize,
}

// === impl Address ===

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !br#""(),:;<>[\]"#.contains(&byte);
        let (local, domain) = text.split_once('@')?;
        let good = !local.is_empty() && !domain.is_empty() && !domain.contains('@') && text.bytes().all(plain);
        good.then(|| Self { whole: text.to_ascii_lowercase(), at: local.len() })
    }

    fn domain(&self) -> &str {
        self.whole.get(self.at + 1..).unwrap_or_default()
    }
}
