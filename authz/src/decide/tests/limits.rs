//! Locks who is counted, when, and whose word about addresses counts.

use std::net::IpAddr;

use serde_json::json;

use super::*;

const FROM: &str = "192.0.2.1";

fn bearer(world: &World, subject: &str) -> String {
    format!("Bearer {}", world.token(json!({"sub": subject})))
}

/// The answers to requests with these headers, from one address.
fn answers(world: &World, path: &str, source: &str, headers: &[&[(&str, &str)]]) -> Vec<Result<(), Code>> {
    let source: Option<IpAddr> = source.parse().ok();
    headers.iter().map(|headers| code(&world.ask(&Ask { source, ..get(path, headers) }))).collect()
}

const OVER: Result<(), Code> = Err(Code::RateLimited);
const BAD: Result<(), Code> = Err(Code::InvalidToken);
const MANY: Result<(), Code> = Err(Code::TooManyFailures);

#[test]
fn a_principal_has_its_own_count_with_headers_to_the_end() {
    let world = World::new(&policy("limits: {requests: {rate: 3, window: 60s, by: Principal}}"));
    let (alice, bob) = (bearer(&world, "alice"), bearer(&world, "bob"));
    for remaining in [2, 1, 0, 0] {
        let decision = world.ask(&get("/", &[("authorization", &alice)]));
        let standing = decision.facts.limit.unwrap();
        assert_eq!(
            (standing.limit, standing.taken.remaining, standing.taken.resets_ms),
            (3, remaining, NOW_MS + 60_000)
        );
    }
    let Verdict::Deny(deny) = world.ask(&get("/", &[("authorization", &alice)])).verdict else { panic!("allowed") };
    assert_eq!(deny.code, Code::RateLimited);
    assert_eq!(deny.limited, Some(RateLimited { limit: 3, window_seconds: 60, retry_after_seconds: 60 }));
    assert_eq!(code(&world.ask(&get("/", &[("authorization", &bob)]))), Ok(()));
    let Step::Done(later) = world.step(&get("/", &[("authorization", &alice)]), &Awaited::default(), NOW_MS + 60_000)
    else {
        panic!()
    };
    assert_eq!(code(&later), Ok(()));
}

#[test]
fn only_requests_that_are_let_in_count() {
    let world = World::new(&policy(
        "limits: {requests: {rate: 1, window: 60s, by: Global}}\nroutes: [{name: no, paths: [/no], require: {roles: [admin]}}, {name: open, paths: [/open], access: Public}]",
    ));
    let alice = bearer(&world, "alice");
    let good: &[(&str, &str)] = &[("authorization", &alice)];
    assert_eq!(answers(&world, "/no", FROM, &[good, good]), [Err(Code::Forbidden); 2]);
    assert_eq!(
        answers(&world, "/", FROM, &[&[], &[("authorization", "Bearer x")]]),
        [Err(Code::MissingCredential), BAD]
    );
    assert_eq!(answers(&world, "/open", FROM, &[good, good]), [Ok(()); 2]);
    assert!(world.ask(&get("/open", good)).facts.limit.is_none(), "public routes are not limited");
    let refused = world.ask(&get("/no", good));
    assert_eq!(refused.facts.limit.map(|standing| standing.taken.remaining), Some(1), "told, and not counted");
    assert_eq!(answers(&world, "/", FROM, &[good, good]), [Ok(()), OVER]);
}

#[test]
fn a_decision_that_waited_counts_once() {
    let mut world = World::new(&policy(
        "limits: {requests: {rate: 2, window: 60s, by: Global}, failedAuthentications: {rate: 1, window: 60s}}",
    ));
    let alice = bearer(&world, "alice");
    let request = Ask { source: FROM.parse().ok(), ..get("/", &[("authorization", &alice)]) };
    world.keys(ISSUER, false, true, false);
    let mut awaited = Awaited::default();
    let Step::Wait(Need::Keys(id)) = world.step(&request, &awaited, NOW_MS) else { panic!("decides without keys") };
    awaited.note_keys(id);
    // Still no keys: ours is the failure, so it is nobody's bad credential.
    for _ in 0..3 {
        let Step::Done(decision) = world.step(&request, &awaited, NOW_MS) else { panic!("waits twice") };
        assert_eq!(code(&decision), Err(Code::Unavailable));
    }
    world.keys(ISSUER, true, false, false);
    for expected in [Ok(()), Ok(()), OVER] {
        let Step::Done(decision) = world.step(&request, &awaited, NOW_MS) else { panic!("waits twice") };
        assert_eq!(code(&decision), expected);
    }
}

#[test]
fn strangers_count_by_address_and_routes_beside_the_policy() {
    let world = World::new(&policy(
        "requireAuth: false\ninternal: {access: Optional}\nlimits: {requests: {rate: 3, window: 60s}}\n\
         routes: [{name: a, paths: [/a], limits: {requests: {rate: 1, window: 60s, by: IP}}}]",
    ));
    assert_eq!(answers(&world, "/a", FROM, &[&[], &[], &[]]), [Ok(()), OVER, OVER]);
    // What the route refused was not counted for the policy.
    assert_eq!(answers(&world, "/", FROM, &[&[], &[], &[]]), [Ok(()), Ok(()), OVER]);
    assert_eq!(answers(&world, "/a", "192.0.2.2", &[&[]]), [Ok(())]);
    let alice = bearer(&world, "alice");
    assert_eq!(answers(&world, "/", FROM, &[&[("authorization", &alice)]]), [Ok(())], "a person is not the address");
    // Nobody's address is one counter, not none; and internal requests are limited by the policy too.
    let unknown = Ask { host: "app.ns.svc", ..get("/", &[]) };
    let inside: Vec<_> = (0..4).map(|_| code(&world.ask(&unknown))).collect();
    assert_eq!(inside, [Ok(()), Ok(()), Ok(()), OVER]);
    assert_eq!(world.ask(&unknown).facts.traffic, Some(Traffic::Internal));
}

#[test]
fn bad_credentials_count_missing_ones_do_not_and_good_ones_pass() {
    let world = World::new(&policy(
        "limits: {failedAuthentications: {rate: 2, window: 60s, by: IP}}\nroutes: [{name: o, paths: [/o], access: Optional, invalidCredential: Ignore}]",
    ));
    let (alice, late) =
        (bearer(&world, "alice"), format!("Bearer {}", world.token(json!({"sub": "a", "exp": NOW_MS / 1000 - 1}))));
    let nameless = format!("Bearer {}", world.token(json!({"email": "a@b"})));
    let (bad, expired): (&[_], &[_]) = (&[("authorization", "Bearer x")], &[("authorization", late.as_str())]);
    let good: &[(&str, &str)] = &[("authorization", &alice)];
    let two: &[(&str, &str)] = &[("authorization", "Bearer x,Bearer y")];
    let missing = Err(Code::MissingCredential);
    assert_eq!(
        answers(&world, "/", FROM, &[&[], &[], &[], two, two]),
        [missing, missing, missing, Err(Code::MalformedRequest), Err(Code::MalformedRequest)]
    );
    assert_eq!(
        answers(&world, "/o", FROM, &[bad, bad, bad]),
        [Ok(()); 3],
        "an ignored one is no failure: nothing was refused"
    );
    assert_eq!(
        answers(&world, "/", FROM, &[bad, expired, bad, expired, good, &[], &[("authorization", &nameless)]]),
        [BAD, Err(Code::ExpiredToken), MANY, MANY, Ok(()), missing, MANY]
    );
    assert_eq!(
        answers(&world, "/", "192.0.2.9", &[&[("authorization", &nameless)], bad, bad]),
        [Err(Code::ClaimMissing), BAD, MANY]
    );
    let refused = world.ask(&Ask { source: FROM.parse().ok(), ..get("/", bad) });
    let Verdict::Deny(deny) = refused.verdict else { panic!("allowed") };
    assert_eq!(deny.limited, Some(RateLimited { limit: 2, window_seconds: 60, retry_after_seconds: 60 }));
}

#[test]
fn nobody_chooses_the_address_it_is_counted_by() {
    let spec = |hops: u8| {
        policy(&format!("limits: {{failedAuthentications: {{rate: 1, window: 60s}}, trustedProxyHops: {hops}}}"))
    };
    let bad = |forwarded| vec![("authorization", "Bearer x"), ("x-forwarded-for", forwarded)];
    // For each number of proxies: two requests from one address; whether the second counts as the same client.
    for (hops, first, second, same) in [
        // Nobody is trusted: the header means nothing.
        (0, "10.0.0.1", "10.0.0.2", true),
        // The last entry is what the proxy saw; what stands before it is the client's invention.
        (1, "10.0.0.1, 198.51.100.7", "10.0.0.2, 198.51.100.7", true),
        (1, "198.51.100.7", "198.51.100.8", false),
        (1, "1.1.1.1,198.51.100.7:4711", "2.2.2.2,198.51.100.7:4712", true),
        (1, "[2001:db8::1]:80", "2001:db8::2", true),
        (2, "9.9.9.1, 198.51.100.7, 10.0.0.1", "9.9.9.2, 198.51.100.7, 10.0.0.2", true),
        (2, "198.51.100.7, 10.0.0.1", "198.51.100.8, 10.0.0.1", false),
        // Not an address, or not as many entries as proxies: back to what the proxy reports.
        (1, "unknown", "_hidden", true),
        (1, "10.0.0.1,", "10.0.0.2, ", true),
        (1, "10.0.0.999", "fe80::1%eth0", true),
        (2, "10.0.0.1", "10.0.0.2", true),
        (16, "1.1.1.1,2.2.2.2", "3.3.3.3,4.4.4.4", true),
    ] {
        let world = World::new(&spec(hops));
        let expected = [BAD, if same { MANY } else { BAD }];
        assert_eq!(answers(&world, "/", FROM, &[&bad(first), &bad(second)]), expected, "{hops} {first} {second}");
    }
    // Two lines are one list, in order.
    let world = World::new(&spec(1));
    let lines = |one, two| vec![("authorization", "Bearer x"), ("x-forwarded-for", one), ("x-forwarded-for", two)];
    assert_eq!(
        answers(&world, "/", FROM, &[&lines("10.0.0.1", "198.51.100.7"), &lines("10.0.0.2", "198.51.100.7")]),
        [BAD, MANY]
    );
    // Another address of the same host is the same host.
    let world = World::new(&spec(0));
    assert_eq!(answers(&world, "/", "2001:db8::1", &[&bad("")]), [BAD]);
    assert_eq!(answers(&world, "/", "2001:db8::ffff", &[&bad("")]), [MANY]);
    assert_eq!(answers(&world, "/", "::ffff:192.0.2.1", &[&bad("")]), [BAD]);
    assert_eq!(answers(&world, "/", FROM, &[&bad("")]), [MANY]);
}

#[test]
fn own_answers_count_and_preflights_do_not() {
    let world = World::new(&policy(
        "limits: {requests: {rate: 1, window: 60s, by: Global}}\ncors: {allowOrigins: ['https://ui.test']}\n\
         routes: [{name: own, paths: [/own], respond: {status: 200}}]",
    ));
    let (alice, origin) = (bearer(&world, "alice"), ("origin", "https://ui.test"));
    for _ in 0..2 {
        let headers = [origin, ("access-control-request-method", "GET")];
        let preflight = world.ask(&Ask { method: "OPTIONS", ..get("/own", &headers) });
        assert!(matches!(preflight.verdict, Verdict::Answer(_)) && preflight.facts.limit.is_none());
    }
    let good = [("authorization", alice.as_str())];
    assert!(matches!(world.ask(&get("/own", &good)).verdict, Verdict::Answer(_)));
    assert_eq!(code(&world.ask(&get("/own", &good))), OVER);
}

#[test]
fn on_trial_limits_count_and_refuse_nothing() {
    let world = World::new(&policy(
        "mode: Audit\nlimits: {requests: {rate: 1, window: 60s, by: Global}, failedAuthentications: {rate: 1, window: 60s}}",
    ));
    let alice = bearer(&world, "alice");
    for (authorization, audited) in [
        (alice.as_str(), None),
        (alice.as_str(), Some(Code::RateLimited)),
        ("Bearer x", Some(Code::InvalidToken)),
        ("Bearer x", Some(Code::TooManyFailures)),
    ] {
        let request = Ask { source: FROM.parse().ok(), ..get("/", &[("authorization", authorization)]) };
        let decision = world.ask(&request);
        assert_eq!(decision.facts.audited.as_ref().map(|deny| deny.code), audited);
        assert!(matches!(decision.verdict, Verdict::Allow(_)), "{authorization}");
    }
}

#[test]
fn nobody_is_counted_as_somebody_else_and_no_word_of_a_client_escapes_the_count() {
    let text = policy(
        "limits: {requests: {rate: 1, window: 60s}}\ncredentials: [{header: Authorization, scheme: Bearer}, {cookie: sid}]",
    )
    .replace("audiences: [api]}}", "audiences: [api]}}, {name: other, jwt: {issuer: 'https://other.test', audiences: [api]}}");
    let mut world = World::new(&text);
    world.keys("https://other.test", true, false, false);
    let token = |claims| format!("Bearer {}", world.token(claims));
    let (alice, bob) = (token(json!({"sub": "alice"})), token(json!({"sub": "bob"})));
    let ask = |headers: &[(&str, &str)]| code(&world.ask(&get("/", headers)));
    assert_eq!(ask(&[("authorization", &alice)]), Ok(()));
    // The same subject of another issuer is another person.
    let namesake = token(json!({"sub": "alice", "iss": "https://other.test"}));
    assert_eq!(ask(&[("authorization", &namesake)]), Ok(()));
    // Another token of the same person, and one that is padded with claims, is the same person.
    for again in
        [json!({"sub": "alice", "jti": "2"}), json!({"sub": "alice", "email": "bob@example.com", "name": "bob"})]
    {
        assert_eq!(ask(&[("authorization", &token(again))]), OVER);
    }
    // One credential speaks: a cookie beside it is nobody's count, and two of one kind are no credential at all.
    let cookie = format!("sid={}", bob.trim_start_matches("Bearer "));
    assert_eq!(ask(&[("authorization", &alice), ("cookie", &cookie)]), OVER);
    let both = format!("{bob}, {alice}");
    assert_eq!(ask(&[("authorization", &both)]), Err(Code::MalformedRequest));
    for (name, value) in [
        ("user-agent", "kube-probe/1.30"),
        ("user-agent", "GoogleHC/1.0"),
        ("x-auth-user", "somebody-else"),
        ("x-auth-subject", "bob"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-ratelimit-remaining", "99"),
        ("x-http-method-override", "OPTIONS"),
    ] {
        assert_eq!(ask(&[("authorization", &alice), (name, value)]), OVER, "{name}: {value}");
    }
    assert_eq!(ask(&[("authorization", &bob)]), Ok(()), "none of it was bob's");
}
