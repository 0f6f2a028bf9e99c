use proptest::prelude::*;
use serde_json::json;

use super::*;

fn checker(schema: Value) -> Checker {
    Checker::new(serde_json::from_value(schema).unwrap(), Gaps::NONE)
}

fn said(schema: &Value, document: &Value) -> Vec<String> {
    checker(json!({"type": "object", "properties": {"a": schema}}))
        .check(&json!({ "a": document }))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn types_say_what_was_expected_and_found() {
    for (expected, value, message) in [
        ("array", json!("x"), "a: must be a list; got the text `x`: write [x]"),
        ("array", json!({}), "a: must be a list; got a map"),
        ("object", json!([]), "a: must be a map of fields; got a list"),
        ("string", json!(true), "a: must be a text; got the truth value `true`: put it in quotes"),
        ("string", json!([]), "a: must be a text; got a list"),
        ("boolean", json!("true"), "a: must be true or false; got the text `true`"),
        ("integer", json!(1.5), "a: must be a whole number; got the number `1.5`"),
        ("number", json!("1"), "a: must be of type number; got the text `1`"),
    ] {
        assert_eq!(said(&json!({ "type": expected }), &value), [message]);
    }
    for (expected, value) in [
        ("integer", json!(1.0)),
        ("integer", json!(-1)),
        ("number", json!(1.5)),
        ("array", json!(null)),
        ("boolean", json!(false)),
    ] {
        assert_eq!(said(&json!({ "type": expected }), &value), [""; 0], "{expected} {value}");
    }
}

#[test]
fn bounds_hold_on_both_sides() {
    let text = json!({"type": "string", "minLength": 2, "maxLength": 3});
    let list = json!({"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}});
    let number = json!({"type": "integer", "minimum": 1, "maximum": 5});
    let strict =
        json!({"type": "number", "minimum": 1, "maximum": 5, "exclusiveMinimum": true, "exclusiveMaximum": true});
    let map =
        json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "integer"}});
    for (schema, good, bad) in [
        (&text, vec![json!("ab"), json!("äöü")], vec![json!("a"), json!("abcd"), json!("")]),
        (&list, vec![json!([1]), json!([1, 1])], vec![json!([]), json!([1, 2, 3]), json!(["x"]), json!([null])]),
        (&number, vec![json!(1), json!(5)], vec![json!(0), json!(6)]),
        (&strict, vec![json!(1.1), json!(4.9)], vec![json!(1), json!(5)]),
        (
            &map,
            vec![json!({"x": 1}), json!({"x": 1, "y": null})],
            vec![json!({}), json!({"x": 1, "y": 2}), json!({"x": "1"})],
        ),
    ] {
        for value in good {
            assert_eq!(said(schema, &value), [""; 0], "{value}");
        }
        for value in bad {
            assert_eq!(said(schema, &value).len(), 1, "{value}");
        }
    }
}

#[test]
fn unknown_fields_are_named_with_what_was_meant() {
    let schema = checker(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "audiences": {"type": "array", "items": {"type": "string"}}, "jwksURI": {"type": "string"}, "issuer": {"type": "string"},
    }}}}));
    for (wrong, message) in [
        ("audience", "unknown field; did you mean `audiences`?"),
        ("jwks_uri", "unknown field; did you mean `jwksURI`?"),
        ("JwksUri", "unknown field; did you mean `jwksURI`?"),
        ("isuser", "unknown field; did you mean `issuer`?"),
        ("limits", "unknown field; known here: audiences, issuer, jwksURI"),
    ] {
        let problems = schema.check(&json!({"spec": {wrong: 1}}));
        assert_eq!(
            problems,
            [Problem { path: format!("spec.{wrong}"), message: message.to_owned(), kind: ProblemKind::Unknown }]
        );
    }
}

#[test]
fn members_of_every_object_and_of_the_status_are_left_alone_at_the_root_only() {
    let schema = checker(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {}}, "status": {"type": "object"}}}),
    );
    assert_eq!(schema.check(&json!({"apiVersion": 1, "kind": [], "metadata": {"x": 1}, "status": {"y": 1}})), []);
    assert_eq!(schema.check(&json!({"spec": {"metadata": {}}}))[0].message, "unknown field; nothing can be set here");
}

#[test]
fn what_is_not_built_is_unsupported() {
    fn is_gap(path: &str) -> bool {
        path == "list[].later"
    }
    let item = json!({"type": "object", "properties": {"word": {"type": "string", "enum": ["Now"]}}});
    let schema =
        serde_json::from_value(json!({"type": "object", "properties": {"list": {"type": "array", "items": item}}}))
            .unwrap();
    let checker = Checker::new(schema, Gaps { field: is_gap });
    let problems = checker.check(&json!({"list": [{"word": "Now"}, {"later": {"x": 1}}, {"word": "Never"}]}));
    let told: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.kind)).collect();
    assert_eq!(told, [("list[1].later", ProblemKind::Unsupported), ("list[2].word", ProblemKind::Invalid)]);
    assert_eq!(problems[1].message, "must be one of Now; got `Never`");
}

#[test]
fn sets_hold_every_entry_once() {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    assert_eq!(said(&set, &json!(["a", "b", "a", "a"])).len(), 2);
    assert_eq!(said(&json!({"type": "array", "items": {"type": "string"}}), &json!(["a", "a"])), [""; 0]);
}

#[test]
fn a_pattern_that_cannot_be_read_refuses() {
    assert_eq!(said(&json!({"type": "string", "pattern": "("}), &json!("x")).len(), 1);
    assert_eq!(said(&json!({"type": "string", "pattern": "^a+$"}), &json!("aa")), [""; 0]);
    assert_eq!(said(&json!({"type": "string", "pattern": "^a+$"}), &json!("aa\n")).len(), 1);
}

#[test]
fn hostile_documents_get_a_short_and_harmless_answer() {
    let many: serde_json::Map<String, Value> =
        (0..5000).map(|index| (format!("{index}\n\u{1b}[31m{}", "x".repeat(9000)), json!(1))).collect();
    let problems = checker(json!({"type": "object", "properties": {}})).check(&Value::Object(many));
    assert_eq!(problems.len(), MOST);
    for problem in &problems {
        assert!(problem.to_string().len() < 200 && !problem.to_string().contains(char::is_control), "{problem}");
    }
    let long = said(&json!({"type": "string", "enum": ["A"]}), &json!("b".repeat(9000)));
    assert_eq!(long, [format!("a: must be one of A; got `{}…`", "b".repeat(40))]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// One value anywhere in a good policy is exchanged: the checks answer, always the same, and what they take the types read.
    #[test]
    fn checks_are_total_and_never_laxer_than_the_types(at in 0_usize..1000, other in any_json()) {
        let mut document: Value = serde_yaml::from_str(include_str!("../../tests/every.yaml")).unwrap();
        let pointers = pointers(&document["spec"], "/spec");
        *document.pointer_mut(&pointers[at % pointers.len()]).unwrap() = other;
        let problems = crate::v1alpha1::check(&document);
        prop_assert_eq!(&problems, &crate::v1alpha1::check(&document));
        let read = serde_json::from_value::<crate::v1alpha1::AuthPolicy>(document);
        prop_assert!(!problems.is_empty() || read.is_ok(), "{:?}", read.err());
    }
}

/// JSON pointers of everything below `value`.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    let inside = below.into_iter().flat_map(|(step, value)| pointers(value, &format!("{at}/{step}")));
    std::iter::once(at.to_owned()).chain(inside).collect()
}
