//! A JWS whose payload is a set of claims (RFC 7519 section 7.2). Nothing in it is believed yet.

use serde_json::{Map, Value};

use super::{
    json,
    jws::{Header, Jws, Malformed},
};

/// A token in good form, not yet verified. Does not print what it holds.
pub struct Token<'a> {
    jws: Jws<'a>,
    claims: Map<String, Value>,
}

// === impl Token ===

impl<'a> Token<'a> {
    /// Reads a token of at most [`super::MAX_TOKEN_BYTES`]. What is refused here is refused whatever the keys and the policy are.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let jws = Jws::parse(text)?;
        let claims =
            json::object(jws.payload()).map_err(|_| Malformed("a payload that is not a strict JSON object"))?;
        Ok(Self { jws, claims })
    }

    /// The signed message.
    pub fn jws(&self) -> &Jws<'a> {
        &self.jws
    }

    /// The header.
    pub fn header(&self) -> &Header {
        self.jws.header()
    }

    /// What the token claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The issuer it claims; none if that is not non-empty text, which verification refuses.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str).filter(|issuer| !issuer.is_empty())
    }
}

impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").finish_non_exhaustive()
    }
}
