//! Locks what a shared store is asked, how often, and what its silence means.

use serde_json::json;
use smallvec::SmallVec;

use super::*;
use crate::limits::Taken;

const FROM: &str = "192.0.2.1";
const STORE: &str = "store: {redis: {url: 'rediss://redis.test'}}";
const OPEN: &str = "store: {redis: {url: 'rediss://redis.test', onFailure: Allow}}";

/// Decides; the store says this. Gives the questions too: each is asked once, however often the decision is made.
fn asked(world: &World, request: &Ask<'_>, store: &dyn Fn(&Tally) -> Tallied) -> (Decision, Vec<Arc<Tally>>) {
    let (mut awaited, mut questions) = (Awaited::default(), Vec::new());
    loop {
        match world.step(request, &awaited, NOW_MS) {
            Step::Done(decision) => return (decision, questions),
            Step::Wait(Need::Count(tally)) => {
                assert!(!questions.contains(&tally), "asks twice: {tally:?}");
                awaited.note_count(tally.clone(), store(&tally));
                questions.push(tally);
            }
            Step::Wait(Need::Code(attempt, store)) => {
                assert!(store.is_some(), "a code that is used up for this process alone");
                awaited.note_code(attempt, world.factors.redeem(&attempt, NOW_MS));
            }
            Step::Wait(need) => panic!("waits for {need:?}"),
        }
    }
}

fn taken(allowed: bool, remaining: u32) -> Taken {
    Taken { allowed, remaining, resets_ms: NOW_MS + 12_000 }
}

/// What the store says; one that says nothing is silent.
fn all(taken: &[Taken]) -> Tallied {
    (!taken.is_empty()).then(|| SmallVec::from_slice(taken))
}

fn bearer(world: &World) -> String {
    format!("Bearer {}", world.token(json!({"sub": "alice"})))
}

#[test]
fn all_limits_of_a_request_are_one_question() {
    let world = World::new(&policy(&format!(
        "limits: {{requests: {{rate: 9, window: 60s}}, {STORE}}}\n\
         routes: [{{name: a, paths: [/a], limits: {{requests: {{rate: 5, window: 1s, by: Global}}}}}}, {{name: o, paths: [/o], access: Public}}]"
    )));
    let alice = bearer(&world);
    let request = get("/a", &[("authorization", &alice)]);
    let (decision, questions) = asked(&world, &request, &|_| all(&[taken(true, 4), taken(true, 2)]));
    assert_eq!(code(&decision), Ok(()));
    assert_eq!(questions.len(), 1);
    let counts: Vec<_> = questions[0].counts.iter().map(|count| (count.rate, count.window.as_secs())).collect();
    assert_eq!((questions[0].take, counts), (true, vec![(5, 1), (9, 60)]), "the route's first");
    assert_eq!(decision.facts.limit.map(|standing| (standing.limit, standing.taken.remaining)), Some((9, 2)));
    let (over, _) = asked(&world, &request, &|_| all(&[taken(true, 0), taken(false, 0)]));
    let Verdict::Deny(deny) = over.verdict else { panic!("allowed") };
    assert_eq!(deny.limited, Some(RateLimited { limit: 9, window_seconds: 60, retry_after_seconds: 12 }));
    assert!(asked(&world, &get("/o", &[]), &|_| None).1.is_empty(), "public routes count nowhere");
    // The same person from elsewhere, the same counters; somebody else, the route's alone.
    let again = Ask { source: FROM.parse().ok(), ..get("/a", &[("authorization", &alice)]) };
    let bob = format!("Bearer {}", world.token(json!({"sub": "bob"})));
    let names = |request: &Ask<'_>| {
        let (_, questions) = asked(&world, request, &|_| all(&[taken(true, 4), taken(true, 2)]));
        [questions[0].counts[0].name, questions[0].counts[1].name]
    };
    let (first, other) = (names(&again), names(&get("/a", &[("authorization", &bob)])));
    assert_eq!(first, [questions[0].counts[0].name, questions[0].counts[1].name]);
    assert_eq!((first[0] == other[0], first[1] == other[1]), (true, false));
}

#[test]
fn what_cannot_be_counted_passes_or_not_as_the_policy_says() {
    for (store, expected) in [(STORE, Err(Code::Unavailable)), (OPEN, Ok(()))] {
        let world = World::new(&policy(&format!("limits: {{requests: {{rate: 1, window: 60s}}, {store}}}")));
        let alice = bearer(&world);
        for _ in 0..3 {
            let (decision, questions) = asked(&world, &get("/", &[("authorization", &alice)]), &|_| None);
            assert_eq!((code(&decision), questions.len()), (expected, 1), "{store}");
            assert!(decision.facts.limit.is_none(), "nobody knows how the limit stands");
        }
    }
    let world = World::new(&policy(&format!("mode: Audit\nlimits: {{requests: {{rate: 1, window: 60s}}, {STORE}}}")));
    let (decision, _) = asked(&world, &get("/", &[("authorization", &bearer(&world))]), &|_| None);
    assert_eq!((code(&decision), decision.facts.audited.unwrap().code), (Ok(()), Code::Unavailable));
}

#[test]
fn a_refusal_tells_how_the_limit_stands_and_counts_nothing() {
    let world = World::new(&policy(&format!(
        "limits: {{requests: {{rate: 9, window: 60s}}, {STORE}}}\nroutes: [{{name: no, paths: [/no], require: {{roles: [admin]}}}}]"
    )));
    let alice = bearer(&world);
    for (store, told) in [(all(&[taken(true, 3)]), Some(3)), (None, None)] {
        let (decision, questions) = asked(&world, &get("/no", &[("authorization", &alice)]), &|_| store.clone());
        assert_eq!(code(&decision), Err(Code::Forbidden));
        assert_eq!(questions.iter().map(|tally| tally.take).collect::<Vec<_>>(), [false]);
        assert_eq!(decision.facts.limit.map(|standing| standing.taken.remaining), told);
    }
    let (stranger, questions) = asked(&world, &get("/", &[]), &|_| None);
    assert_eq!(
        (code(&stranger), questions.len()),
        (Err(Code::MissingCredential), 0),
        "who is nobody costs no question"
    );
}

#[test]
fn bad_credentials_are_counted_there_and_here_while_it_is_silent() {
    for store in [STORE, OPEN] {
        let world =
            World::new(&policy(&format!("limits: {{failedAuthentications: {{rate: 2, window: 60s}}, {store}}}")));
        let bad = Ask { source: FROM.parse().ok(), ..get("/", &[("authorization", "Bearer x")]) };
        let alice = bearer(&world);
        let one = |store: Tallied| {
            let (decision, questions) = asked(&world, &bad, &|_| store.clone());
            assert_eq!(questions.len(), 1);
            code(&decision)
        };
        assert_eq!(one(all(&[taken(true, 1)])), Err(Code::InvalidToken));
        assert_eq!(one(all(&[taken(false, 0)])), Err(Code::TooManyFailures));
        // Down is no time to guess in, and no way to lock anybody out.
        for expected in [Code::InvalidToken, Code::InvalidToken, Code::TooManyFailures, Code::TooManyFailures] {
            assert_eq!(one(None), Err(expected));
        }
        assert_eq!(one(all(&[taken(true, 1)])), Err(Code::InvalidToken), "its word is the last");
        let good = Ask { source: FROM.parse().ok(), ..get("/", &[("authorization", &alice)]) };
        let (decision, questions) = asked(&world, &good, &|_| None);
        assert_eq!((code(&decision), questions.len()), (Ok(()), 0), "good ones are not counted");
        let (missing, questions) = asked(&world, &get("/", &[]), &|_| None);
        assert_eq!((code(&missing), questions.len()), (Err(Code::MissingCredential), 0));
    }
}

#[test]
fn a_code_is_used_up_in_the_store_of_the_policy() {
    let codes = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "codes", "namespace": "n"}, "stringData": {"alice": second_factor::BASE32}});
    let text = policy(&format!("limits: {{failedAuthentications: {{rate: 1, window: 60s}}, {STORE}}}"))
        .replace("audiences: [api]}}", "audiences: [api]}, totp: {secretsRef: {name: codes}}}");
    let world = World::new(&format!("{text}---\n{codes}"));
    let credential = format!("{}:{}", bearer(&world), second_factor::code_at(NOW_MS));
    let request = get("/", &[("authorization", &credential)]);
    let (decision, questions) = asked(&world, &request, &|_| all(&[taken(true, 0)]));
    assert_eq!((code(&decision), questions.len()), (Ok(()), 0));
    // The second time is a bad credential, which is counted, once.
    let (again, questions) = asked(&world, &request, &|_| all(&[taken(false, 0)]));
    assert_eq!((code(&again), questions.len()), (Err(Code::TooManyFailures), 1));
}
