//! Where a credential may stand: one place counts, in the order of the policy, and what stands there is read in one way.

use super::{
    confusion::{KINDS, document, secrets},
    *,
};

/// Every place that a text can be in, for API keys, so that only the place can be what is wrong.
const PLACES: &str = "credentials: [{header: Authorization, scheme: Bearer}, {header: X-API-Key}, {cookie: sid}, {query: token}, \
    {webSocketProtocol: app-bearer}]";

fn world(more: &str) -> World {
    let people = [("key-of-alice", "alice"), ("key-of-bob", "bob")];
    let records: Vec<_> = people.iter().map(|(key, sub)| (*key, format!(r#"{{"sub":"{sub}"}}"#))).collect();
    World::new(&(document(&KINDS[2..3], more) + &secrets(&records)))
}

fn subject(decision: &Decision) -> Result<&str, Code> {
    code(decision).map(|()| set(decision, "x-auth-subject").unwrap_or("nobody"))
}

#[test]
fn the_first_place_that_holds_one_counts_and_nothing_is_merged() {
    let world = world(PLACES);
    let texts = ["", "no-key", "key-of-alice", "key-of-bob"];
    let expected = |text: &str| match text {
        "" => Err(Code::MissingCredential),
        "key-of-alice" => Ok("alice"),
        "key-of-bob" => Ok("bob"),
        _ => Err(Code::InvalidToken),
    };
    // Five places, each with nothing, a bad one, and a good one of two people.
    for number in 0..texts.len().pow(5) {
        let at = |place: u32| texts[number / texts.len().pow(place) % texts.len()];
        let (bearer, cookie) = (format!("Bearer {}", at(0)), format!("theme=dark; sid={}", at(2)));
        let cookie = cookie.trim_end_matches("; sid=");
        let (path, protocol) = (format!("/?token={}", at(3)), format!("app-bearer, {}", at(4)));
        let mut headers = vec![("upgrade", "websocket"), ("cookie", cookie)];
        headers.extend((!at(0).is_empty()).then_some(("authorization", bearer.as_str())));
        headers.extend((!at(1).is_empty()).then_some(("x-api-key", at(1))));
        headers.extend((!at(4).is_empty()).then_some(("sec-websocket-protocol", protocol.as_str())));
        let first = (0..5).map(at).find(|text| !text.is_empty()).unwrap_or("");
        let decision = world.ask(&get(&path, &headers));
        assert_eq!(subject(&decision), expected(first), "{:?}", [at(0), at(1), at(2), at(3), at(4)]);
        if code(&decision).is_ok() {
            for name in ["authorization", "x-api-key"] {
                assert!(removed(&decision, name), "{name} of a place that was not used travels: {headers:?}");
            }
            assert_eq!(set(&decision, "cookie"), (!at(2).is_empty()).then_some("theme=dark"), "{headers:?}");
            let query = changes(&decision).removed_parameters().iter().any(|name| name == "token");
            assert!(query || at(3).is_empty(), "the parameter travels: {path}");
        }
    }
}

#[test]
fn what_stands_in_a_place_is_read_in_one_way() {
    let world = world(PLACES);
    let none = Err(Code::MissingCredential);
    let (bad, twice) = (Err(Code::InvalidToken), Err(Code::MalformedRequest));
    for (headers, path, expected) in [
        // A header without a scheme: the whole value. Envoy joins two lines with a comma.
        (vec![("x-api-key", "key-of-alice")], "/", Ok("alice")),
        (vec![("x-api-key", "key-of-alice,key-of-alice")], "/", bad),
        (vec![("x-api-key", "key-of-alice, no-key")], "/", bad),
        (vec![("x-api-key", "Bearer key-of-alice")], "/", bad),
        (vec![("x-api-key", "Key-Of-Alice")], "/", bad),
        (vec![("x-api-key", "key-of-alice ")], "/", bad),
        (vec![("x-api-key", "key-of-alic\u{e9}")], "/", bad),
        (vec![("x-api-key", "key-of-alic\u{fffd}")], "/", bad),
        (vec![("x-api-key", "key-of-alic!")], "/", bad),
        (vec![("x-api-key", "")], "/", none),
        (vec![("x-api_key", "key-of-alice")], "/", none),
        // A header with one.
        (vec![("authorization", "BEARER key-of-alice")], "/", Ok("alice")),
        (vec![("authorization", "Bearer key-of-alice key-of-alice")], "/", bad),
        (vec![("authorization", "Bearer  key-of-alice")], "/", bad),
        (vec![("authorization", "Bearer\tkey-of-alice")], "/", bad),
        (vec![("authorization", "Bearer key-of-alice;Bearer no-key")], "/", bad),
        (vec![("authorization", "Bearer key-of-alice, Bearer no-key")], "/", twice),
        (vec![("authorization", "Bearer key-of-alice,")], "/", twice),
        (vec![("authorization", "Bearer null")], "/", bad),
        (vec![("authorization", "Bearer")], "/", none),
        (vec![("authorization", "Basic a2V5LW9mLWFsaWNl")], "/", none),
        (vec![("authorization", "key-of-alice")], "/", none),
        // A cookie: verbatim.
        (vec![("cookie", "sid=key-of-alice")], "/", Ok("alice")),
        (vec![("cookie", "SID=key-of-alice")], "/", none),
        (vec![("cookie", "sid=\"key-of-alice\"")], "/", bad),
        (vec![("cookie", "sid=key%2Dof%2Dalice")], "/", bad),
        (vec![("cookie", "sid=key-of-alice; sid=key-of-alice")], "/", twice),
        (vec![("cookie", "sid=; sid=key-of-alice")], "/", twice),
        (vec![("cookie", "xsid=key-of-alice; sid2=key-of-alice")], "/", none),
        (vec![("cookie", "a=b;\t sid \t=\tkey-of-alice ;c=d")], "/", Ok("alice")),
        // Not even with other blanks around: to a browser that is another name, and to us another value.
        (vec![("cookie", "\u{2000}sid=key-of-alice")], "/", none),
        (vec![("cookie", "\u{a0}sid=key-of-alice")], "/", none),
        (vec![("cookie", "sid\u{a0}=key-of-alice")], "/", none),
        (vec![("cookie", "\u{2000}sid=no-key; sid=key-of-alice")], "/", Ok("alice")),
        (vec![("cookie", "sid=\u{a0}key-of-alice")], "/", bad),
        (vec![("cookie", "sid=key-of-alice\u{2003}")], "/", bad),
        // Two lines of HTTP/1, as Envoy joins them in a map; or one value with a comma.
        (vec![("cookie", "theme=dark,sid=key-of-alice")], "/", twice),
        (vec![("cookie", "theme,sid=key-of-alice")], "/", twice),
        (vec![("cookie", "theme=dark, sid =key-of-alice; a=b")], "/", twice),
        (vec![("cookie", "sid=key-of-alice,sid=no-key")], "/", twice),
        (vec![("cookie", "sid=key-of-alice,theme=dark")], "/", bad),
        (vec![("cookie", "theme=dark,light; sid=key-of-alice")], "/", Ok("alice")),
        (vec![("cookie", "theme=dark,xsid=1,sid; sid=key-of-alice")], "/", Ok("alice")),
        // A query parameter: decoded once.
        (vec![], "/?token=key-of-alice", Ok("alice")),
        (vec![], "/?token=key%2dof-alice", Ok("alice")),
        (vec![], "/?token=key%252dof-alice", bad),
        (vec![], "/?token=key-of-alice&%74oken=no-key", twice),
        (vec![], "/?token=key-of-alice;x=1", bad),
        (vec![], "/?token=", none),
        (vec![], "/?TOKEN=key-of-alice", none),
        (vec![], "/?access_token=key-of-alice", none),
        (vec![], "/?x=?token=key-of-alice", none),
        // A protocol: only in a handshake, and only behind the name in the first place.
        (vec![("sec-websocket-protocol", "app-bearer, key-of-alice")], "/", none),
    ] {
        assert_eq!(subject(&world.ask(&get(path, &headers))), expected, "{headers:?} {path}");
    }
    for (protocols, expected) in [
        ("app-bearer, key-of-alice", Ok("alice")),
        ("app-bearer,key-of-alice,chat", Ok("alice")),
        ("app-bearer, chat, key-of-alice", bad),
        ("chat, app-bearer, key-of-alice", none),
        ("App-Bearer, key-of-alice", none),
        ("app-bearer", none),
        ("app-bearer, ", none),
    ] {
        let handshake = get("/", &[("upgrade", "websocket"), ("sec-websocket-protocol", protocols)]);
        assert_eq!(subject(&world.ask(&handshake)), expected, "{protocols}");
    }
}

/// Whatever an upstream may take for the credential is gone, and what is left is what was sent.
#[test]
fn a_cookie_that_an_upstream_may_read_does_not_travel() {
    let world = world(PLACES);
    for (cookie, rest) in [
        ("theme=dark; sid=forged", Some("theme=dark")),
        ("theme=dark;\u{2000}sid=forged", Some("theme=dark")),
        ("sid\u{a0}=forged; theme=dark", Some("theme=dark")),
        ("!sid=forged; theme=dark", Some("theme=dark")),
        ("theme=dark,\u{a0}sid=forged; a=b", Some("a=b")),
        ("\u{2000}__Host-id=forged; sid=forged", Some("\u{2000}__Host-id=forged")),
        ("theme=dark,light; xsid=1", None),
    ] {
        let decision = world.ask(&get("/", &[("x-api-key", "key-of-alice"), ("cookie", cookie)]));
        assert_eq!((subject(&decision), set(&decision, "cookie")), (Ok("alice"), rest), "{cookie:?}");
        assert!(!removed(&decision, "cookie"), "{cookie:?}");
    }
    let protocols = "\u{a0}app-bearer, forged, chat";
    let handshake = [("x-api-key", "key-of-alice"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocols)];
    let decision = world.ask(&get("/", &handshake));
    assert_eq!(set(&decision, "sec-websocket-protocol"), Some("\u{a0}app-bearer, chat"));
    assert_eq!(changes(&decision).selected_protocol(), None, "it was not offered");
}

#[test]
fn a_cookie_of_another_route_is_not_hidden_behind_a_comma() {
    let world =
        world("credentials: [{header: X-API-Key}]\nroutes: [{name: r, paths: [/r], credentials: [{cookie: other}]}]");
    for (path, cookie, expected) in [
        ("/", "theme=dark,other=forged", Err(Code::MalformedRequest)),
        ("/", "theme=dark,sid=1", Ok("alice")),
        ("/", "theme=dark; other=forged", Ok("alice")),
        ("/", "other=forged; other=forged", Ok("alice")),
        ("/r", "theme=dark,other=key-of-alice", Err(Code::MalformedRequest)),
        ("/r", "theme=dark; other=key-of-alice", Ok("alice")),
    ] {
        let decision = world.ask(&get(path, &[("x-api-key", "key-of-alice"), ("cookie", cookie)]));
        assert_eq!(subject(&decision), expected, "{path} {cookie}");
        if expected.is_ok() {
            let left = set(&decision, "cookie").unwrap_or_default();
            assert!(!left.contains("other") && (removed(&decision, "cookie") || cookie.contains("theme")), "{cookie}");
        }
    }
}

#[test]
fn a_place_that_the_policy_does_not_name_is_none() {
    let world = world("credentials: [{header: Authorization, scheme: Bearer}]");
    for (name, value) in [
        ("x-api-key", "key-of-alice"),
        ("x-forwarded-access-token", "key-of-alice"),
        ("x-amzn-oidc-data", "key-of-alice"),
        ("proxy-authorization", "Bearer key-of-alice"),
        ("x-authorization", "Bearer key-of-alice"),
        ("cf-access-jwt-assertion", "key-of-alice"),
        ("x-auth-request-access-token", "key-of-alice"),
        ("cookie", "sid=key-of-alice; authorization=Bearer key-of-alice"),
        ("sec-websocket-protocol", "app-bearer, key-of-alice"),
        ("user-agent", "kube-probe/1.36"),
        ("user-agent", "GoogleHC/1.0"),
        ("x-forwarded-client-cert", "By=spiffe://a;Hash=b;URI=spiffe://cluster.local/ns/a/sa/b"),
        ("x-auth-subject", "alice"),
    ] {
        for path in ["/", "/?token=key-of-alice", "/?access_token=key-of-alice"] {
            let decision = world.ask(&get(path, &[(name, value)]));
            assert_eq!(subject(&decision), Err(Code::MissingCredential), "{name}: {value}");
        }
    }
    // Nor does it stand beside one: it is the application's.
    let decision = world.ask(&get("/?access_token=key-of-bob", &[("authorization", "Bearer key-of-alice")]));
    assert_eq!(subject(&decision), Ok("alice"));
    assert!(changes(&decision).removed_parameters().is_empty());
}
