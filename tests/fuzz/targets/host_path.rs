//! `HOST\nPATH\nMETHOD`: a request and its other spellings reach the same route of the same policy, or are refused; and a public path has
//! no second reading.
#![no_main]

use std::sync::LazyLock;

use authz::decide::{Decision, Verdict};
use authz::request::RequestView;
use crds::{
    code::Code,
    hosts::Host,
    paths::{CanonicalPath, PathTemplate, RouteTable},
};
use fuzz::World;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

/// In document order: the first that matches is the route.
const ROUTES: [&str; 12] = [
    "/open",
    "/open/",
    "/api/{**}",
    "/api/admin",
    "/f/{name}/p",
    "/f/{*}/{**}",
    "/{*}/p",
    "/f/x/p",
    "/a b",
    "/ä/{x}",
    "/",
    "/assets/{**}",
];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let routes: Vec<String> = ROUTES
        .iter()
        .enumerate()
        .map(|(index, path)| format!("{{name: r{index}, paths: ['{path}'], access: Public}}"))
        .collect();
    let policy = |name: &str, hosts: &str, more: &str| {
        format!(
            "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: n}}\nspec:\n  \
             externalHostnames: {hosts}\n  requireAuth: false\n  unmatched: NotFound\n  routes: [{}]\n  {more}\n---\n",
            routes.join(", ")
        )
    };
    World::new(
        &(policy("a", "[a.test, '*.sub.test']", "") + &policy("b", "[b.test, '*.deep.sub.test', x.sub.test]", "")),
    )
});

static TABLE: LazyLock<RouteTable<usize>> = LazyLock::new(|| {
    RouteTable::new(
        ROUTES.iter().enumerate().map(|(index, path)| (vec![PathTemplate::parse(path).unwrap()], index)).collect(),
    )
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut rows = text.splitn(3, '\n');
    let (Some(host), Some(path)) = (rows.next(), rows.next()) else { return };
    let method = rows.next().unwrap_or("GET");
    if let Ok(path) = CanonicalPath::parse(path) {
        by_hand(&path);
    }
    canonical(path);
    patterns(host);
    let plain = ask(host, path, method);
    if matches!(plain.verdict, Verdict::Allow(_)) {
        decoded_once(path);
    }
    let expected = place(&plain);
    for other in [host.to_ascii_uppercase(), format!("{host}."), format!("{host}:8443")] {
        // A host that has one of these already becomes one that nobody can read.
        let asked = ask(&other, path, method);
        assert!(place(&asked) == expected || refused(&asked) || refused(&plain), "{other} is another host");
    }
    // A path that is refused has no spelling that must be, too: `/a%` is none, `/a%25` is one.
    let spellings = CanonicalPath::parse(path).map(|_| spellings(path)).unwrap_or_default();
    for other in spellings {
        let asked = ask(host, &other, method);
        assert!(place(&asked) == expected || refused(&asked), "{other} is another path than {path}");
    }
});

fn ask(host: &str, path: &str, method: &str) -> Decision {
    WORLD.ask(&RequestView { method, host, path, scheme: "https", proven_peer: true, ..RequestView::default() })
}

fn refused(decision: &Decision) -> bool {
    matches!(&decision.verdict, Verdict::Deny(deny) if deny.code == Code::MalformedRequest)
}

fn place(decision: &Decision) -> (Option<String>, Option<String>, Option<Code>) {
    let code = match &decision.verdict {
        Verdict::Deny(deny) => Some(deny.code),
        Verdict::Allow(_) | Verdict::Answer(_) => None,
    };
    let route = decision.facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).map(str::to_owned);
    (decision.facts.policy.as_ref().map(|(name, _)| name.to_string()), route, code)
}

/// The same path with one byte, all bytes, and only letters as escapes, in both cases; and with a query.
fn spellings(path: &str) -> Vec<String> {
    let (path, query) = path.split_once('?').map_or((path, ""), |(path, query)| (path, query));
    let escape = |chosen: &dyn Fn(usize, u8) -> bool, upper: bool| {
        let mut out = String::new();
        let bytes = path.as_bytes();
        let mut index = 0;
        while let Some(byte) = bytes.get(index) {
            // An escape stays one: `%25` for its sign would be another path.
            if *byte == b'%' && bytes.len() > index + 2 {
                out.extend(bytes[index..index + 3].iter().map(|byte| char::from(*byte)).filter(char::is_ascii));
                index += 3;
                continue;
            }
            if *byte == b'/' || (!chosen(index, *byte) && byte.is_ascii()) {
                out.push(char::from(*byte));
            } else if upper {
                out += &format!("%{byte:02X}");
            } else {
                out += &format!("%{byte:02x}");
            }
            index += 1;
        }
        out
    };
    vec![
        escape(&|_, _| true, true),
        escape(&|_, _| true, false),
        escape(&|_, byte| byte.is_ascii_alphabetic(), true),
        escape(&|index, _| index % 3 == 1, false),
        format!("{path}?{query}&a=/../b//c"),
    ]
}

/// A path that has a reading has no other one: a server that follows the URL standard sees the same.
fn canonical(target: &str) {
    let Ok(path) = CanonicalPath::parse(target) else { return };
    let decoded = path.as_str();
    assert!(decoded.starts_with('/') && !decoded.contains("//") && !decoded.contains('\\'));
    assert!(!decoded.bytes().any(|byte| byte < 0x20 || byte == 0x7F), "a control byte");
    assert!(path.segments().all(|segment| !matches!(segment, "." | "..")), "a dot segment");
    let raw = target.split_once('?').map_or(target, |(path, _)| path);
    assert_eq!(percent_decode_str(raw).decode_utf8().as_deref(), Ok(decoded), "decoded otherwise");
    // A blank at the end belongs to no URL; nothing on the wire carries one there.
    if !raw.ends_with(' ') {
        let url = url::Url::parse(&format!("https://a.test{raw}")).expect("a canonical path is one of a URL");
        assert_eq!(percent_decode_str(url.path()).decode_utf8().as_deref(), Ok(decoded), "a URL is read otherwise");
    }
}

/// Every route here is public: who is let in is nowhere else at a server that decodes once more.
fn decoded_once(target: &str) {
    let path = CanonicalPath::parse(target).expect("a path that is let in is canonical");
    assert_eq!(percent_decode_str(path.as_str()).decode_utf8_lossy(), path.as_str(), "it can be decoded twice");
}

/// The index of the table finds what a look at each template in turn finds.
fn by_hand(path: &CanonicalPath<'_>) {
    let segments: Vec<&str> = path.segments().collect();
    let first = ROUTES.iter().position(|template| matches(template, &segments));
    assert_eq!(TABLE.find(path, |_| true).copied(), first);
    // With every other route closed.
    let odd = ROUTES.iter().enumerate().position(|(index, template)| index % 2 == 1 && matches(template, &segments));
    assert_eq!(TABLE.find(path, |index| index % 2 == 1).copied(), odd);
}

fn matches(template: &str, segments: &[&str]) -> bool {
    let parts: Vec<&str> = template.split('/').skip(1).collect();
    let fits = |part: &str, segment: &str| {
        if part.starts_with('{') { !segment.is_empty() } else { part == segment }
    };
    match parts.split_last() {
        Some((&"{**}", before)) => {
            segments.len() >= before.len() && before.iter().zip(segments).all(|(part, segment)| fits(part, segment))
        }
        _ => segments.len() == parts.len() && parts.iter().zip(segments).all(|(part, segment)| fits(part, segment)),
    }
}

/// A host has one form, and reading that form changes nothing.
fn patterns(host: &str) {
    let Ok(read) = Host::parse(host) else { return };
    let text = read.as_str();
    assert!(!text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic()));
    if text.parse::<std::net::Ipv6Addr>().is_err() {
        assert_eq!(Host::parse(text).as_ref().map(Host::as_str), Ok(text), "its form has another form");
    }
}
