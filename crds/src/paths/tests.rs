//! Locks the meaning of paths: spellings that attack it, and the rules of templates.

use super::*;

#[test]
fn canonical_paths() {
    for (target, path) in [
        ("/", "/"),
        ("/open?a=/../x", "/open"),
        ("/%61pp/x", "/app/x"),
        ("/app/%252e%252e/x", "/app/%2e%2e/x"),
        ("/assets/%C3%A4", "/assets/ä"),
        ("/a/", "/a/"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/assets/a;../x", "/assets/a;../x"),
        ("/...", "/..."),
        ("/open%20", "/open "),
        ("/a%3Fb", "/a?b"),
        ("/%25%32%65", "/%2e"),
        ("/admin.", "/admin."),
        ("/admin..json", "/admin..json"),
        ("/admin::$DATA", "/admin::$DATA"),
        ("/graph:StateSchema", "/graph:StateSchema"),
    ] {
        assert_eq!(CanonicalPath::parse(target).unwrap().as_str(), path, "{target}");
    }
}

#[test]
fn paths_that_servers_disagree_about() {
    use MalformedPath::*;
    for (target, why) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("http://a/x", NotAbsolute),
        ("/a/../b", DotSegment),
        ("/a/./b", DotSegment),
        ("/a/..", DotSegment),
        ("/%2e%2e/a", DotSegment),
        ("/.%2E/a", DotSegment),
        ("/a/..;/b", DotSegment),
        ("/a/.;v=1/b", DotSegment),
        ("/a/%2e%2e%3bv/b", DotSegment),
        ("//a", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a//", EmptySegment),
        ("/a%2Fb", Slash),
        ("/a%5cb", Slash),
        ("/a\\b", Slash),
        ("/a%00", Control),
        ("/a%0a", Control),
        ("/a%7f", Control),
        ("/a\u{7f}", Control),
        ("/a%zz", Escape),
        ("/a%4", Escape),
        ("/a%", Escape),
        ("/%ff%fe", Encoding),
        ("/%c0%af", Encoding),
        ("/a#b", Fragment),
    ] {
        assert_eq!(CanonicalPath::parse(target), Err(why), "{target}");
    }
}

#[test]
fn an_escape_that_is_left_is_seen() {
    for (target, expected) in [
        ("/assets/%252e%252e/admin", true),
        ("/assets/%25%32%65", true),
        ("/a%2525", true),
        ("/a%25C3%25A4", true),
        ("/100%25", false),
        ("/a%25zz", false),
        ("/a%254", false),
        ("/a%25/41", false),
        ("/assets/%C3%A4", false),
        ("/plain", false),
        ("/plain?a=%252e", false),
    ] {
        assert_eq!(CanonicalPath::parse(target).unwrap().holds_escape(), expected, "{target}");
    }
}

#[test]
fn templates() {
    for (template, target, expected) in [
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a/", "/a/", true),
        ("/a/", "/a", false),
        ("/", "/", true),
        ("/a/{**}", "/a", true),
        ("/a/{**}", "/a/", true),
        ("/a/{**}", "/a/b/c/", true),
        ("/a/{**}", "/ab", false),
        ("/{**}", "/", true),
        ("/{**}", "/x/y", true),
        ("/f/{name}/p", "/f/x/p", true),
        ("/f/{*}/p", "/f/x/p", true),
        ("/f/{name}/p", "/f/x/y/p", false),
        ("/f/{name}/p", "/f/x/p/", false),
        ("/f/{name}", "/f/", false),
        ("/A", "/a", false),
        ("/v1/graph:StateSchema", "/v1/graph:StateSchema", true),
    ] {
        let path = CanonicalPath::parse(target).unwrap();
        assert_eq!(PathTemplate::parse(template).unwrap().matches(&path), expected, "{template} {target}");
    }
    for bad in ["", "a", "/a/{**}/b", "/a{b}", "/{", "/{}", "/{a b}", "/..", "/a//b", "/a?b", "/a\\b", "/.;x"] {
        assert!(PathTemplate::parse(bad).is_err(), "{bad}");
    }
    for good in ["/a;v/b", "/a_b/{a_b}/{a-b}/{a9}", "/a/"] {
        assert_eq!(PathTemplate::parse(good).unwrap().to_string(), good);
        assert_eq!(String::from(PathTemplate::parse(good).unwrap()), good);
    }
    for (bad, why) in [
        ("/a?b", "segment `a?b` can never match"),
        ("/a#b", "segment `a#b` can never match"),
        ("/a\tb", "can never match"),
        ("/..;x", "segment `..;x` can never match"),
        ("/a//b", "segment `` can never match"),
        ("/{a/b}", "segment `{a` is no template"),
        ("/{**}/a", "stands at the end only"),
        ("a", "begins with `/`"),
    ] {
        let told = PathTemplate::parse(bad).unwrap_err().to_string();
        assert!(told.contains(why), "{bad}: {told}");
    }
}

#[test]
fn a_variable_has_a_position() {
    let template = PathTemplate::parse("/a/{first}/b/{second}/{first}/{**}").unwrap();
    for (name, expected) in [("first", Some(1)), ("second", Some(3)), ("a", None), ("**", Some(5)), ("", None)] {
        assert_eq!(template.position(name), expected, "{name}");
    }
}

#[test]
fn segments_are_what_stands_between_slashes() {
    let segments = |target| CanonicalPath::parse(target).unwrap().segments().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(segments("/"), [""]);
    assert_eq!(segments("/a/b%20c/"), ["a", "b c", ""]);
}

#[test]
fn the_first_route_in_document_order_wins() {
    let template = |text| PathTemplate::parse(text).unwrap();
    let table = RouteTable::new(vec![
        (vec![template("/files/{name}/public"), template("/exact")], ("one", true)),
        (vec![template("/both")], ("two", false)),
        (vec![template("/{any}/b")], ("three", true)),
        (vec![template("/both"), template("/files/{**}"), template("/exact")], ("four", true)),
        (vec![template("/{**}")], ("five", true)),
    ]);
    for (target, expected) in [
        ("/files/a/public", "one"),
        ("/exact", "one"),
        ("/both", "four"),
        ("/files/b", "three"),
        ("/files/b/c", "four"),
        ("/z", "five"),
    ] {
        let found = table.find(&CanonicalPath::parse(target).unwrap(), |route| route.1).unwrap();
        assert_eq!(found.0, expected, "{target}");
    }
}

/// What a table finds does not depend on it, but how long that takes does.
#[test]
fn templates_are_indexed_by_what_is_fixed_in_them() {
    for (template, literal, first) in [
        ("/a/b", Some("/a/b"), Some("a")),
        ("/a/{x}", None, Some("a")),
        ("/a/{**}", None, Some("a")),
        ("/{x}/b", None, None),
        ("/{**}", None, None),
    ] {
        assert_eq!(template::is_literal(template).then_some(template), literal, "{template}");
        assert_eq!(template::first_literal(template), first, "{template}");
    }
    let routes = ["/b", "/a/{x}", "/{**}"].map(|path| (vec![PathTemplate::parse(path).unwrap()], path));
    let table = RouteTable::new(routes.to_vec());
    assert_eq!(table.iter().copied().collect::<Vec<_>>(), ["/b", "/a/{x}", "/{**}"]);
}

/// The index sorts templates; whoever reads the table sees the document.
#[test]
fn a_table_is_shown_as_it_was_written() {
    let table = [&["/{**}", "/b", "/a/{x}", "/a"][..], &[], &["/a", "/{any}/b", "/"]]
        .map(|paths| (paths.iter().map(|path| PathTemplate::parse(path).unwrap()).collect(), serde_json::json!({})));
    let shown = serde_json::to_value(RouteTable::new(table.to_vec())).unwrap();
    let expected = serde_json::json!([
        {"paths": ["/{**}", "/b", "/a/{x}", "/a"]},
        {"paths": []},
        {"paths": ["/a", "/{any}/b", "/"]},
    ]);
    assert_eq!(shown, expected);
}

proptest::proptest! {
    /// An index finds what looking at every route in order would find.
    #[test]
    fn an_index_changes_nothing(
        routes in proptest::collection::vec((proptest::collection::vec(template(), 0..4), proptest::bool::ANY), 0..12),
        path in proptest::collection::vec("[abc]", 1..4),
    ) {
        let text = format!("/{}", path.join("/"));
        let path = CanonicalPath::parse(&text).unwrap();
        let linear = routes.iter().enumerate().find(|(_, (templates, taken))| {
            *taken && templates.iter().any(|one| PathTemplate::parse(one).unwrap().matches(&path))
        });
        let compiled = routes.iter().enumerate().map(|(number, (templates, taken))| {
            (templates.iter().map(|one| PathTemplate::parse(one).unwrap()).collect(), (number, *taken))
        });
        let found = RouteTable::new(compiled.collect()).find(&path, |route| route.1).map(|route| route.0);
        proptest::prop_assert_eq!(found, linear.map(|(number, _)| number));
    }
}

fn template() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy;
    let segments = proptest::collection::vec("[abc]|\\{x\\}", 1..4);
    (segments, proptest::bool::ANY)
        .prop_map(|(segments, open)| format!("/{}{}", segments.join("/"), if open { "/{**}" } else { "" }))
}
