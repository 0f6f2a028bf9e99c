//! What the proxy is told about the end of a WebSocket.

use serde_json::json;

use super::*;

const HEADER: &str = crate::decide::lifetime::HEADER;

fn socket<'a>(bearer: &'a str, more: &[(&'a str, &'a str)]) -> Ask<'a> {
    get("/ws", &[&[("upgrade", "websocket"), ("authorization", bearer)], more].concat())
}

fn world(skew: &str) -> World {
    World::new(&policy("").replace("audiences: [api]", &format!("audiences: [api]{skew}")))
}

#[test]
fn a_handshake_is_told_when_its_token_ends_and_nothing_else_is() {
    let now = NOW_MS / 1000;
    for (skew, exp, expected) in [
        ("", json!(now + 600), "600000"),
        // The allowance for clocks is none for the connection, ...
        (", clockSkew: 30s", json!(now + 600), "600000"),
        // ... but to a token that was taken because of it.
        (", clockSkew: 30s", json!(now - 10), "20000"),
        ("", json!(253_402_300_799_i64), "2147483647000"),
    ] {
        let world = world(skew);
        let bearer = format!("Bearer {}", world.token(json!({"sub": "alice", "exp": exp})));
        let mine = [(HEADER, "1")];
        // The second time the token is in the cache.
        for more in [&[][..], &mine] {
            let decision = world.ask(&socket(&bearer, more));
            assert_eq!(set(&decision, HEADER), Some(expected), "{skew} {exp}");
        }
        let plain = world.ask(&get("/ws", &[("authorization", &bearer)]));
        assert_eq!(set(&plain, HEADER), None, "a request that is no handshake may finish");
    }
}

#[test]
fn what_never_ends_has_no_end() {
    let world = World::new(&policy("requireAuth: false"));
    let decision = world.ask(&get("/ws", &[("upgrade", "websocket")]));
    assert_eq!((code(&decision), set(&decision, HEADER)), (Ok(()), None));
}
