//! Recognises private and symmetric keys where public ones belong, so that a document can be refused by name instead of being kept.

use serde_json::{Map, Value};

/// Members that only private or symmetric keys have (RFC 7518 sections 6.2.2, 6.3.2, 6.4; RFC 8037 section 2).
const SECRET_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Every PEM label of a private key ends like this (RFC 7468 sections 10 and 11, and the older forms).
const PEM_LABEL_END: &[u8] = b"PRIVATE KEY-----";

/// Whether the document holds a private or symmetric key: a JWK, a JWK Set, or PEM. What cannot be read holds none that anybody
/// could use.
pub fn looks_private(document: &[u8]) -> bool {
    if document.windows(PEM_LABEL_END.len()).any(|window| window == PEM_LABEL_END) {
        return true;
    }
    let Ok(Value::Object(document)) = serde_json::from_slice(document) else { return false };
    is_private(&document) || entries(&document).any(is_private)
}

/// Whether one JWK is private or symmetric.
pub(super) fn is_private(jwk: &Map<String, Value>) -> bool {
    jwk.contains_key("kty") && SECRET_MEMBERS.iter().any(|name| jwk.contains_key(*name))
}

fn entries(document: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    document.get("keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}
