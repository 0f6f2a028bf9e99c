//! What the API server of the cluster says about a token (`authentication.k8s.io/v1`, `TokenReview`).

use crds::{
    secret::Secret,
    snapshot::{AudienceRule, ServiceAccounts},
};
use serde_json::{Map, Value, json};

use super::{Good, Reply};

/// The body of a question about a token.
pub fn question(rules: &ServiceAccounts, token: &str) -> Secret {
    let audiences = audiences(rules);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences},
    });
    Secret::new(review.to_string().into_bytes())
}

/// Reads an answer. `ends_ms`: the end of the token's life, in milliseconds since the Unix epoch.
pub fn read(rules: &ServiceAccounts, answer: &Map<String, Value>, ends_ms: Option<i64>) -> Reply {
    let Some(Value::Object(status)) = answer.get("status") else { return Reply::SHAPE };
    match status.get("authenticated") {
        Some(Value::Bool(true)) => {}
        // The API server leaves out what is false.
        None | Some(Value::Bool(false)) => return Reply::Refused("the API server says that the token is not good"),
        Some(_) => return Reply::SHAPE,
    }
    let Some(user) = status.get("user").and_then(|user| user.get("username")?.as_str()) else { return Reply::SHAPE };
    // An answer without audiences is of a server that does not compare them: it would take a token that is meant for itself alone.
    let theirs = status.get("audiences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !audiences(rules).iter().any(|own| theirs.iter().any(|one| one.as_str() == Some(&**own))) {
        return Reply::Refused("the API server says that the token is for another audience");
    }
    let claims = Map::from_iter([("sub".to_owned(), user.into())]);
    Reply::Good(Good { claims, starts_ms: None, ends_ms })
}

fn audiences(rules: &ServiceAccounts) -> &[Box<str>] {
    match &rules.token.audiences {
        AudienceRule::AnyOf(all) => all,
        // Nothing compiles to this: a token for anybody is refused.
        AudienceRule::Disabled => &[],
    }
}
