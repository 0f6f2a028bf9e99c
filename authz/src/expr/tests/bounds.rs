//! Work and sizes stay within what was accepted, and nothing that was accepted breaks the interpreter.

use crds::expr::{Expr, MAX_ITEMS, MAX_ITEMS_NESTED, Place};
use proptest::prelude::*;
use serde_json::Value;

use super::{
    super::{Failure, condition, header_value},
    Case,
};

/// Pieces and texts grow no further than the estimate says, whatever the client sends.
#[test]
fn functions_are_bounded() {
    let commas = ",".repeat(255);
    let more = ",".repeat(256);
    let long = "a".repeat(9000);
    let failed = |function: &str| Err(Failure::Function { function: function.to_owned() });
    let case = |value| Case::alice().with("x", value);
    assert_eq!(case(commas.as_bytes()).holds("request.headers['x'].split(',').size() == 256"), Ok(true));
    assert_eq!(case(more.as_bytes()).holds("request.headers['x'].split(',').size() == 257"), failed("split"));
    assert_eq!(case(long.as_bytes()).holds("request.headers['x'].split('').size() == 1"), failed("split"));
    assert_eq!(case(long.as_bytes()).holds("request.headers['x'].replace('a', '1234567').size() == 63000"), Ok(true));
    assert_eq!(
        case(long.as_bytes()).holds("request.headers['x'].replace('a', '12345678').size() == 1"),
        failed("replace")
    );
    let joined = "['a', 'b', 'c'].join(request.headers['x'].replace('a', 'aaaaaa')).size() == 1";
    assert_eq!(case(long.as_bytes()).holds(joined), failed("join"));
}

/// The bound on work holds for so many entries; a longer list is refused even where the expression would forgive it.
#[test]
fn long_lists_are_refused() {
    let roles = |count: usize| {
        let mut case = Case::alice();
        let principal = case.principal.as_mut().unwrap();
        principal.roles = (0..count).map(|number| number.to_string().into()).collect();
        principal.claims.insert("groups".to_owned(), Value::from(vec![1; count]));
        case
    };
    let refused = |limit| Err(Failure::TooManyItems { limit });
    for list in ["principal.roles", "principal.claims.groups"] {
        let flat = format!("{list}.exists(r, r == 'x') || true");
        assert_eq!(roles(MAX_ITEMS).holds(&flat), Ok(true), "{list}");
        assert_eq!(roles(MAX_ITEMS + 1).holds(&flat), refused(MAX_ITEMS), "{list}");
        assert_eq!(
            roles(MAX_ITEMS + 1).header(&format!("{list}.size() == 0 || true ? 'a' : 'b'")),
            Err(Failure::TooManyItems { limit: MAX_ITEMS })
        );
        let nested = format!("{list}.exists(r, [1].exists(x, r == 'x')) || true");
        assert_eq!(roles(MAX_ITEMS_NESTED).holds(&nested), Ok(true), "{list}");
        assert_eq!(roles(MAX_ITEMS_NESTED + 1).holds(&nested), refused(MAX_ITEMS_NESTED), "{list}");
    }
    // Claims that nobody reads do not count.
    assert_eq!(roles(MAX_ITEMS + 1).holds("principal.claims.sub == 'alice'"), Ok(true));
}

proptest! {
    /// Whatever is accepted can be evaluated; the interpreter's panics would show as `Broken`.
    #[test]
    fn accepted_expressions_do_not_break(source in expression(), anonymous: bool) {
        let case = if anonymous { Case::anonymous() } else { Case::alice().with("x", b"1") };
        if let Ok(expr) = Expr::parse(&source, Place::Condition) {
            prop_assert!(case.see(|inputs| condition(&expr, inputs)) != Err(Failure::Broken), "{source}");
        }
        if let Ok(expr) = Expr::parse(&source, Place::Header) {
            prop_assert!(case.see(|inputs| header_value(&expr, inputs)) != Err(Failure::Broken), "{source}");
        }
    }
}

const LEAVES: &[&str] = &[
    "principal.email",
    "principal.type",
    "principal.name",
    "principal.roles",
    "principal.claims",
    "principal.claims.age",
    "principal.claims.realm",
    "principal.claims['groups']",
    "request.headers",
    "request.headers['x']",
    "request.headers[?'y']",
    "request.path",
    "traffic",
    "route",
    "has(principal.email)",
    "has(principal.claims.x)",
    "'a'",
    "''",
    "'é🦀'",
    "0",
    "-1",
    "9223372036854775807",
    "3u",
    "1.5",
    "1e308",
    "true",
    "null",
    "b'\\xff'",
    "[]",
    "[1, 'a']",
    "{}",
    "{'a': 1}",
    "{1: 2}",
    "optional.none()",
    "type(1)",
    "double('NaN')",
];

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(LEAVES).prop_map(str::to_owned);
    leaf.prop_recursive(4, 16, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (two.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in"]))
                .prop_map(|((a, b), operator)| format!("({a} {operator} {b})")),
            (inner.clone(), prop::sample::select(vec!["!", "-"])).prop_map(|(a, operator)| format!("{operator}({a})")),
            (inner.clone(), two.clone()).prop_map(|(a, (b, c))| format!("({a} ? {b} : {c})")),
            (
                two.clone(),
                prop::sample::select(vec![
                    "contains",
                    "startsWith",
                    "split",
                    "join",
                    "charAt",
                    "indexOf",
                    "lastIndexOf",
                    "substring",
                    "or",
                    "orValue"
                ])
            )
                .prop_map(|((a, b), method)| format!("({a}).{method}({b})")),
            ((inner.clone(), two), prop::sample::select(vec!["replace", "substring", "indexOf", "lastIndexOf"]))
                .prop_map(|((a, (b, c)), method)| format!("({a}).{method}({b}, {c})")),
            (
                inner.clone(),
                prop::sample::select(vec!["size", "trim", "reverse", "lowerAscii", "join", "value", "hasValue"])
            )
                .prop_map(|(a, method)| format!("({a}).{method}()")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "size",
                    "int",
                    "uint",
                    "double",
                    "string",
                    "bytes",
                    "bool",
                    "dyn",
                    "type",
                    "optional.of"
                ])
            )
                .prop_map(|(a, function)| format!("{function}({a})")),
            (
                inner.clone(),
                inner.clone(),
                prop::sample::select(vec!["exists", "all", "exists_one", "map", "filter", "optMap", "optFlatMap"])
            )
                .prop_map(|(a, b, each)| format!("({a}).{each}(x, x == {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a})[{b}]")),
        ]
    })
}
