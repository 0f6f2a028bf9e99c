//! A refusal because of an expression tells the author of the policy why, and never a value.

use super::*;

fn why(world: &World, path: &str, claims: serde_json::Value) -> String {
    let bearer = format!("Bearer {}", world.token(claims));
    match world.ask(&get(path, &[("authorization", &bearer)])).verdict {
        Verdict::Deny(deny) => deny.why().into_owned(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn an_expression_without_an_outcome_says_why() {
    let world = World::new(&policy(
        "routes:\n- {name: e, paths: [/e], require: {cel: 'principal.claims.level > 3'}}\n\
         - {name: h, paths: [/h], forward: {headers: [{name: x-h, cel: 'principal.claims.level'}]}}",
    ));
    let alice = |level: serde_json::Value| serde_json::json!({"sub": "alice", "level": level});
    assert_eq!(why(&world, "/e", alice(2.into())), "a condition does not hold");
    let missing = "there is no `level`; test with `in` or has() first";
    let nobody = serde_json::json!({"sub": "alice"});
    assert_eq!(why(&world, "/e", nobody.clone()), format!("a condition could not be evaluated: {missing}"));
    assert_eq!(why(&world, "/h", nobody), format!("a header expression failed: {missing}"));
    let typed = why(&world, "/e", alice("s3cret".into()));
    assert!(typed.starts_with("a condition could not be evaluated: ") && !typed.contains("s3cret"), "{typed}");
}
