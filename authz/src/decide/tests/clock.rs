//! A clock that is set, back, forth and to nonsense.

use super::*;

#[test]
fn a_clock_that_steps_changes_what_has_expired_and_nothing_else() {
    let world = World::new(&policy("limits: {requests: {rate: 1000, window: 60s, by: Principal}}"));
    let token = world.token(serde_json::json!({"sub": "alice"}));
    let bearer = format!("Bearer {token}");
    let request = get("/", &[("authorization", &bearer)]);
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
