//! An expression of a policy and a request: `EXPRESSION\n\nREQUEST`. What is accepted ends, soon and without a panic.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use authz::{
    expr::{Failure, Inputs, claim_value, condition, header_value},
    principal::{CallerKind, Principal, PrincipalKind, Traffic},
};
use crds::expr::{Expr, MAX_SOURCE, Place};
use fuzz::Request;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static PRINCIPAL: LazyLock<Principal> = LazyLock::new(|| {
    let claims =
        json!({"sub": "alice", "groups": ["ops", "dev", "admin"], "n": 7, "deep": {"a": {"b": [1, 2.5, null, "x"]}}});
    let Value::Object(claims) = claims else { unreachable!() };
    Principal {
        kind: PrincipalKind::Jwt,
        authenticator: "sso".into(),
        issuer: Some("https://sso.test".into()),
        subject: "alice".into(),
        user: "0123456789abcdef0123456789abcdef".into(),
        email: Some("alice@a.test".into()),
        name: None,
        roles: (0..64).map(|index| format!("role-{index}").into()).collect(),
        scopes: (0..64).map(|index| format!("scope-{index}").into()).collect(),
        mfa: false,
        claims,
    }
});

/// The promise is 0.1 s on a quiet machine with optimised code; this code is instrumented, and the machine busy.
const LONGEST: Duration = Duration::from_secs(5);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (source, request) = text.split_once("\n\n").unwrap_or((text, "GET /"));
    let Some(request) = Request::read(request.as_bytes()) else { return };
    let view = request.view();
    let inputs = |caller| Inputs {
        caller,
        principal: Some(&*PRINCIPAL),
        request: &view,
        path: "/a b",
        host: "a.test",
        traffic: Traffic::External,
        route: "r",
    };
    for place in [Place::Header, Place::Condition, Place::Claim] {
        let Ok(expression) = Expr::parse(source, place) else { continue };
        assert!(source.len() <= MAX_SOURCE && expression.source() == source);
        for caller in [CallerKind::Proven(PrincipalKind::Jwt), CallerKind::Anonymous] {
            let began = Instant::now();
            let failure = match place {
                Place::Header => header_value(&expression, &inputs(caller)).err(),
                Place::Condition => condition(&expression, &inputs(caller)).err(),
                Place::Claim => claim_value(&expression, &inputs(caller)).err(),
            };
            assert!(!matches!(failure, Some(Failure::Broken)), "the interpreter panicked");
            assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
        }
    }
});
