//! What a UserInfo answer says (OpenID Connect Core 1.0, section 5.3.2).

use serde_json::{Map, Value};

use super::{Reply, introspection};

/// The words of a refusal.
pub const REFUSED: Reply = Reply::Refused("the UserInfo endpoint does not accept the token");

/// Reads an answer of status 200: claims about the person.
pub fn read(claims: Map<String, Value>) -> Reply {
    introspection::good(claims)
}
