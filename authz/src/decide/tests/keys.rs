//! Verdicts that are remembered, and keys that are not known yet.

use super::*;
use crate::jwt::testkit::compact;

#[test]
fn a_hit_answers_like_a_miss_until_the_token_ends() {
    let world = World::new(&policy(""));
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    let request = get("/", &[("authorization", &bearer)]);
    let (first, second) = (world.ask(&request), world.ask(&request));
    assert_eq!(changes(&first), changes(&second));
    assert_eq!(set(&second, "x-auth-subject"), Some("alice"));
    assert!(
        Arc::ptr_eq(first.facts.proven.as_ref().unwrap(), second.facts.proven.as_ref().unwrap()),
        "the second is a hit"
    );
    for (later, expected) in [(599_999, Ok(())), (600_000, Err(Code::ExpiredToken))] {
        let Step::Done(decision) = world.step(&request, &Awaited::default(), NOW_MS + later) else { panic!("waits") };
        assert_eq!(code(&decision), expected, "{later}");
    }
}

#[test]
fn a_cached_verdict_does_not_survive_its_key() {
    let mut world = World::new(&policy(""));
    let bearer = format!("Bearer {}", world.token(serde_json::json!({"sub": "alice"})));
    assert_eq!(code(&world.ask(&get("/", &[("authorization", &bearer)]))), Ok(()));
    world.signer = &ROGUE_P256;
    world.keys(ISSUER, true, false, false);
    assert_eq!(code(&world.ask(&get("/", &[("authorization", &bearer)]))), Err(Code::InvalidToken));
}

#[test]
fn an_unknown_key_waits_once_and_blames_the_right_side() {
    let stranger = token_of(&ED25519, Algorithm::EdDSA, serde_json::json!({"sub": "alice"}));
    for stranger in [stranger, unnamed(&ROGUE_P256, Algorithm::ES256), unnamed(&ED25519, Algorithm::EdDSA)] {
        waits_once_and_blames_the_right_side(&format!("Bearer {stranger}"));
    }
}

/// A token that does not say which key made it.
fn unnamed(signer: &TestKey, algorithm: Algorithm) -> String {
    let claims = serde_json::json!({"iss": ISSUER, "aud": "api", "sub": "alice", "exp": NOW_MS / 1000 + 600});
    signer.token(algorithm, &serde_json::json!({"alg": algorithm.as_str()}).to_string(), claims.to_string())
}

#[test]
fn a_key_that_is_named_nowhere_may_be_turned() {
    let mut world = World::new(&policy(""));
    let bearer = format!("Bearer {}", unnamed(&ROGUE_P256, Algorithm::ES256));
    let request = get("/", &[("authorization", &bearer)]);
    world.keys(ISSUER, true, true, false);
    let mut awaited = Awaited::default();
    let Step::Wait(Need::Keys(id)) = world.step(&request, &awaited, NOW_MS) else { panic!("does not wait") };
    awaited.note_keys(id);
    world.signer = &ROGUE_P256;
    world.keys(ISSUER, true, false, false);
    let Step::Done(decision) = world.step(&request, &awaited, NOW_MS) else { panic!("waits twice") };
    assert_eq!(code(&decision), Ok(()));
}

/// What no key of the issuer could have signed: no algorithm, a shared secret's, one that the policy does not list.
#[test]
fn a_token_of_an_algorithm_that_is_not_accepted_waits_for_no_key() {
    let mut world = World::new(&policy(""));
    let claims = serde_json::json!({"iss": ISSUER, "aud": "api", "sub": "alice", "exp": NOW_MS / 1000 + 600});
    for (known, refreshable, failing) in [(false, true, false), (false, false, true), (true, true, false)] {
        world.keys(ISSUER, known, refreshable, failing);
        for algorithm in ["none", "HS256", "ES384", "RS512", "es256", "ES256 "] {
            let header = serde_json::json!({"alg": algorithm, "typ": "JWT", "kid": "p256"});
            let bearer = format!("Bearer {}", compact(&header.to_string(), claims.to_string(), "signature"));
            let decision = world.ask(&get("/", &[("authorization", &bearer)]));
            assert_eq!(code(&decision), Err(Code::InvalidToken), "{algorithm} {known} {refreshable} {failing}");
        }
    }
}

#[test]
fn the_name_of_a_key_is_looked_up_and_nothing_else() {
    let world = World::new(&policy(""));
    let claims = serde_json::json!({"iss": ISSUER, "aud": "api", "sub": "alice", "exp": NOW_MS / 1000 + 600});
    for (kid, expected) in [
        ("p256", Ok(())),
        ("P256", Err(Code::InvalidToken)),
        ("../../../../dev/null", Err(Code::InvalidToken)),
        ("/proc/self/environ", Err(Code::InvalidToken)),
        ("' UNION SELECT 'k'--", Err(Code::InvalidToken)),
        ("*)(uid=*", Err(Code::InvalidToken)),
        ("$(id)", Err(Code::InvalidToken)),
        ("|id", Err(Code::InvalidToken)),
        ("%00", Err(Code::InvalidToken)),
        ("p256%00", Err(Code::InvalidToken)),
        ("{{7*7}}", Err(Code::InvalidToken)),
        ("*", Err(Code::InvalidToken)),
    ] {
        let header = serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": kid});
        let token = P256.token(Algorithm::ES256, &header.to_string(), claims.to_string());
        let bearer = format!("Bearer {token}");
        assert_eq!(code(&world.ask(&get("/", &[("authorization", &bearer)]))), expected, "{kid}");
    }
}

fn waits_once_and_blames_the_right_side(bearer: &str) {
    let mut world = World::new(&policy(""));
    let request = get("/", &[("authorization", bearer)]);
    for (known, refreshable, failing, waits, after) in [
        (true, true, false, true, Code::Unavailable),
        (true, false, false, false, Code::InvalidToken),
        (true, false, true, false, Code::Unavailable),
        (false, true, false, true, Code::Unavailable),
        (false, false, true, false, Code::Unavailable),
    ] {
        world.keys(ISSUER, known, refreshable, failing);
        let mut awaited = Awaited::default();
        match world.step(&request, &awaited, NOW_MS) {
            Step::Wait(Need::Keys(id)) => {
                assert!(waits, "{known} {refreshable} {failing}");
                awaited.note_keys(id);
            }
            Step::Wait(need) => panic!("waits for {need:?}"),
            Step::Done(_) => assert!(!waits, "{known} {refreshable} {failing}"),
        }
        let Step::Done(decision) = world.step(&request, &awaited, NOW_MS) else { panic!("waits twice") };
        assert_eq!(code(&decision), Err(after), "{known} {refreshable} {failing}");
    }
    // Tokens that no key of this issuer could ever verify wait for nobody.
    world.keys(ISSUER, false, true, false);
    for value in ["Bearer x", "Bearer a.b.c", "Bearer ..", "Bearer null"] {
        assert_eq!(code(&world.ask(&get("/", &[("authorization", value)]))), Err(Code::InvalidToken), "{value}");
    }
}
