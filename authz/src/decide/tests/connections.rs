//! Locks which requests ask for room for a connection, for whom, and what no room means.

use serde_json::json;

use super::*;
use crate::limits::Lease;

const UPGRADE: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];

/// Decides; there is this room. Gives what was asked too: once, however often the decision is made.
fn asked(world: &World, request: &Ask<'_>, room: &dyn Fn(&LeaseAsk) -> Leased) -> (Decision, Vec<Arc<LeaseAsk>>) {
    let (mut awaited, mut questions) = (Awaited::default(), Vec::new());
    loop {
        match world.step(request, &awaited, NOW_MS) {
            Step::Done(decision) => return (decision, questions),
            Step::Wait(Need::Lease(ask)) => {
                assert!(questions.is_empty(), "asks twice");
                awaited.note_lease(ask.clone(), room(&ask));
                questions.push(ask);
            }
            Step::Wait(need) => panic!("waits for {need:?}"),
        }
    }
}

fn granted(ask: &LeaseAsk) -> Leased {
    Leased::Granted(Lease { counter: ask.counter, id: 7 })
}

fn handshake<'a>(path: &'a str, authorization: &'a str) -> Ask<'a> {
    get(path, &[UPGRADE[0], UPGRADE[1], ("authorization", authorization)])
}

#[test]
fn handshakes_that_pass_ask_for_room_and_nothing_else_does() {
    let world = World::new(&policy(
        "limits: {connections: {max: 2}, requests: {rate: 3, window: 60s}}\n\
         routes: [{name: no, paths: [/no], require: {roles: [admin]}}, {name: open, paths: [/open], access: Public}, {name: own, paths: [/own], respond: {status: 200}}]",
    ));
    let alice = format!("Bearer {}", world.token(json!({"sub": "alice"})));
    let (decision, questions) = asked(&world, &handshake("/ws", &alice), &granted);
    assert_eq!((code(&decision), questions.len()), (Ok(()), 1));
    assert_eq!((questions[0].max, decision.facts.lease.map(|lease| lease.id)), (2, Some(7)));
    for request in [
        get("/ws", &[("authorization", &alice)]),
        handshake("/no", &alice),
        handshake("/open", &alice),
        handshake("/ws", "Bearer x"),
    ] {
        let (decision, questions) = asked(&world, &request, &granted);
        assert!(questions.is_empty() && decision.facts.lease.is_none(), "{}", request.path);
    }
    assert!(asked(&world, &handshake("/own", &alice), &granted).1.is_empty(), "an answer of ours opens nothing");
    // Three of a minute have passed, each counted once. A lease that was taken by then is told with the refusal, so that its end is too.
    let (over, questions) = asked(&world, &handshake("/ws", &alice), &granted);
    assert_eq!((code(&over), questions.len()), (Err(Code::RateLimited), 1));
    assert_eq!(over.facts.lease.map(|lease| lease.id), Some(7));
}

#[test]
fn no_room_is_a_429_and_not_knowing_is_the_policys_choice() {
    let store = |more: &str| {
        World::new(&policy(&format!(
            "limits: {{connections: {{max: 2, by: Global}}, store: {{redis: {{url: 'rediss://redis.test'{more}}}}}}}"
        )))
    };
    for (more, known, expected) in [
        ("", Leased::Full, Err(Code::RateLimited)),
        ("", Leased::Unknown, Err(Code::Unavailable)),
        (", onFailure: Allow", Leased::Full, Err(Code::RateLimited)),
        (", onFailure: Allow", Leased::Unknown, Ok(())),
    ] {
        let world = store(more);
        let alice = format!("Bearer {}", world.token(json!({"sub": "alice"})));
        let (decision, questions) = asked(&world, &handshake("/ws", &alice), &|_| known);
        assert_eq!(code(&decision), expected, "{more} {known:?}");
        assert!(questions[0].store.is_some() && decision.facts.lease.is_none());
    }
}
