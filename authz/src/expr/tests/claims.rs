//! Claims of tokens of ours: what JSON can carry, and nothing that was not meant.

use crds::expr::{Expr, Place};
use serde_json::{Value, json};

use super::{
    super::{Failure, claim_value},
    Case,
};

fn claim(case: &Case<'_>, source: &str) -> Result<Option<Value>, Failure> {
    let expr = Expr::parse(source, Place::Claim).unwrap_or_else(|error| panic!("{source}: {error}"));
    case.see(|inputs| claim_value(&expr, inputs))
}

#[test]
fn values_keep_their_type() {
    for (source, value) in [
        ("principal.subject", json!("alice")),
        ("principal.roles", json!(["admin", "dev"])),
        ("principal.claims.age", json!(42)),
        ("principal.claims.big", json!(u64::MAX)),
        ("principal.claims.ratio", json!(1.5)),
        ("principal.claims.admin", json!(true)),
        ("principal.claims.groups", json!(["a", "b"])),
        ("['a', 1, true]", json!(["a", 1, true])),
        ("[]", json!([])),
        ("''", json!("")),
    ] {
        assert_eq!(claim(&Case::alice(), source), Ok(Some(value)), "{source}");
    }
}

#[test]
fn what_is_unset_is_left_out() {
    for source in
        ["principal.name", "principal.scopes", "null", "principal.claims.nothing", "principal.claims[?'none']"]
    {
        assert_eq!(claim(&Case::alice(), source), Ok(None), "{source}");
    }
    assert_eq!(claim(&Case::anonymous(), "principal.subject"), Ok(None));
}

#[test]
fn what_json_readers_do_not_expect_is_refused() {
    for source in ["principal.claims.realm", "[principal.claims.groups]", "[null]", "1.0 / 0.0", "{'a': 1}"] {
        assert!(
            matches!(claim(&Case::alice(), source), Err(Failure::NotClaim { .. })),
            "{source}: {:?}",
            claim(&Case::alice(), source)
        );
    }
    assert!(matches!(claim(&Case::alice(), "principal.claims.none"), Err(Failure::Missing { .. })));
}
