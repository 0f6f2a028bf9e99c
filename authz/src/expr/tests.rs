//! What expressions yield for requests.

mod bounds;
mod claims;

use crds::expr::{Expr, Place};
use serde_json::json;

use super::{Failure, Inputs, condition, header_value};
use crate::{
    principal::{CallerKind, Principal, PrincipalKind, Traffic},
    request::RequestView,
};

/// Both expressions of the published AI-Q example.
const SKIP_CLARIFIER: &str = "(principal.type == 'anonymous' && traffic == 'external') \
    || ('x-aiq-mode' in request.headers && request.headers['x-aiq-mode'].matches('(?i)^headless$')) ? 'true' : ''";
const USER_ID: &str = "principal.type + ':' + principal.subject";

const JWT: CallerKind = CallerKind::Proven(PrincipalKind::Jwt);

fn alice() -> Principal {
    Principal {
        kind: PrincipalKind::Jwt,
        authenticator: "sso".into(),
        issuer: Some("https://sso.example.com".into()),
        subject: "alice".into(),
        user: "0123456789abcdef0123456789abcdef".into(),
        email: Some("alice@example.com".into()),
        name: None,
        roles: vec!["admin".into(), "dev".into()],
        scopes: Vec::new(),
        mfa: false,
        claims: json!({
            "sub": "alice", "age": 42, "big": u64::MAX, "ratio": 1.5, "whole": 2.0, "admin": true, "nothing": null, "empty": "",
            "groups": ["a", "b"], "realm": {"roles": ["r"], "deep": {"x": 1}}, "secret": "hunter2",
        })
        .as_object()
        .cloned()
        .unwrap(),
    }
}

/// A request in which `alice` (or nobody) asks.
struct Case<'a> {
    caller: CallerKind,
    principal: Option<Principal>,
    traffic: Traffic,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Case<'a> {
    fn alice() -> Self {
        Self { caller: JWT, principal: Some(alice()), traffic: Traffic::External, headers: Vec::new() }
    }

    fn nobody(caller: CallerKind, traffic: Traffic) -> Self {
        Self { caller, principal: None, traffic, headers: Vec::new() }
    }

    fn anonymous() -> Self {
        Self::nobody(CallerKind::Anonymous, Traffic::External)
    }

    fn with(mut self, name: &'a str, value: &'a [u8]) -> Self {
        self.headers.push((name, value));
        self
    }

    fn see<T>(&self, read: impl FnOnce(&Inputs<'_, '_>) -> T) -> T {
        let mut request =
            RequestView { method: "POST", host: "APP.example.com:443", path: "/a%20b?q=1", ..RequestView::default() };
        for (name, value) in &self.headers {
            request.headers.push(name, value);
        }
        read(&Inputs {
            caller: self.caller,
            principal: self.principal.as_ref(),
            request: &request,
            path: "/a b",
            host: "app.example.com",
            traffic: self.traffic,
            route: "chat",
        })
    }

    fn header(&self, source: &str) -> Result<Option<String>, Failure> {
        let expr = Expr::parse(source, Place::Header).unwrap_or_else(|error| panic!("{source}: {error}"));
        self.see(|inputs| header_value(&expr, inputs))
    }

    fn holds(&self, source: &str) -> Result<bool, Failure> {
        let expr = Expr::parse(source, Place::Condition).unwrap_or_else(|error| panic!("{source}: {error}"));
        self.see(|inputs| condition(&expr, inputs))
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is compared with results")]
fn some(text: &str) -> Result<Option<String>, Failure> {
    Ok(Some(text.to_owned()))
}

#[test]
fn the_clarifier_is_skipped_for_strangers_and_headless_clients() {
    let internal = || Case::nobody(CallerKind::Internal, Traffic::Internal);
    let skipped = some("true");
    assert_eq!(Case::anonymous().header(SKIP_CLARIFIER), skipped);
    assert_eq!(internal().header(SKIP_CLARIFIER), Ok(None));
    assert_eq!(Case::nobody(CallerKind::Anonymous, Traffic::Internal).header(SKIP_CLARIFIER), Ok(None));
    assert_eq!(Case::alice().header(SKIP_CLARIFIER), Ok(None));
    for (name, value) in [("x-aiq-mode", "headless"), ("X-AIQ-Mode", "HeadLess"), ("x-Aiq-mode", "HEADLESS")] {
        assert_eq!(Case::alice().with(name, value.as_bytes()).header(SKIP_CLARIFIER), skipped, "{name}: {value}");
        assert_eq!(internal().with(name, value.as_bytes()).header(SKIP_CLARIFIER), skipped, "{name}: {value}");
    }
    for value in ["headless ", "xheadless", "", "headless,headless", "interactive"] {
        assert_eq!(Case::alice().with("x-aiq-mode", value.as_bytes()).header(SKIP_CLARIFIER), Ok(None), "{value}");
    }
}

#[test]
fn the_traced_user_is_absent_without_a_subject() {
    assert_eq!(Case::alice().header(USER_ID), some("jwt:alice"));
    for caller in [CallerKind::Anonymous, CallerKind::Internal, CallerKind::UnverifiedJwt] {
        assert_eq!(Case::nobody(caller, Traffic::Internal).header(USER_ID), Ok(None), "{caller:?}");
        // What was not proven is not read, even if somebody hands it in.
        let case = Case { caller, ..Case::alice() };
        assert_eq!(case.header(USER_ID), Ok(None), "{caller:?}");
        assert_eq!(case.header("principal.type"), some(caller.as_str()));
        assert_eq!(case.holds("principal.email == '' && principal.roles == [] && principal.claims == {}"), Ok(true));
    }
}

#[test]
fn conditions() {
    let alice = Case::alice().with("x-one", b"1").with("x-two", b"a").with("X-Two", b"b").with("x-raw", b"\xff");
    let table = [
        ("principal.type == 'jwt' && principal.issuer == 'https://sso.example.com'", true),
        ("principal.user.size() == 32", true),
        ("principal.email.endsWith('@example.com')", true),
        ("principal.email.endsWith('@example.org')", false),
        ("principal.name == ''", true),
        ("has(principal.email) && !has(principal.name) && has(principal.roles) && !has(principal.scopes)", true),
        ("has(principal.type) && has(principal.claims) && has(request.headers) && has(request.path)", true),
        ("'admin' in principal.roles", true),
        ("'root' in principal.roles", false),
        ("principal.roles == ['admin', 'dev'] && ['admin', 'dev'] == principal.roles && principal.scopes == []", true),
        (
            "principal.roles.exists(r, r.startsWith('ad')) && principal.roles.all(r, principal.roles.exists(o, o == r))",
            true,
        ),
        ("principal.roles[0] == 'admin' && size(principal.roles) == 2 && principal.roles.size() == 2", true),
        ("request.method == 'POST' && request.host == 'app.example.com' && request.path == '/a b'", true),
        ("traffic == 'external' && route == 'chat'", true),
        // Claims.
        ("principal.claims.sub == 'alice' && principal.claims['sub'] == principal.subject", true),
        ("principal.claims.age == 42 && principal.claims.age > 41 && type(principal.claims.age) == int", true),
        ("principal.claims.big == 18446744073709551615u && type(principal.claims.big) == uint", true),
        (
            "principal.claims.ratio == 1.5 && type(principal.claims.whole) == double && principal.claims.whole == 2",
            true,
        ),
        ("principal.claims.admin", true),
        ("principal.claims.nothing == null && has(principal.claims.nothing)", true),
        ("'a' in principal.claims.groups && principal.claims.groups[1] == 'b'", true),
        ("principal.claims.realm.roles == ['r'] && principal.claims.realm.deep.x == 1", true),
        (
            "principal.claims.realm == {'roles': ['r'], 'deep': {'x': 1}} && {'x': 1} == principal.claims.realm.deep",
            true,
        ),
        ("has(principal.claims.sub) && !has(principal.claims.tenant) && !has(principal.claims.realm.y)", true),
        ("'sub' in principal.claims && !('tenant' in principal.claims) && !(1 in principal.claims)", true),
        ("principal.claims.size() == 11 && principal.claims.exists(name, name == 'sub')", true),
        ("principal.claims == principal.claims && principal.claims != {}", true),
        ("principal.claims.?tenant.orValue('') == '' && principal.claims.?sub.orValue('') == 'alice'", true),
        // Headers.
        (
            "'x-one' in request.headers && request.headers['x-one'] == '1' && request.headers.exists(h, h == 'x-one')",
            true,
        ),
        ("request.headers['x-two'] == 'a,b' && has(request.headers.cookie) == false", true),
        ("request.headers['x-raw'] == '\u{fffd}' && size(request.headers) == 3", true),
        ("request.headers[?'x-nine'].orValue('none') == 'none' && request.headers[?'x-one'].hasValue()", true),
        ("request.headers == {'x-one': '1', 'x-two': 'a,b', 'x-raw': '\u{fffd}'}", true),
        // Texts.
        ("matches(principal.email, '^[a-z]+@') && principal.email.matches('example') && !route.matches('^hat')", true),
        (
            "'a-b-c'.replace('-', '_') == 'a_b_c' && 'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('|') == 'a|b'",
            true,
        ),
        ("'ab'.split('') == ['a', 'b'] && [].join(',') == '' && ' A '.trim().lowerAscii() == 'a'", true),
        ("principal.email.substring(principal.email.indexOf('@') + 1) == 'example.com'", true),
        // What decides does not look further, and an error is forgiven where the other side decides.
        ("true || principal.claims.tenant == 'a'", true),
        ("principal.claims.tenant == 'a' || true", true),
        ("false && principal.claims.tenant == 'a'", false),
        // Names that are bound win.
        ("['z'].exists(traffic, traffic == 'z') && [{'email': 'z'}].all(principal, principal.email == 'z')", true),
        ("[{'email': 'z'}].all(principal, [1].exists(x, principal.email == 'z'))", true),
        ("optional.of('a').optMap(x, x + 'b').orValue('') == 'ab'", true),
    ];
    let wrong: Vec<_> = table
        .into_iter()
        .map(|(source, expected)| (source, expected, alice.holds(source)))
        .filter(|(_, expected, actual)| actual.as_ref() != Ok(expected))
        .collect();
    assert!(wrong.is_empty(), "(source, expected, actual): {wrong:#?}");
}

#[test]
fn values_become_text() {
    let alice = Case::alice().with("x-one", b"1");
    let table = [
        ("principal.email", some("alice@example.com")),
        ("''", Ok(None)),
        ("null", Ok(None)),
        ("principal.claims.nothing", Ok(None)),
        ("principal.claims.empty", Ok(None)),
        ("true", some("true")),
        ("42", some("42")),
        ("-7", some("-7")),
        ("principal.claims.big", some("18446744073709551615")),
        ("principal.claims.ratio", some("1.5")),
        ("principal.claims.whole", some("2")),
        ("request.headers[?'x-one']", some("1")),
        ("request.headers[?'x-two']", Ok(None)),
        ("principal.roles.join(',')", some("admin,dev")),
        ("string(principal.claims.age) + '!'", some("42!")),
        ("principal.claims.groups", Err(Failure::NotText { got: "list".to_owned() })),
        ("principal.claims.realm", Err(Failure::NotText { got: "map".to_owned() })),
    ];
    for (source, expected) in table {
        assert_eq!(alice.header(source), expected, "{source}");
    }
    assert_eq!(alice.holds("principal.claims.sub"), Err(Failure::NotBool { got: "string".to_owned() }));
}

/// A read counts where it happens, and nowhere else.
#[test]
fn headers_stay_absent_when_they_read_what_is_unset() {
    let alice = Case::alice();
    let table = [
        // Alice has no name and no scopes.
        ("principal.name", Ok(None)),
        ("'x' + principal.name", Ok(None)),
        ("principal.name == '' ? 'nameless' : 'named'", Ok(None)),
        ("principal.scopes.size() == 0 ? 'none' : 'some'", Ok(None)),
        ("'x' in principal.scopes ? 'x' : 'y'", Ok(None)),
        ("[1].exists(x, principal.name == 'a') ? 'a' : 'b'", Ok(None)),
        // Read before it fails, or where the failure is forgiven.
        ("principal.name + principal.claims.tenant", Ok(None)),
        ("principal.name.split('@')[1]", Ok(None)),
        ("principal.name.size() / 0 == 1 || true ? 'a' : 'b'", Ok(None)),
        // Not read.
        ("has(principal.name) ? principal.name : 'nameless'", some("nameless")),
        ("has(principal.email) ? principal.email : 'nobody'", some("alice@example.com")),
        ("true ? 'a' : principal.name", some("a")),
        ("true || principal.name == '' ? 'a' : 'b'", some("a")),
        ("false && principal.name == '' ? 'a' : 'b'", some("b")),
        ("[].exists(x, principal.name == 'a') ? 'a' : 'b'", some("b")),
        ("principal.roles.exists(r, r == 'admin' || principal.name == r) ? 'a' : 'b'", some("a")),
    ];
    for (source, expected) in table {
        assert_eq!(alice.header(source), expected, "{source}");
    }
    let nobody = Case::anonymous();
    for field in ["issuer", "subject", "user", "email", "name"] {
        assert_eq!(nobody.header(&format!("'x' + principal.{field}")), Ok(None), "{field}");
    }
    for source in
        ["principal.roles.join(',') + 'x'", "string(size(principal.scopes))", "string(size(principal.claims))"]
    {
        assert_eq!(nobody.header(source), Ok(None), "{source}");
    }
    for source in
        ["principal.claims.tenant", "has(principal.claims.tenant) ? 'a' : 'b'", "'a' in principal.claims ? 'a' : 'b'"]
    {
        assert_eq!(nobody.header(source), Ok(None), "{source}");
    }
    assert_eq!(nobody.header("principal.type"), some("anonymous"));
    assert_eq!(nobody.header("has(principal.claims) ? 'a' : 'b'"), some("b"));
    // A condition sees the empty value.
    assert_eq!(
        nobody.holds("principal.email == '' && !('a' in principal.roles) && principal.claims.size() == 0"),
        Ok(true)
    );
    assert_eq!(nobody.holds("principal.claims.tenant == 'a'"), Err(Failure::Missing { key: "`tenant`".to_owned() }));
}

#[test]
fn errors_are_failures_without_values() {
    let alice = Case::alice().with("x-secret", b"hunter2");
    let operands =
        |operation: &str, types: &str| Failure::Operands { operation: operation.to_owned(), types: types.to_owned() };
    let missing = |key: &str| Failure::Missing { key: key.to_owned() };
    let table = [
        ("principal.claims.tenant == 'a'", missing("`tenant`")),
        ("principal.claims['tenant'] == 'a'", missing("`tenant`")),
        ("request.headers['x-none'] == 'a'", missing("`x-none`")),
        ("request.headers[principal.claims.secret] == 'a'", missing("member of that name")),
        ("principal.claims[request.headers['x-secret']] == 'a'", missing("member of that name")),
        ("principal.claims.realm.z == 1", missing("`z`")),
        ("principal.claims.age < 'a'", operands("<", "int, string")),
        ("principal.claims.secret.startsWith(1)", operands("startsWith", "string, int")),
        ("principal.claims.age.matches('a')", operands("matches", "int, pattern")),
        ("principal.claims.secret + 1 == ''", operands("add", "values of these types")),
        ("!principal.claims.secret", operands("!", "string")),
        ("principal.claims.secret && true", operands("&&", "string, bool")),
        ("principal.claims.groups[7] == 'a'", Failure::ShortList),
        ("1 / (principal.claims.age - 42) == 1", Failure::Arithmetic),
        ("9223372036854775807 + principal.claims.age == 1", Failure::Arithmetic),
        ("int(principal.claims.secret) == 1", Failure::Function { function: "int".to_owned() }),
        ("principal.claims.age.exists(x, x == 1)", Failure::WrongType),
        ("['a', principal.claims.age].join() == ''", Failure::Function { function: "join".to_owned() }),
    ];
    let wrong: Vec<_> = table
        .into_iter()
        .map(|(source, expected)| (source, Err(expected), alice.holds(source)))
        .filter(|(_, expected, actual)| expected != actual)
        .collect();
    assert!(wrong.is_empty(), "(source, expected, actual): {wrong:#?}");
}

/// What `explain` and logs print holds no value, not even one that an error of the interpreter carries.
#[test]
fn failures_tell_no_secret() {
    let alice = Case::alice().with("x-secret", b"hunter2");
    for operand in [
        "principal.claims.secret",
        "request.headers['x-secret']",
        "[principal.claims.secret]",
        "{'a': principal.claims.secret}",
    ] {
        for source in [
            format!("{operand} - 1 == 1"),
            format!("dyn({operand}) < 1"),
            format!("int({operand}) == 1"),
            format!("{{{operand}: 1}} == {{{operand}: 1, {operand}: 2}}"),
            format!("[1][{operand}] == 1"),
            format!("principal.claims[{operand}] == 1"),
            format!("{operand} in 1"),
            format!("{operand}[{operand}] == 1"),
            format!("{operand} ? true : false"),
        ] {
            let failure = alice.holds(&source).unwrap_err();
            assert!(!format!("{failure:?} {failure}").contains("hunter2"), "{source}: {failure:?}");
        }
    }
}
