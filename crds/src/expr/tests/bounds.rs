//! No source overflows a stack, panics, or gets more work accepted than is allowed.

use proptest::prelude::*;

use super::{
    super::{Expr, ExprError, MAX_DEPTH, MAX_ITEMS, MAX_ITEMS_NESTED, MAX_SOURCE, MAX_WORDS, Place},
    refusal,
};

#[test]
fn sizes_are_bounded() {
    let long = format!("traffic == '{}'", "a".repeat(MAX_SOURCE));
    assert_eq!(Expr::parse(&long, Place::Condition).err(), Some(ExprError::TooLong { bytes: MAX_SOURCE + 13 }));
    let words = format!("{}true", "!".repeat(MAX_WORDS));
    assert_eq!(Expr::parse(&words, Place::Condition).err(), Some(ExprError::TooManyWords { words: MAX_WORDS + 1 }));
    let terms = format!("{}true", "route == traffic || ".repeat(130));
    assert_eq!(Expr::parse(&terms, Place::Condition).err(), Some(ExprError::TooManyOperations));
    let pattern = format!("traffic.matches('{}')", "a".repeat(513));
    assert_eq!(
        refusal(&pattern, Place::Condition),
        "1:17: the pattern of `matches()` is unusable: it has 513 bytes, more than 512"
    );
    let accepted = format!("{}true", "route == '' || ".repeat(60));
    assert!(Expr::parse(&accepted, Place::Condition).is_ok());
}

/// Chains overflow the stack of the parser or of the interpreter, if anything lets them through.
#[test]
fn nesting_is_bounded() {
    let chains = [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("size(", "''", ")"),
        ("true?", "true", ":true"),
        ("1+", "1", ""),
        ("1<", "1", ""),
        ("!-", "1", ""),
        ("(", "true", ""),
        ("", "principal.claims", ".a"),
        ("", "principal.claims", "[0]"),
        ("", "route", ".trim()"),
        ("", "[1]", ".map(x,x)"),
    ];
    for (open, inner, close) in chains {
        for n in [40, 100, 130, 250, 500, MAX_WORDS, MAX_SOURCE] {
            let source = [open.repeat(n), inner.to_owned(), close.repeat(n)].concat();
            // Closed brackets are no operations; the parser bounds them alone.
            let harmless = (open, close) == ("(", ")") && n == 40;
            assert_eq!(Expr::parse(&source, Place::Header).is_ok(), harmless, "{n} times {open}{inner}{close}");
        }
    }
    let sum = |terms: usize| Expr::parse(&vec!["1"; terms].join(" + "), Place::Header).map(|_| ());
    assert_eq!(sum(MAX_DEPTH), Ok(()));
    assert_eq!(sum(MAX_DEPTH + 1), Err(ExprError::TooDeep));
}

#[test]
fn work_is_bounded() {
    let deep = "principal.roles.exists(a, principal.roles.exists(b, principal.roles.exists(c, a == c)))";
    assert_eq!(refusal(deep, Place::Condition), "1:75: loops (exists, all, map, …) are nested deeper than 2");
    let many = ["principal.roles.exists(r, r == 'a')"; 9].join(" && ");
    assert!(matches!(Expr::parse(&many, Place::Condition), Err(ExprError::TooManyLoops { .. })));
    let heavy = format!("principal.roles.all(a, principal.scopes.all(b, {}))", ["a != b"; 12].join(" && "));
    assert!(matches!(Expr::parse(&heavy, Place::Condition), Err(ExprError::TooMuchWork { .. })));
    assert!(matches!(
        Expr::parse("request.path.indexOf(request.headers['x']) == 1", Place::Condition),
        Err(ExprError::TooMuchWork { .. })
    ));
    // Each round makes eight of one.
    let mut growing = "request.path".to_owned();
    for _ in 0..3 {
        growing = format!("[{growing}].map(x, {})[0]", ["x"; 8].join("+"));
    }
    assert!(matches!(Expr::parse(&growing, Place::Header), Err(ExprError::TooLarge { .. })));
    for source in [
        "principal.roles.exists(r, principal.scopes.exists(s, s == r + ':read'))",
        "principal.roles.exists(r, r in principal.scopes)",
        "[principal.roles, principal.scopes].exists(l, 'admin' in l)",
        "request.headers.exists(h, h.startsWith('x-admin-'))",
        "request.path.split('/').filter(p, p != '').size() == 3",
        "principal.email.substring(principal.email.indexOf('@') + 1) == 'example.com'",
        "principal.roles.map(r, r.lowerAscii()).join(' ').replace('-', '_').contains('a')",
    ] {
        assert_eq!(Expr::parse(source, Place::Condition).map(|_| ()), Ok(()), "{source}");
    }
}

#[test]
fn nested_loops_read_shorter_lists() {
    let items = |source| Expr::parse(source, Place::Condition).unwrap().max_items();
    assert_eq!(items("principal.roles.exists(r, r == 'a')"), MAX_ITEMS);
    assert_eq!(items("principal.roles.exists(r, principal.scopes.exists(s, r == s))"), MAX_ITEMS_NESTED);
    assert_eq!(items("principal.roles.filter(r, r != '').exists(r, r == 'a')"), MAX_ITEMS);
}

proptest! {
    #[test]
    fn no_source_panics(source in ".{0,200}") {
        let _ = Expr::parse(&source, Place::Condition);
    }

    /// Text that is nearly CEL gets deeper than noise does.
    #[test]
    fn no_mixture_of_words_panics(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        for place in [Place::Condition, Place::Header] {
            if let Err(error) = Expr::parse(&words.concat(), place) {
                prop_assert!(!error.to_string().contains('\n'), "{error}");
                prop_assert!(error != ExprError::Parser, "{}", words.concat());
            }
        }
    }
}

const WORDS: &[&str] = &[
    "principal",
    "request",
    "traffic",
    "route",
    ".email",
    ".claims",
    ".headers",
    ".roles",
    "['x']",
    "[0]",
    "[?'x']",
    ".?a",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "?",
    " && ",
    " || ",
    "!",
    "-",
    " + ",
    " == ",
    " in ",
    " < ",
    "'a'",
    "\"b\"",
    "r'\\d'",
    "b'x'",
    "1",
    "2u",
    "1.5",
    "true",
    "null",
    "x",
    ".exists(x, ",
    ".map(x, ",
    ".all(x,",
    ".optMap(x, ",
    ".matches('a')",
    ".size()",
    "has(",
    "size(",
    "optional.of(",
    ".split(',')",
    "'",
    "\"",
    "\\",
    "`",
    "@",
    "//",
    "\n",
    " ",
    "é",
    "\u{1f980}",
    "'''",
    "A{",
    ".b",
    "..",
    "=",
    "&",
    "%",
    "*",
    "/",
];
