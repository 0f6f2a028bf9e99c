//! The questions to services of the policy's owner, and what their answers say. The schema is in `docs/remote.md`.

use crds::secret::Secret;
use serde_json::{Map, Value, json};

use super::{Ownership, Reply, Standing, introspection};
use crate::principal::{CallerKind, Principal};

/// The question whose a credential is.
pub fn credential_question(policy: &str, authenticator: &str, credential: &str, headers: &[(&str, String)]) -> Secret {
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    body(&json!({"policy": policy, "authenticator": authenticator, "credential": credential, "headers": headers}))
}

/// The question whether a caller is still active, and what he may do.
pub fn caller_question(policy: &str, principal: &Principal) -> Secret {
    body(&json!({"policy": policy, "principal": person(principal)}))
}

/// The question whose a resource is.
pub fn owner_question(policy: &str, route: &str, resource: &str, principal: &Principal) -> Secret {
    body(&json!({"policy": policy, "route": route, "resource": resource, "principal": person(principal)}))
}

fn body(question: &Value) -> Secret {
    Secret::new(question.to_string().into_bytes())
}

fn person(principal: &Principal) -> Value {
    json!({
        "type": CallerKind::Proven(principal.kind).as_str(),
        "authenticator": &*principal.authenticator,
        "issuer": principal.issuer,
        "subject": principal.subject,
        "user": principal.user,
        "email": principal.email,
        "name": principal.name,
        "roles": principal.roles,
        "scopes": principal.scopes,
        "claims": principal.claims,
    })
}

/// `{"authenticated": true, "claims": {…}}` or `{"authenticated": false}`, the latter with `"reason": "expired"` where that is why.
pub fn credential(mut answer: Map<String, Value>) -> Reply {
    match (answer.remove("authenticated"), answer.remove("claims"), answer.remove("reason")) {
        (Some(Value::Bool(true)), Some(Value::Object(claims)), None) => introspection::good(claims),
        (Some(Value::Bool(false)), None, None) => Reply::Refused("the service says that the credential is not good"),
        (Some(Value::Bool(false)), None, Some(Value::String(reason))) => match reason.as_str() {
            "expired" => Reply::Expired,
            "invalid" => Reply::Refused("the service says that the credential is not good"),
            _ => Reply::SHAPE,
        },
        _ => Reply::SHAPE,
    }
}

/// `{"active": true, "roles": […], "scopes": […]}`, both lists optional.
pub fn caller(answer: &Map<String, Value>) -> Reply {
    let Some(Value::Bool(active)) = answer.get("active") else { return Reply::SHAPE };
    match (names(answer, "roles"), names(answer, "scopes")) {
        (Ok(roles), Ok(scopes)) => Reply::Standing(Standing { active: *active, roles, scopes }),
        _ => Reply::SHAPE,
    }
}

/// `{"owner": true}`, `{"owner": false}`, or `{"owner": null}` for a resource that the service does not know.
pub fn owner(answer: &Map<String, Value>) -> Reply {
    match answer.get("owner") {
        Some(Value::Bool(true)) => Reply::Owner(Ownership::Caller),
        Some(Value::Bool(false)) => Reply::Owner(Ownership::Other),
        Some(Value::Null) => Reply::Owner(Ownership::Unknown),
        _ => Reply::SHAPE,
    }
}

/// A list of names, none of them empty; absent or null: the service says nothing about them.
fn names(answer: &Map<String, Value>, name: &str) -> Result<Option<Vec<Box<str>>>, ()> {
    match answer.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(all)) => {
            let text = |one: &Value| one.as_str().filter(|text| !text.is_empty()).map(Into::into).ok_or(());
            all.iter().map(text).collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(()),
    }
}
