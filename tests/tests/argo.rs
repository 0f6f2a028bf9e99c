//! The health snippet for Argo CD in docs/kubernetes.md, run by a real Lua over policies in each state.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helper fails the test that calls it")]

use std::path::Path;

use mlua::{Lua, LuaSerdeExt};
use serde_json::{Value, json};

const KEY: &str = "resource.customizations.health.gatewright.dev_AuthPolicy";

/// The script, as `argocd-cm` would hold it.
fn snippet() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes.md");
    let page = std::fs::read_to_string(path).expect("docs/kubernetes.md");
    let block = page.split("```").find(|block| block.contains(KEY)).expect("a block with the snippet");
    let yaml: Value = serde_yaml::from_str(block.trim_start_matches("yaml")).expect("it is YAML");
    yaml[KEY].as_str().expect("a text").to_owned()
}

/// Status and message, as Argo CD reads them: the object is the global `obj`, and `cjson.null` and the like do not exist.
fn health(object: &Value) -> (String, String) {
    let lua = Lua::new();
    let options = mlua::SerializeOptions::new().serialize_none_to_null(false).set_array_metatable(false);
    let object = lua.to_value_with(object, options).expect("a table");
    lua.globals().set("obj", object).expect("a global");
    let result: mlua::Table = lua.load(snippet()).eval().expect("the script ends well");
    (result.get("status").expect("a status"), result.get("message").expect("a message"))
}

fn condition(kind: &str, status: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "observedGeneration": generation, "reason": format!("Because{kind}"), "message": "words"})
}

#[test]
fn each_state_has_its_health() {
    let of = |status: Value| json!({"metadata": {"name": "p", "generation": 3}, "status": status});
    let with = |conditions: Vec<Value>| of(json!({"conditions": conditions}));
    let (accepted, programmed) =
        (|status, at| condition("Accepted", status, at), |status, at| condition("Programmed", status, at));
    for (object, expected, words) in [
        (json!({"metadata": {"name": "p", "generation": 1}}), "Progressing", "Waiting"),
        (of(json!({})), "Progressing", "Waiting"),
        (with(vec![]), "Progressing", "Waiting"),
        (with(vec![accepted("True", 3), programmed("True", 3)]), "Healthy", "BecauseProgrammed"),
        (with(vec![accepted("True", 3), programmed("False", 3)]), "Progressing", "BecauseProgrammed"),
        (with(vec![accepted("False", 3), programmed("False", 3)]), "Degraded", "BecauseAccepted"),
        (with(vec![programmed("False", 3), accepted("False", 3)]), "Degraded", "BecauseAccepted"),
        // What was said of an older version counts for nothing, good or bad.
        (with(vec![accepted("True", 2), programmed("True", 2)]), "Progressing", "Waiting"),
        (with(vec![accepted("False", 2), programmed("False", 2)]), "Progressing", "Waiting"),
        (with(vec![accepted("True", 3), programmed("True", 2)]), "Progressing", "Waiting"),
    ] {
        let (status, message) = health(&object);
        assert_eq!(status, expected, "{object}");
        assert!(message.contains(words), "{object}: {message}");
    }
}
