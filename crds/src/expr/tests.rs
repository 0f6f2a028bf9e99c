//! What is refused, with which words, and what is accepted.

mod bounds;

use super::{Expr, ExprError, Place};

fn refusal(source: &str, place: Place) -> String {
    match Expr::parse(source, place) {
        Ok(_) => format!("accepted: {source}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn refusals_name_the_place_and_the_remedy() {
    let table = [
        // Syntax.
        ("", "the expression is empty"),
        (" \n\t", "the expression is empty"),
        ("// only a comment", "1:18: the expression ends too early"),
        ("true &&", "1:8: the expression ends too early"),
        ("size('a'", "1:9: ')' is missing at the end"),
        ("traffic = 'internal'", "1:9: `=` is not CEL; compare with `==`"),
        ("true & false", "1:6: `&` is not CEL; write `&&`"),
        ("true | false", "1:6: `|` is not CEL; write `||`"),
        (
            "traffic == 'internal",
            r"1:12: this text has no closing quote, or a bad escape; write `\\` for a backslash, or r'…'",
        ),
        ("traffic == 'a' 'b'", "1:16: `'b'` does not belong here"),
        ("true\n  && traffic == ?", "2:17: `?` does not belong here"),
        ("a..b", "1:3: `..` does not belong here"),
        ("if", "1:1: reserved identifier: if"),
        ("has(principal)", "1:5: has() takes one field, as in has(principal.email)"),
        ("1 ? 2", "1:6: the expression ends too early"),
        // Variables.
        ("principle.email == ''", "1:1: there is no variable `principle`; did you mean `principal`?"),
        ("user == ''", "1:1: there is no variable `user`; there are principal, request, traffic, route"),
        (".principal.email == ''", "1:2: there is no variable `.principal`; did you mean `principal`?"),
        ("route == '' || trafic == ''", "1:16: there is no variable `trafic`; did you mean `traffic`?"),
        ("'é' == '' || trafic == ''", "1:14: there is no variable `trafic`; did you mean `traffic`?"),
        ("principal.roles.exists(r, s == 'a')", "1:27: there is no variable `s`; did you mean `r`?"),
        (
            "principal.roles.exists(r, r == 'a') && r == 'b'",
            "1:40: there is no variable `r`; there are principal, request, traffic, route",
        ),
        // Fields.
        ("principal.emial == ''", "1:11: `principal` has no field `emial`; did you mean `email`?"),
        (
            "principal.tenant == ''",
            "1:11: `principal` has no field `tenant`; there are type, issuer, subject, user, email, name, roles, scopes, claims",
        ),
        ("request.url == ''", "1:9: `request` has no field `url`; there are method, host, path, headers"),
        ("has(request.header)", "1:5: `request` has no field `header`; did you mean `headers`?"),
        (
            "principal == ''",
            "1:1: `principal` is no value itself; name one of its fields: type, issuer, subject, user, email, name, roles, scopes, claims",
        ),
        (
            "request['path'] == ''",
            "1:1: `request` is no value itself; name one of its fields: method, host, path, headers",
        ),
        ("principal.email.domain == ''", "1:17: `principal.email` is no map and has no member `domain`"),
        ("has(principal.roles.admin)", "1:5: `principal.roles` is no map and has no member `admin`"),
        ("traffic.kind == ''", "1:9: `traffic` is no map and has no member `kind`"),
        (
            "principal.?email.hasValue()",
            "1:10: fields are always there; write `principal.email`, or test it with has()",
        ),
        ("'X-Mode' in request.headers", "1:10: header names are lower case here; write `x-mode` instead of `X-Mode`"),
        (
            "request.headers['X-Mode'] == ''",
            "1:16: header names are lower case here; write `x-mode` instead of `X-Mode`",
        ),
        ("request.headers.Accept == ''", "1:16: header names are lower case here; write `accept` instead of `Accept`"),
        // Functions.
        ("principal.email.endsWit('x')", "1:17: there is no method `endsWit()`; did you mean `endsWith()`?"),
        ("lower(traffic) == ''", "1:1: there is no function `lower()`"),
        ("endsWith(traffic, 'x')", "1:1: there is no function `endsWith()`; it is a method, as in x.endsWith()"),
        ("traffic.bool()", "1:9: there is no method `bool()`; it is a function, as in bool(x)"),
        ("traffic.startsWith()", "1:9: `startsWith()` takes 1 argument"),
        ("traffic.substring(1, 2, 3) == ''", "1:9: `substring()` takes 1 or 2 arguments"),
        ("optional.some(1)", "1:10: there is no function `optional.some()`; did you mean `optional.none()`?"),
        ("traffic.format([1])", "1:9: there is no method `format()`"),
        ("principal.roles.exists('a')", "1:17: `exists()` takes a name and a condition, as in exists(x, x == 'a')"),
        ("duration('1s') == duration('1s')", "1:1: there is no function `duration()`"),
        ("google.Thing{a: 1}", "1:13: there is no message type `google.Thing`"),
        // Patterns.
        (
            "traffic.matches(route)",
            "1:17: the pattern of `matches()` must be a literal text, so that it is compiled once and no client chooses it",
        ),
        ("traffic.matches('(')", "1:17: the pattern of `matches()` is unusable: unclosed group"),
        (
            "matches(traffic, '[z-a]')",
            "1:18: the pattern of `matches()` is unusable: invalid character class range, the start must be <= the end",
        ),
        (
            "traffic.matches('a{1000}{1000}')",
            "1:17: the pattern of `matches()` is unusable: it is too large once compiled; repeat fewer times",
        ),
        // Results.
        (
            "principal.email",
            "a condition must be true or false, but this expression never is; compare it with something, as in `… == 'value'`",
        ),
    ];
    let wrong: Vec<_> = table
        .into_iter()
        .map(|(source, expected)| (source, expected, refusal(source, Place::Condition)))
        .filter(|(_, expected, actual)| expected != actual)
        .collect();
    assert!(wrong.is_empty(), "(source, expected, actual): {wrong:#?}");
}

#[test]
fn results_that_never_suit_are_refused() {
    let never_bool = [
        "'true'",
        "1",
        "null",
        "[true]",
        "{'a': true}",
        "principal.email",
        "principal.roles",
        "traffic + route",
        "size(traffic)",
        "traffic.lowerAscii()",
        "true ? 'a' : 'b'",
        "-1",
        "1 + 1",
        "principal.roles.map(r, r == 'a')",
        "optional.of(true)",
        "string",
        "request.headers[?'x']",
        "request.path.split('/')",
        "true ? null : 'x'",
    ];
    for source in never_bool {
        assert_eq!(Expr::parse(source, Place::Condition).err(), Some(ExprError::NeverBool), "{source}");
    }
    let maybe_bool = [
        "true",
        "principal.claims.admin",
        "request.headers['x'] == 'y'",
        "principal.claims['a'].b",
        "traffic == 'a' ? true : false",
        "principal.claims.a ? principal.claims.b : 'x'",
        "dyn(true)",
        "bool('true')",
        "[true][0]",
        "principal.roles.exists(r, r == 'a')",
        "principal.roles.exists_one(r, r == 'a')",
        "has(principal.email)",
        "has(request.path)",
        "!has(principal.claims.a.b)",
        "principal.claims.?a.orValue(false)",
        "-1 < 0",
    ];
    for source in maybe_bool {
        assert_eq!(Expr::parse(source, Place::Condition).map(|_| ()), Ok(()), "{source}");
    }
    for source in
        ["principal.roles", "principal.claims", "request.headers", "[1]", "{}", "request.path.split('/')", "type(1)"]
    {
        assert_eq!(Expr::parse(source, Place::Header).err(), Some(ExprError::NeverText), "{source}");
    }
    for source in
        ["principal.email", "1", "true", "null", "principal.roles.join(',')", "principal.claims.a", "traffic + '!'"]
    {
        assert_eq!(Expr::parse(source, Place::Header).map(|_| ()), Ok(()), "{source}");
    }
}

/// Names bound by a comprehension hide variables, types and the spaces of functions.
#[test]
fn bound_names_shadow() {
    for source in [
        "[{'a': 1}].exists(principal, principal.a == 1)",
        "[{'a': 1}].all(request, [1].exists(x, request.a == x))",
        "['a'].exists(traffic, traffic.size() == 1)",
        "['a'].exists(optional, optional.size() == 1)",
        "optional.of('a').optMap(string, string + 'b').hasValue()",
    ] {
        assert_eq!(Expr::parse(source, Place::Condition).map(|_| ()), Ok(()), "{source}");
    }
    // The range is outside of the scope.
    assert_eq!(
        refusal("x.exists(x, x)", Place::Condition),
        "1:1: there is no variable `x`; there are principal, request, traffic, route"
    );
}

#[test]
fn an_expression_shows_its_source_only() {
    let source = "principal.email.matches('^a$')";
    let one = Expr::parse(source, Place::Condition).unwrap();
    assert_eq!(format!("{one:?}"), format!("{source:?}"));
    assert_eq!(one.to_string(), source);
    assert_eq!(serde_json::to_value(&one).unwrap(), source);
    assert_eq!(one, Expr::parse(source, Place::Header).unwrap());
    assert_ne!(one, Expr::parse("principal.email.matches('^b$')", Place::Condition).unwrap());
    assert!(one.pattern(0).is_some() && one.pattern(1).is_none());
}

/// Every function that may be called is one of the environment: with values that it never takes, it complains about those.
#[test]
fn every_known_function_exists() {
    struct Nothing;
    impl cel::context::VariableResolver for Nothing {
        fn resolve<'b>(&'b self, _: &str) -> Option<cel::common::value::CowVal<'b, 'b>> {
            None
        }
    }
    for function in super::vocabulary::FUNCTIONS {
        if function.bounded.is_some() {
            continue;
        }
        let wanted = *function.arguments.start();
        let arguments = vec!["null"; wanted].join(", ");
        let source = if function.method {
            format!("null.{}({arguments})", function.name)
        } else {
            format!("{}({arguments})", function.name)
        };
        let expr = Expr::parse(&format!("dyn({source}) == 1"), Place::Condition).unwrap();
        let outcome = expr.evaluate(&Nothing, |outcome| outcome.map(|_| ()));
        assert!(!matches!(outcome, Err(cel::ExecutionError::UndeclaredReference(_))), "{source}: {outcome:?}");
    }
}
