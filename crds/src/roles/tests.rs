//! Locks who gets which role, and which expressions are too much.

use serde_json::json;

use super::*;

fn claims(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn rules(expression: Option<&str>, globs: &[(&str, &[&str])], otherwise: Option<&str>) -> RoleRules {
    let globs: Vec<_> =
        globs.iter().map(|(role, all)| ((*role).into(), Globs::parse(all.iter().copied()).unwrap())).collect();
    let known = globs
        .iter()
        .map(|(role, _): &(Box<str>, Globs)| role.clone())
        .chain(["editor".into(), "admin".into()])
        .collect();
    RoleRules {
        expression: expression.map(|text| RoleExpression::parse(text).unwrap()),
        globs,
        otherwise: otherwise.map(Into::into),
        known,
    }
}

#[test]
fn the_expression_then_the_globs_then_otherwise() {
    let qaynaq = rules(
        Some("contains(groups[], 'ops') && 'Admin' || contains(groups[], 'bots') && 'MCP' || role"),
        &[("admin", &["*@corp.test", "boss@*"]), ("mcp", &["agent-?@corp.test", "bot-[0-9]@*"])],
        None,
    );
    for (own, email, roles) in [
        (json!({"groups": ["ops"]}), Some("x@else.test"), vec!["admin"]),
        (json!({"groups": ["bots"]}), Some("x@corp.test"), vec!["mcp"]),
        (json!({"groups": ["bots", "ops"]}), None, vec!["admin"]),
        // The words are exact: whoever writes a claim cannot become admin by another spelling.
        (json!({"groups": [], "role": "Admin"}), None, vec!["admin"]),
        (json!({"groups": [], "role": "admin"}), None, vec![]),
        (json!({"groups": [], "role": "ADMIN"}), None, vec![]),
        (json!({"groups": [], "role": "mcp"}), None, vec![]),
        (json!({"groups": [], "role": "editor"}), None, vec!["editor"]),
        (json!({"groups": [], "role": "stranger"}), Some("bot-7@x.test"), vec!["mcp"]),
        (json!({"groups": [], "role": 7}), Some("BOSS@else.test"), vec!["admin"]),
        (json!({"groups": [], "role": ["Admin"]}), None, vec![]),
        // `contains` of nothing is an error: the globs speak.
        (json!({}), Some("agent-1@CORP.test"), vec!["admin", "mcp"]),
        (json!({"groups": "ops"}), Some("x@corp.test.evil"), vec![]),
        (json!({}), Some("bot-77@x.test"), vec![]),
        (json!({}), Some(""), vec![]),
        (json!({}), None, vec![]),
    ] {
        let given = qaynaq.roles(&claims(&own), email);
        assert_eq!(given.iter().map(|one| &**one).collect::<Vec<_>>(), roles, "{own} {email:?}");
    }
}

#[test]
fn otherwise_is_for_everybody_else() {
    let open = rules(None, &[("mcp", &["*@bots.test"])], Some("admin"));
    assert_eq!(open.roles(&Map::new(), Some("a@bots.test")), ["mcp".into()]);
    assert_eq!(open.roles(&Map::new(), Some("a@people.test")), ["admin".into()]);
    assert_eq!(open.roles(&Map::new(), None), ["admin".into()]);
    assert!(rules(None, &[("admin", &["*"])], None).roles(&Map::new(), None).is_empty(), "a star is no address");
    assert!(
        RoleRules::default().roles(&claims(&json!({"role": "Admin"})), Some("a@b")).is_empty(),
        "nothing set: no role"
    );
}

#[test]
fn globs_mean_what_they_say() {
    for (pattern, address, matches) in [
        ("a@b.test", "A@B.TEST", true),
        ("a@b.test", "xa@b.test", false),
        ("a@b.test", "a@bxtest", false),
        ("*@b.test", "a/b@b.test", true),
        ("?@b.test", "ab@b.test", false),
        ("[!a]@b.test", "a@b.test", false),
        ("[a-c]@b.test", "B@b.test", true),
        ("a{b,c}@d.test", "a{b,c}@d.test", true),
        ("a{b,c}@d.test", "ab@d.test", false),
        ("[{a]{b}@d.test", "a{b}@d.test", true),
        ("[{a]{b}@d.test", "{b@d.test", false),
        ("\\{a,b}@d.test", "{a,b}@d.test", true),
        ("\\*@b.test", "a@b.test", false),
        ("\\*@b.test", "*@b.test", true),
        // Only ASCII letters have two cases: the Kelvin sign is no k.
        ("k@b.test", "\u{212a}@b.test", false),
    ] {
        assert_eq!(Globs::parse([pattern]).unwrap().match_any(address), matches, "{pattern} {address}");
    }
    for bad in ["[a@b", "[z-a]@b"] {
        let error = Globs::parse(["*", bad]).unwrap_err();
        assert_eq!(error.index, 1, "{bad}");
    }
}

#[test]
fn an_expression_cannot_cost_more_than_it_should() {
    let many = |part: &str, count: usize, joint: &str| vec![part; count].join(joint);
    for (text, good) in [
        ("'MCP'".to_owned(), true),
        ("email == 'a@b' && 'Admin' || `null`".to_owned(), true),
        ("groups[?starts_with(@, 'role-')] | [0]".to_owned(), true),
        ("join(', ', groups)".to_owned(), true),
        ("a.b.c[0].d[*].e[]".to_owned(), true),
        (many("contains(groups, 'one') && 'Admin'", 20, " || "), true),
        (many("[@,@]", 6, "|"), true),
        (many("[@,@]", 7, "|"), false),
        (many("[@,@][]", 60, "|"), false),
        (many("{a:@,b:@}", 60, "|"), false),
        ("to_string(to_string(to_string(@)))".to_owned(), false),
        ("join(a, b)".to_owned(), false),
        (format!("join('{}', b)", "x".repeat(64)), false),
        ("map(&[@,@], [a,b,c,d])".to_owned(), true),
        (many("[*]", 129, ""), false),
        ("a[2147483647]".to_owned(), false),
        ("a[-2147483648]".to_owned(), false),
        ("a[::-2000000]".to_owned(), false),
        ("a[".to_owned(), false),
        (String::new(), false),
        ("shout('a')".to_owned(), false),
        ("x".repeat(1025), false),
        ("(".repeat(1024), false),
        ("!".repeat(1024), false),
        ("&".repeat(1024), false),
        ("[".repeat(1024), false),
        ("a.".repeat(511) + "a", true),
        (many("a", 255, "||"), true),
    ] {
        assert_eq!(RoleExpression::parse(&text).is_ok(), good, "{text}");
    }
    // The deepest that is taken evaluates on a small stack.
    let deep = RoleExpression::parse(&("a.".repeat(511) + "a")).unwrap();
    assert_eq!(deep.text(&claims(&json!({"a": {"a": 1}}))), None);
}

proptest::proptest! {
    /// Whatever stands in a document, and whatever an issuer signs, ends in a role, in none, or in a refusal of the document.
    #[test]
    fn no_expression_and_no_claims_panic(words in proptest::collection::vec(0..WORDS.len(), 1..24), value in "[\\x20-\\x7eé\\\\]{0,12}", number: i64) {
        let text: String = words.iter().map(|index| WORDS[*index]).collect();
        if let Ok(expression) = RoleExpression::parse(&text) {
            let nested = json!([[value], [number, null, {"a": value}], "x", -1.5, true]);
            let _ = expression.text(&claims(&json!({"a": nested, "b": {"a": nested, "b": number}, "c": value})));
        }
        let _ = RoleExpression::parse(&value);
        if let Ok(globs) = Globs::parse([value.as_str()]) {
            let _ = globs.match_any(&value);
        }
    }
}

/// Pieces of expressions.
const WORDS: &[&str] = &[
    "a",
    "b",
    ".",
    "[",
    "]",
    "[*]",
    "[]",
    "[?",
    "@",
    "|",
    "||",
    "&&",
    "!",
    "(",
    ")",
    ",",
    "==",
    "<",
    "`1`",
    "'x'",
    "&",
    "*",
    "{a:",
    "}",
    "[0]",
    "[-1]",
    "[::-1]",
    "[1:2]",
    "sort_by(a, &@)",
    "max_by(a, &a)",
    "map(&[@], ",
    "sum(",
    "avg(",
    "to_number(",
    "to_string(",
    "length(",
    "reverse(",
    "sort(",
    "merge(b, ",
    "keys(",
    "values(",
    "join('-', ",
    "contains(a, ",
    "not_null(",
    "type(",
    "\"a\"",
    "abs(",
    "min(",
    "to_array(",
];
