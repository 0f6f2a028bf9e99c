//! What a token introspection answer says (RFC 7662 section 2.2).

use crds::snapshot::Introspection;
use serde_json::{Map, Value};

use super::{Good, Reply};
use crate::jwt;

/// Reads an answer. Only the boolean `true` makes a token good; whatever else is wrong with an answer is the server's failure, not the
/// client's.
pub fn read(rules: &Introspection, mut answer: Map<String, Value>) -> Reply {
    match answer.remove("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => {
            return Reply::Refused("the authorization server says that the token is not active");
        }
        _ => return Reply::SHAPE,
    }
    let issuer = match answer.get("iss") {
        None => None,
        Some(Value::String(issuer)) if !issuer.is_empty() => Some(issuer.as_str()),
        Some(_) => return Reply::SHAPE,
    };
    if let (Some(own), Some(issuer)) = (rules.issuer.as_deref(), issuer)
        && own != issuer
    {
        return Reply::Refused("the answer is about a token of another issuer");
    }
    if let Some(accepted) = &rules.audiences {
        match jwt::audience_is_of(&answer, accepted) {
            Some(true) => {}
            Some(false) => return Reply::Refused("the token is for another audience"),
            None => return Reply::SHAPE,
        }
    }
    good(answer)
}

/// What every kind of answer about a good credential must keep.
pub fn good(claims: Map<String, Value>) -> Reply {
    let (Ok(starts_ms), Ok(ends_ms)) = (jwt::date_of(&claims, "nbf"), jwt::date_of(&claims, "exp")) else {
        return Reply::SHAPE;
    };
    if claims.contains_key("cnf") {
        return Reply::Refused("it is bound to a key whose proof this build does not check");
    }
    if claims.get("sub").is_some_and(|subject| subject.as_str().is_none_or(str::is_empty)) {
        return Reply::Refused("`sub` is not text");
    }
    Reply::Good(Good { claims, starts_ms, ends_ms })
}
