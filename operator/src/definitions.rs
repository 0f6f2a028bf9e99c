//! Whether the definitions of the cluster know every field that this build knows. Of a field that one does not know, the API server drops
//! what people write, and says nothing to us.
//!
//! ```text
//!  /openapi/v3: has the hash of ours changed? ─► /openapi/v3/apis/gatewright.dev/v1alpha1 ─► fields that it lacks ─► Troubles
//! ```
//!
//! Owns the comparison and its clock. Asks for what every account may read (`system:discovery`), so it needs no permission of its own.
//! Must never keep anything out of force, nor say anything of a policy: what was dropped from one is not to be known.

use std::{collections::BTreeSet, time::Duration};

use crds::v1alpha1::{API_VERSION, AUTH_POLICY, DATA_SOURCE, crds};
use serde_json::Value;
use tokio::time::sleep;
use tracing::debug;

use crate::{
    trouble::Troubles,
    watch::{Call, CallError},
};

/// How often it is looked whether a definition changed.
const LOOK: Duration = Duration::from_secs(15);
/// The list of what is served, with a hash of each.
const INDEX: &str = "/openapi/v3";
const JSON: &str = "application/json";

/// A kind as definitions and as metrics spell it, and its schema in this build.
struct Own {
    kind: &'static str,
    plural: &'static str,
    schema: Value,
}

/// Compares, whenever a definition changes. For ever.
pub async fn follow(call: Call, troubles: Troubles) {
    let own = own();
    // Its series are there before its first trouble.
    own.iter().for_each(|one| troubles.definition(one.plural, &BTreeSet::new()));
    let mut seen = None;
    loop {
        match look(&call, &own, &troubles, seen.as_deref()).await {
            Ok(url) => seen = url,
            // Whether the API server answers at all is told by whoever reads policies.
            Err(error) => debug!(%error, "the definitions are not compared"),
        }
        sleep(LOOK).await;
    }
}

/// Where the definitions are described now; `None`: nowhere, which is for the watches to tell.
async fn look(call: &Call, own: &[Own], troubles: &Troubles, seen: Option<&str>) -> Result<Option<String>, CallError> {
    let index = call.get(INDEX, JSON).await?;
    let described = index.get("paths").and_then(|paths| paths.get(format!("apis/{API_VERSION}")));
    let Some(url) = described.and_then(|one| one.get("serverRelativeURL")).and_then(Value::as_str) else {
        return Ok(None);
    };
    if seen != Some(url) {
        let served = call.get(url, JSON).await?;
        for Own { kind, plural, schema } in own {
            if let Some(served) = of_kind(&served, kind) {
                let mut lacks = BTreeSet::new();
                compare(schema, served, "", &mut lacks);
                troubles.definition(plural, &lacks);
            }
        }
    }
    Ok(Some(url.to_owned()))
}

fn own() -> Vec<Own> {
    let kinds = [(AUTH_POLICY, "authpolicies"), (DATA_SOURCE, "datasources")];
    let crds = crds();
    let own = kinds.into_iter().filter_map(|(kind, plural)| {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind)?;
        let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        Some(Own { kind, plural, schema: serde_json::to_value(schema).ok()? })
    });
    own.collect()
}

/// The schema of a kind in a description of OpenAPI.
fn of_kind<'a>(served: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = served.pointer("/components/schemas")?.as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|one| one.get("kind").and_then(Value::as_str) == Some(kind))
    })
}

/// Paths of fields that `own` has and `served` would drop. A field that is missing is told, and not those below it.
fn compare(own: &Value, served: &Value, path: &str, lacks: &mut BTreeSet<String>) {
    let keeps_all = served.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(true);
    let elsewhere =
        served.get("properties").is_none() && (served.get("$ref").is_some() || served.get("allOf").is_some());
    if keeps_all || elsewhere {
        return;
    }
    let any = served.get("additionalProperties").filter(|any| **any != Value::Bool(false));
    for (name, schema) in own.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match served.get("properties").and_then(|all| all.get(name)).or(any) {
            Some(served) => compare(schema, served, &at, lacks),
            None => drop(lacks.insert(at)),
        }
    }
    for (member, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(own), Some(served)) = (own.get(member), served.get(member)) {
            compare(own, served, &format!("{path}{mark}"), lacks);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lacking(own: &Value, served: &Value) -> Vec<String> {
        let mut lacks = BTreeSet::new();
        compare(own, served, "", &mut lacks);
        lacks.into_iter().collect()
    }

    #[test]
    fn this_build_lacks_nothing_of_itself() {
        let own = own();
        assert_eq!(own.len(), 2);
        for Own { kind, schema, .. } in own {
            assert!(
                schema.pointer("/properties/spec/properties").is_some_and(|spec| spec.as_object().unwrap().len() > 3)
            );
            assert_eq!(lacking(&schema, &schema), Vec::<String>::new(), "{kind}");
        }
    }

    #[test]
    fn what_is_dropped_is_named_once_and_what_is_kept_is_not() {
        let leaf = json!({"type": "string"});
        let own = json!({"properties": {
            "new": {"properties": {"below": leaf}},
            "list": {"items": {"properties": {"old": leaf, "new": leaf}}},
            "map": {"additionalProperties": {"properties": {"old": leaf, "new": leaf}}},
            "free": {"properties": {"any": leaf}},
            "other": {"properties": {"any": leaf}},
            "now-a-map": {"properties": {"any": leaf}},
        }});
        let old = json!({"properties": {"old": leaf}});
        let served = json!({"properties": {
            "list": {"items": old},
            "map": {"additionalProperties": old},
            "free": {"x-kubernetes-preserve-unknown-fields": true},
            "other": {"allOf": [{"$ref": "#/components/schemas/any"}]},
            "now-a-map": {"additionalProperties": leaf},
            "gone": leaf,
        }});
        assert_eq!(lacking(&own, &served), ["list[].new", "map.*.new", "new"]);
    }

    #[test]
    fn a_kind_is_found_by_what_it_is() {
        let kinds = |kind: &str| json!([{"group": "gatewright.dev", "kind": kind, "version": "v1alpha1"}]);
        let served = json!({"components": {"schemas": {
            "a": {"x-kubernetes-group-version-kind": kinds("AuthPolicyList")},
            "b": {"x-kubernetes-group-version-kind": kinds("AuthPolicy"), "type": "object"},
            "c": {"type": "object"},
        }}});
        assert_eq!(of_kind(&served, "AuthPolicy").unwrap()["type"], "object");
        assert!(of_kind(&served, "DataSource").is_none());
    }
}
