//! The kind `clientCertificate`: the name in the certificate that Envoy verified. Only from the connection: the same text anywhere else
//! in a request is the client's own word.

use crds::snapshot::{Authenticator, ClientCertificates};
use serde_json::{Map, Value};

use super::{
    authenticate::{Failed, Good, Presented, named},
    outcome::Outcome,
};

/// SPIFFE ID, section 2.3.
const MAX_SPIFFE_BYTES: usize = 2048;
const MAX_DNS_BYTES: usize = 253;

/// A name that a certificate can have (RFC 5280 section 4.2.1.6).
enum Name<'a> {
    /// `spiffe://TRUST-DOMAIN/PATH`.
    Spiffe { trust_domain: &'a str },
    /// Another URI.
    Uri,
    /// A DNS name.
    Dns,
}

/// Certificates only.
pub(super) fn takes(presented: &Presented<'_>) -> bool {
    presented.is_certificate
}

pub(super) fn verify(
    rules: &ClientCertificates,
    authenticator: &Authenticator,
    presented: &Presented<'_>,
) -> Result<Good, Failed> {
    let name = Name::read(presented.text)
        .ok_or(Outcome::Invalid("the certificate has neither a URI nor a DNS name that could be a caller's"))?;
    if let Some(accepted) = &rules.trust_domains {
        let Name::Spiffe { trust_domain } = name else {
            return Err(Outcome::Invalid("the name in the certificate is no SPIFFE ID").into());
        };
        if !accepted.iter().any(|own| **own == *trust_domain) {
            return Err(Outcome::Invalid("the SPIFFE ID is of another trust domain").into());
        }
    }
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), presented.text.into());
    if let Name::Spiffe { trust_domain } = name {
        claims.insert("trust_domain".to_owned(), Value::from(trust_domain));
    }
    let principal = named(&claims, authenticator, None)?;
    // The proxy looked at its dates when the connection began, and speaks for as long as it lasts.
    Ok(Good { principal, ends_ms: None, keep_until_ms: None, key: None })
}

// === impl Name ===

impl<'a> Name<'a> {
    /// What the proxy sends where there is neither URI nor DNS name is the distinguished name, which anybody may read in several ways:
    /// no caller.
    fn read(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("spiffe://") {
            return spiffe(text, rest).map(|trust_domain| Self::Spiffe { trust_domain });
        }
        // The scheme counts without regard to case, and a SPIFFE ID has it in lower case only.
        if let Some((scheme, rest)) = text.split_once(':') {
            let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && !scheme.eq_ignore_ascii_case("spiffe");
            let plain = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
            return (named && plain && text.len() <= MAX_SPIFFE_BYTES).then_some(Self::Uri);
        }
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        (text.len() <= MAX_DNS_BYTES && text.split('.').all(label)).then_some(Self::Dns)
    }
}

/// The trust domain of a SPIFFE ID in the one form that the standard allows (sections 2.1 and 2.2).
fn spiffe<'a>(text: &str, rest: &'a str) -> Option<&'a str> {
    let (domain, path) = rest.split_once('/')?;
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let in_segment = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let segment = |one: &str| !matches!(one, "" | "." | "..") && one.bytes().all(in_segment);
    let good = text.len() <= MAX_SPIFFE_BYTES
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.split('/').all(segment);
    good.then_some(domain)
}
