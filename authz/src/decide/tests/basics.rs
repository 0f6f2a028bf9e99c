//! The steps of the contract, one by one.

use super::*;

#[test]
fn no_host_method_or_path_is_read_in_two_ways() {
    let world = World::new(&policy(""));
    for (method, host, path, expected) in [
        ("", "a.test", "/", Code::Forbidden),
        ("CONNECT", "a.test", "", Code::Forbidden),
        ("TRACE", "a.test", "/", Code::Forbidden),
        ("trace", "a.test", "/", Code::Forbidden),
        ("PRI", "a.test", "*", Code::MalformedRequest),
        ("OPTIONS", "a.test", "*", Code::MalformedRequest),
        ("PRI", "a.test", "/", Code::MissingCredential),
        ("BREW", "a.test", "/", Code::MissingCredential),
        ("get", "a.test", "/", Code::MissingCredential),
        ("GET", "", "/", Code::MalformedRequest),
        ("GET", "a.test,b.test", "/", Code::MalformedRequest),
        ("GET", "u@a.test", "/", Code::MalformedRequest),
        ("GET", "a.test", "*", Code::MalformedRequest),
        ("GET", "a.test", "//x", Code::MalformedRequest),
        ("GET", "a.test", "/x#y", Code::MalformedRequest),
        ("GET", "a.test", "/", Code::MissingCredential),
    ] {
        let decision = world.ask(&Ask {
            method,
            host,
            path,
            headers: Vec::new(),
            source: None,
            certificate: None,
            forced_external: false,
            proven_peer: true,
        });
        assert_eq!(code(&decision), Err(expected), "{method} {host} {path}");
    }
}

#[test]
fn credentials_come_from_one_place() {
    let world = World::new(&policy(
        "credentials: [{header: Authorization, scheme: Bearer}, {cookie: sid, allowedOrigins: ['https://ui.test']}]",
    ));
    let token = world.token(serde_json::json!({"sub": "alice"}));
    let (bearer, cookie) = (format!("bEaReR {token}"), format!("a=b; sid={token}; c=d"));
    let two = format!("Bearer {token},Bearer x");
    let twice = format!("sid={token}; sid=x");
    for (headers, expected) in [
        (vec![("authorization", bearer.as_str())], Ok(())),
        (vec![("cookie", cookie.as_str())], Ok(())),
        (vec![("authorization", "Bearer x"), ("cookie", cookie.as_str())], Err(Code::InvalidToken)),
        (vec![("authorization", "Basic eDp5"), ("cookie", cookie.as_str())], Ok(())),
        (vec![("authorization", two.as_str())], Err(Code::MalformedRequest)),
        (vec![("cookie", twice.as_str())], Err(Code::MalformedRequest)),
        (vec![("authorization", "Bearer")], Err(Code::MissingCredential)),
        (vec![("authorization", "Bearer ")], Err(Code::MissingCredential)),
        (vec![("authorization", "Bearer\tx")], Err(Code::InvalidToken)),
        (vec![("authorization", "Bearer  x")], Err(Code::InvalidToken)),
        (vec![("authorization", "Bearerx")], Err(Code::MissingCredential)),
        (vec![("cookie", "sid=")], Err(Code::MissingCredential)),
        (vec![("cookie", "xsid=a")], Err(Code::MissingCredential)),
    ] {
        assert_eq!(code(&world.ask(&get("/", &headers))), expected, "{headers:?}");
    }
    for (origin, expected) in [
        ("https://a.test", Ok(())),
        ("https://ui.test", Ok(())),
        ("https://a.test.evil.test", Err(Code::Forbidden)),
        ("http://a.test", Err(Code::Forbidden)),
        ("null", Err(Code::Forbidden)),
    ] {
        let post = Ask { method: "POST", ..get("/", &[("cookie", &cookie), ("origin", origin)]) };
        assert_eq!(code(&world.ask(&post)), expected, "{origin}");
        let upgrade = get("/", &[("cookie", &cookie), ("origin", origin), ("upgrade", "websocket")]);
        assert_eq!(code(&world.ask(&upgrade)), expected, "{origin}");
        assert_eq!(
            code(&world.ask(&get("/", &[("cookie", &cookie), ("origin", origin)]))),
            Ok(()),
            "a GET changes nothing"
        );
    }
}

#[test]
fn what_a_request_says_of_itself_elsewhere_changes_nothing() {
    let first = policy(
        "routes:\n- {name: open, paths: [/open], access: Public}\n- {name: read, paths: [/read], methods: [GET], access: Public}",
    );
    let second = policy("requireAuth: false").replace("{name: p,", "{name: q,").replace("[a.test]", "[b.test]");
    let world = World::new(&format!("{first}---\n{second}"));
    for open in [get("/open", &[]), get("/read", &[]), Ask { host: "b.test", ..get("/", &[]) }] {
        assert_eq!(code(&world.ask(&open)), Ok(()), "{} {}", open.host, open.path);
    }
    for method in ["HEAD", "POST", "get", "GETS", "PRI"] {
        let ask = Ask { method, ..get("/read", &[]) };
        assert_eq!(code(&world.ask(&ask)), Err(Code::MissingCredential), "{method}");
    }
    for header in [
        ("x-original-url", "/open"),
        ("x-rewrite-url", "/open"),
        ("x-envoy-original-path", "/open"),
        ("x-forwarded-uri", "/open"),
        ("x-forwarded-prefix", "/open"),
        ("x-forwarded-host", "b.test"),
        ("x-host", "b.test"),
        ("forwarded", "host=b.test;proto=https;for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-http-method-override", "GET"),
        ("x-http-method", "GET"),
        ("x-method-override", "GET"),
    ] {
        for ask in [get("/closed", &[header]), Ask { method: "POST", ..get("/read?_method=GET", &[header]) }] {
            let decision = world.ask(&ask);
            assert_eq!(code(&decision), Err(Code::MissingCredential), "{header:?} {}", ask.path);
            let chosen = decision.facts.policy.as_ref().map(|(name, _)| &**name);
            assert_eq!(chosen, Some("n/p"), "{header:?}");
        }
    }
}

#[test]
fn the_origin_of_a_cookie_is_compared_with_what_the_policy_says() {
    let world = World::new(&policy("publicURL: 'https://www.test'\ncredentials: [{cookie: sid}]"));
    let cookie = format!("sid={}", world.token(serde_json::json!({"sub": "alice"})));
    for (origin, expected) in [
        ("https://www.test", Ok(())),
        ("http://www.test", Err(Code::Forbidden)),
        ("https://a.test", Err(Code::Forbidden)),
        ("http://a.test", Err(Code::Forbidden)),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin), ("x-forwarded-proto", "http")];
        assert_eq!(code(&world.ask(&Ask { method: "POST", ..get("/", &headers) })), expected, "{origin}");
    }
}

#[test]
fn a_public_path_has_no_second_reading() {
    let world = World::new(&policy(
        "routes:\n- {name: assets, paths: ['/assets/{**}'], access: Public}\n- {name: maybe, paths: ['/maybe/{**}'], access: Optional}\n\
         - {name: app, paths: ['/app/{**}']}\nunmatched: NotFound",
    ));
    for (path, expected) in [
        ("/assets/x", Ok(())),
        ("/assets/%C3%A4", Ok(())),
        ("/assets/100%25", Ok(())),
        ("/assets/x?y=%252e%252e", Ok(())),
        ("/assets/%252e%252e/app/x", Err(Code::MalformedRequest)),
        ("/assets/%252E%252E%252fapp", Err(Code::MalformedRequest)),
        ("/assets/%25%32%65", Err(Code::MalformedRequest)),
        ("/%61ssets/%2525", Err(Code::MalformedRequest)),
        // Credentials are read here, and the service behind is told that this is nobody.
        ("/maybe/%252e%252e/app/x", Ok(())),
        ("/app/%252e%252e/x", Err(Code::MissingCredential)),
    ] {
        assert_eq!(code(&world.ask(&get(path, &[]))), expected, "{path}");
    }
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    assert_eq!(code(&world.ask(&get("/app/%252e%252e/x", &[("authorization", &bearer)]))), Ok(()));
}

#[test]
fn identity_is_ours_and_credentials_do_not_travel() {
    let world = World::new(&policy(
        "credentials: [{header: Authorization, scheme: Bearer}, {cookie: sid}]\nroutes: [{name: open, paths: [/open], access: Public}]",
    ));
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    let sent = [
        ("authorization", bearer.as_str()),
        ("cookie", "a=b; sid=forged; c=d"),
        ("x-auth-roles", "admin"),
        ("x_auth.subject", "mallory"),
        ("connection", "x-auth-subject, authorization"),
    ];
    let decision = world.ask(&get("/", &sent));
    assert_eq!(set(&decision, "x-auth-subject"), Some("alice"));
    assert_eq!(set(&decision, "cookie"), Some("a=b; c=d"));
    for name in ["authorization", "x-auth-roles", "x_auth.subject", "x-auth-email", "x-auth-mfa"] {
        assert!(removed(&decision, name), "{name}");
    }
    let open = world.ask(&get("/open", &sent));
    assert_eq!(set(&open, "x-auth-type"), Some("anonymous"));
    assert!(removed(&open, "x-auth-subject") && removed(&open, "x_auth.subject"));
    assert!(!removed(&open, "authorization") && set(&open, "cookie").is_none() && !removed(&open, "cookie"));
    for decision in [&decision, &open] {
        let changes = changes(decision);
        let both = changes.set_headers().iter().filter(|(name, _)| changes.removed_headers().contains(name)).count();
        assert_eq!(both, 0, "Envoy removes last: a name in both would be lost");
    }
}

#[test]
fn internal_traffic_is_proven_not_claimed() {
    let world = World::new(&policy(
        "internal: {access: Optional, invalidCredential: PassUnverified, sourceCIDRs: [10.0.0.0/8]}\nunmatched: NotFound",
    ));
    let from = |host, source: &str| Ask { host, source: Some(source.parse().unwrap()), ..get("/x", &[]) };
    for (host, source, expected) in [
        ("a.research.svc", "10.1.2.3", Ok(())),
        ("a.research.svc", "::ffff:10.1.2.3", Ok(())),
        ("a.research.svc", "192.0.2.1", Err(Code::NotFound)),
        ("a.test", "10.1.2.3", Err(Code::NotFound)),
        ("evil.example", "10.1.2.3", Err(Code::NotFound)),
    ] {
        assert_eq!(code(&world.ask(&from(host, source))), expected, "{host} {source}");
        let told = Ask { forced_external: true, ..from(host, source) };
        assert_eq!(code(&world.ask(&told)), Err(Code::NotFound), "{host} {source}: the proxy knows better");
    }
    let mut bad = from("a.research.svc", "10.1.2.3");
    bad.headers.push(("authorization", "Bearer bad.bad.bad"));
    let decision = world.ask(&bad);
    assert_eq!(set(&decision, "x-auth-type"), Some("unverified-jwt"));
    assert!(!removed(&decision, "authorization"), "passing it on is the purpose");
}

#[test]
fn a_host_that_is_external_and_internal_is_external() {
    let world =
        World::new(&policy("internal: {access: Public, hostnames: [a.test, inside.test], sourceCIDRs: [10.0.0.0/8]}"));
    for (host, expected) in [("inside.test", Ok(())), ("a.test", Err(Code::MissingCredential))] {
        let ask = Ask { host, source: Some("10.1.2.3".parse().unwrap()), ..get("/", &[]) };
        assert_eq!(code(&world.ask(&ask)), expected, "{host}");
    }
}

#[test]
fn a_policy_that_is_off_reads_and_takes_no_credential() {
    let world = World::new(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: p, namespace: n}\nspec: {externalHostnames: [a.test], requireAuth: false}\n",
    );
    let digest = "Digest username=\"a\", realm=\"b\"";
    let decision = world.ask(&get("/", &[("authorization", digest), ("x-auth-subject", "mallory")]));
    assert_eq!(set(&decision, "x-auth-type"), Some("anonymous"));
    assert!(removed(&decision, "x-auth-subject") && !removed(&decision, "authorization"));
}

#[test]
fn an_outage_turns_nobody_into_a_stranger() {
    let mut world = World::new(&policy("requireAuth: false\ninvalidCredential: Ignore"));
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    let bad = world.ask(&get("/", &[("authorization", "Bearer x.y.z")]));
    assert_eq!(set(&bad, "x-auth-type"), Some("anonymous"));
    assert!(removed(&bad, "authorization"));
    world.keys(ISSUER, false, false, true);
    assert_eq!(code(&world.ask(&get("/", &[("authorization", &bearer)]))), Err(Code::Unavailable));
}

#[test]
fn requirements_refuse_with_their_own_codes() {
    let world = World::new(&policy(
        "require: {cel: \"!principal.subject.startsWith('blocked')\"}\nroutes:\n- {name: w, paths: [/w], require: {scopes: [doc:write]}}\n\
         - {name: r, paths: [/r], require: {roles: [admin]}}\n- {name: m, paths: [/m], require: {domains: [corp.test], verifiedEmail: true}}\n\
         - {name: e, paths: [/e], require: {cel: 'principal.claims.level > 3'}}",
    ));
    for (path, claims, expected) in [
        ("/", serde_json::json!({"sub": "alice"}), Ok(())),
        ("/", serde_json::json!({"sub": "blocked-7"}), Err(Code::Forbidden)),
        ("/w", serde_json::json!({"sub": "a", "scope": "doc:read doc:write"}), Ok(())),
        ("/w", serde_json::json!({"sub": "a", "scope": "doc:writer"}), Err(Code::InsufficientScope)),
        ("/r", serde_json::json!({"sub": "a", "roles": ["admin"]}), Ok(())),
        ("/r", serde_json::json!({"sub": "a", "roles": {"admin": true}}), Err(Code::Forbidden)),
        ("/m", serde_json::json!({"sub": "a", "email": "A@Corp.test", "email_verified": true}), Ok(())),
        ("/m", serde_json::json!({"sub": "a", "email": "a@corp.test", "email_verified": "true"}), Err(Code::Forbidden)),
        (
            "/m",
            serde_json::json!({"sub": "a", "email": "a@evil.test@corp.test", "email_verified": true}),
            Err(Code::Forbidden),
        ),
        ("/e", serde_json::json!({"sub": "a", "level": 4}), Ok(())),
        ("/e", serde_json::json!({"sub": "a"}), Err(Code::Forbidden)),
    ] {
        let bearer = format!("Bearer {}", world.token(claims.clone()));
        assert_eq!(code(&world.ask(&get(path, &[("authorization", &bearer)]))), expected, "{path} {claims}");
    }
}
