//! A clock that is set, back, forth and to nonsense.

use std::time::Instant;

use serde_json::json;

use super::{
    confusion::document,
    services::{ask_with, bearer, read},
    *,
};
use crate::remote::What;

#[test]
fn a_clock_that_steps_changes_what_has_expired_and_nothing_else() {
    let world = World::new(&policy("limits: {requests: {rate: 1000, window: 60s, by: Principal}}"));
    let authorization = bearer(&world.token(json!({"sub": "alice"})));
    let request = get("/", &[("authorization", &authorization)]);
    for (now_ms, expected) in [
        (NOW_MS, Ok(())),
        (NOW_MS - 30_000, Ok(())),
        (NOW_MS + 30_000, Ok(())),
        (NOW_MS + 3_600_000, Err(Code::ExpiredToken)),
        // Back again: what was remembered as good is good.
        (NOW_MS, Ok(())),
        (i64::MAX, Err(Code::ExpiredToken)),
        (0, Ok(())),
        (-1, Ok(())),
        (i64::MIN, Ok(())),
        (NOW_MS, Ok(())),
    ] {
        let Step::Done(decision) = world.step(&request, &Awaited::default(), now_ms) else { panic!("{now_ms}") };
        assert_eq!(code(&decision), expected, "at {now_ms}");
    }
}

#[test]
fn a_clock_that_is_set_back_prolongs_nothing_that_others_said() {
    let world = World::new(&document(&[("svc", "userInfo: {endpoint: 'https://as.test/userinfo'}")], ""));
    let authorization = bearer("opaque-token");
    let headers = [("authorization", authorization.as_str())];
    let remembered = |now_ms| {
        let good = |what: &What| read(what, json!({"sub": "alice"}));
        let (decision, _) = ask_with(&world, &get("/", &headers), now_ms, 1, &good);
        assert_eq!(code(&decision), Ok(()), "at {now_ms}");
        decision.facts.remembered
    };
    assert_eq!(remembered(NOW_MS), Some(false));
    // It is kept for a millisecond: that is over soon by the clock that nobody sets, and in an hour by the other one.
    let begun = Instant::now();
    while remembered(NOW_MS - 3_600_000) == Some(true) {
        assert!(begun.elapsed().as_secs() < 5, "remembered as long as the clock was set back");
    }
}
