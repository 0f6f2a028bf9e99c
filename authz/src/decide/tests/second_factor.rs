//! `TOKEN:CODE`: what is a code, whose it is, and that none is good twice.

use aws_lc_rs::hmac;
use serde_json::json;

use super::{confusion::document, services::ask_with, *};
use crate::remote::Reply;

/// RFC 6238, appendix B, in base32: the bytes are [`SECRET`].
pub(super) const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const SECRET: &[u8] = b"12345678901234567890";
const POLICY: &str =
    "jwt: {issuer: 'https://sso.test', audiences: [api], algorithms: [ES256]}, totp: {secretsRef: {name: codes}}";

/// The code of six digits at this moment, worked out here (RFC 4226 section 5.3).
pub(super) fn code_at(now_ms: i64) -> String {
    let step = u64::try_from(now_ms / 30_000).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[19] & 15);
    let word = u32::from_be_bytes(tag[offset..offset + 4].try_into().unwrap()) & 0x7FFF_FFFF;
    format!("{:06}", word % 1_000_000)
}

fn codes(entries: &serde_json::Value) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "codes", "namespace": "n"}, "stringData": entries})
        .to_string()
}

fn world(authenticator: &str, entries: &serde_json::Value) -> World {
    World::new(&(document(&[("two", authenticator)], "") + &codes(entries)))
}

fn try_at(world: &World, credential: &str, now_ms: i64) -> Decision {
    let bearer = format!("Bearer {credential}");
    ask_with(world, &get("/", &[("authorization", &bearer)]), now_ms, 0, &|_| Reply::Expired).0
}

fn refused(decision: &Decision) -> (Code, Option<Factor>) {
    match &decision.verdict {
        Verdict::Deny(deny) => (deny.code, deny.factor),
        other => panic!("{other:?}"),
    }
}

#[test]
fn token_and_code_are_a_person_with_a_second_factor() {
    let world = world(POLICY, &json!({"alice": BASE32}));
    let token = world.token(json!({"sub": "alice", "mfa_verified": false}));
    let decision = try_at(&world, &format!("{token}:{}", code_at(NOW_MS)), NOW_MS);
    assert_eq!(set(&decision, "x-auth-subject"), Some("alice"));
    assert_eq!(set(&decision, "x-auth-mfa"), Some("true"));
    assert_eq!(decision.facts.proven.unwrap().principal.claims["mfa_verified"], true);
}

#[test]
fn what_is_wrong_with_a_code_is_said_and_nothing_of_it_passes() {
    let world = world(POLICY, &json!({"alice": BASE32}));
    let good = code_at(NOW_MS);
    let (alice, bob) = (world.token(json!({"sub": "alice"})), world.token(json!({"sub": "bob"})));
    let stale = world.token(json!({"sub": "alice", "exp": NOW_MS / 1000 - 1}));
    let invalid = |factor| (Code::InvalidToken, factor);
    for (credential, expected) in [
        (alice.clone(), invalid(Some(Factor::Missing))),
        (format!("{alice}:"), invalid(Some(Factor::Wrong))),
        (format!("{alice}:{}", code_at(NOW_MS - 90_000)), invalid(Some(Factor::Wrong))),
        (format!("{alice}:{good}:{good}"), invalid(Some(Factor::Wrong))),
        (format!("{bob}:{good}"), invalid(Some(Factor::Wrong))),
        (format!("{stale}:{good}"), (Code::ExpiredToken, None)),
        (format!("{alice}x:{good}"), invalid(None)),
        (format!(":{good}"), invalid(None)),
        (good.clone(), invalid(None)),
    ] {
        assert_eq!(refused(&try_at(&world, &credential, NOW_MS)), expected, "{credential}");
    }
    assert_eq!(code(&try_at(&world, &format!("{alice}:{good}"), NOW_MS)), Ok(()), "two wrong ones lock nobody out");
}

#[test]
fn a_code_is_good_once_though_its_token_is_good_for_long() {
    let world = world(POLICY, &json!({"alice": BASE32}));
    let token = world.token(json!({"sub": "alice"}));
    let credential = format!("{token}:{}", code_at(NOW_MS));
    assert_eq!(code(&try_at(&world, &credential, NOW_MS)), Ok(()));
    assert_eq!(refused(&try_at(&world, &credential, NOW_MS)), (Code::InvalidToken, Some(Factor::Wrong)));
    // Another token of hers does not bring the code back, the next code does.
    let other = world.token(json!({"sub": "alice", "jti": "2"}));
    let again = try_at(&world, &format!("{other}:{}", code_at(NOW_MS)), NOW_MS);
    assert_eq!(refused(&again), (Code::InvalidToken, Some(Factor::Wrong)));
    let next = NOW_MS + 30_000;
    assert_eq!(code(&try_at(&world, &format!("{token}:{}", code_at(next)), next)), Ok(()));
}

#[test]
fn after_five_wrong_codes_a_person_waits() {
    let world = world(POLICY, &json!({"alice": BASE32, "bob": BASE32}));
    let token = world.token(json!({"sub": "alice"}));
    for _ in 0..5 {
        let decision = try_at(&world, &format!("{token}:000000"), NOW_MS);
        assert_eq!(refused(&decision), (Code::InvalidToken, Some(Factor::Wrong)));
    }
    let good = format!("{token}:{}", code_at(NOW_MS));
    let decision = try_at(&world, &good, NOW_MS);
    let Verdict::Deny(deny) = &decision.verdict else { panic!("a right code after five wrong ones") };
    assert_eq!(deny.code, Code::TooManyFailures);
    assert_eq!(deny.limited.unwrap(), RateLimited { limit: 5, window_seconds: 300, retry_after_seconds: 300 });
    let bob = world.token(json!({"sub": "bob"}));
    assert_eq!(code(&try_at(&world, &format!("{bob}:{}", code_at(NOW_MS)), NOW_MS)), Ok(()), "bob did nothing");
    let later = NOW_MS + 300_000;
    assert_eq!(code(&try_at(&world, &format!("{token}:{}", code_at(later)), later)), Ok(()));
}

#[test]
fn a_decision_that_waits_for_others_uses_a_code_once() {
    let hook = "authorization: {webhook: {url: 'https://hook.test/active'}}";
    let world = World::new(&(document(&[("two", POLICY)], hook) + &codes(&json!({"alice": BASE32}))));
    let bearer = format!("Bearer {}:{}", world.token(json!({"sub": "alice"})), code_at(NOW_MS));
    let active =
        |_: &crate::remote::What| Reply::Standing(crate::remote::Standing { active: true, ..Default::default() });
    let (decision, questions) = ask_with(&world, &get("/", &[("authorization", &bearer)]), NOW_MS, 0, &active);
    assert_eq!((code(&decision), questions.len()), (Ok(()), 1));
}

#[test]
fn ids_that_name_no_entry_are_enrolled_by_their_digest() {
    let mut entries = serde_json::Map::new();
    let world = world(POLICY, &json!({}));
    let token = world.token(json!({"sub": "alice@example.com"}));
    let probe = World::new(&policy(""));
    let bearer = format!("Bearer {token}");
    let user = set(&probe.ask(&get("/", &[("authorization", &bearer)])), "x-auth-user").unwrap().to_owned();
    entries.insert(user.clone(), json!(BASE32));
    let enrolled = self::world(POLICY, &entries.into());
    let good = code_at(NOW_MS);
    assert_eq!(code(&try_at(&enrolled, &format!("{token}:{good}"), NOW_MS)), Ok(()));
    // Who calls himself like the digest of somebody else has the secret of that entry to know.
    let mallory = enrolled.token(json!({"sub": "mallory"}));
    assert_eq!(refused(&try_at(&enrolled, &format!("{mallory}:{good}"), NOW_MS)).1, Some(Factor::Wrong));
}

#[test]
fn our_own_failure_is_no_wrong_code() {
    let token = |world: &World| format!("{}:{}", world.token(json!({"sub": "alice"})), code_at(NOW_MS));
    let weak = world(POLICY, &json!({"alice": "GEZDGNBVGY3TQOJQ", "bob": BASE32}));
    let gone = World::new(&document(&[("two", POLICY)], ""));
    for world in [weak, gone] {
        assert_eq!(refused(&try_at(&world, &token(&world), NOW_MS)), (Code::Unavailable, None));
    }
}
