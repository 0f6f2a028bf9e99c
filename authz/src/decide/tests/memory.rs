//! Good tokens without end: what is kept of them has a bound.

use serde_json::json;

use super::{
    confusion::{HS_SECRET, KINDS, document, hs_token, secrets},
    *,
};

#[test]
fn ten_thousand_good_tokens_do_not_grow_the_cache() {
    const MOST_BYTES: u64 = 64 * 1024;
    let mut world = World::new(&(document(&KINDS[1..2], "") + &secrets(&[])));
    world.tokens = TokenCache::new(MOST_BYTES);
    for number in 0..10_000 {
        let bearer = format!("Bearer {}", hs_token(HS_SECRET, json!({"sub": format!("user-{number}")})));
        let decision = world.ask(&get("/", &[("authorization", &bearer)]));
        assert_eq!(set(&decision, "x-auth-subject"), Some(&*format!("user-{number}")));
    }
    let held = world.tokens.held_bytes();
    assert!((1..=MOST_BYTES).contains(&held), "{held}");
}
