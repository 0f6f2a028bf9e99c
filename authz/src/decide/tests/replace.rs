//! Credentials of ours: who gets one, what is in it, and who never sees it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef-new";
const MINTED: &str = "credentials: [{header: Authorization, scheme: Bearer}, {header: X-API-Key}]
invalidCredential: Ignore
routes:
- {name: open, paths: [/open], access: Public}
- {name: maybe, paths: [/maybe], access: Optional}
- {name: keep, paths: [/keep], forward: {credential: Keep}}
- {name: static, paths: [/static], forward: {replaceCredential: {static: {header: X-API-Key, secretKeyRef: {name: s, key: key}}}}}
- {name: broken, paths: [/broken], forward: {replaceCredential: {static: {header: X-API-Key, secretKeyRef: {name: s, key: nothing}}}}}
- {name: failing, paths: [/failing], forward: {replaceCredential: {signedJWT: {algorithm: HS256, secretKeyRef: {name: s, key: jwt}, claims: {a: principal.claims}}}}}
forward:
  replaceCredential:
    signedJWT: {algorithm: HS256, secretKeyRef: {name: s, key: jwt}, audience: app, lifetime: 90s,
      claims: {sub: principal.subject, roles: principal.roles, mail: principal.email, n: '1 + 1', ok: 'true', path: request.path}}";

fn world() -> World {
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\nstringData: {{jwt: {SECRET}, key: 'static value', nothing: \"two\\nlines\"}}\n"
    );
    World::new(&(policy(MINTED) + &secret))
}

/// The claims of what the upstream gets, its signature checked by an independent library.
fn minted(decision: &Decision) -> Value {
    let token = set(decision, "authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let mut rules = Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.set_audience(&["app"]);
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_secret(SECRET.as_bytes()), &rules).unwrap().claims
}

#[test]
fn a_proven_caller_gets_a_token_of_ours() {
    let world = world();
    let bearer = format!("Bearer {}", world.token(json!({"sub": "alice", "roles": ["a", "b"]})));
    let decision = world.ask(&get("/x", &[("authorization", &bearer), ("x-api-key", "mine")]));
    let seconds = NOW_MS / 1000;
    // `mail` reads an unset field and is left out.
    let claims = json!({"sub": "alice", "roles": ["a", "b"], "n": 2, "ok": true, "path": "/x", "aud": "app", "iat": seconds, "exp": seconds + 90});
    assert_eq!(minted(&decision), claims);
    assert!(removed(&decision, "x-api-key") && !removed(&decision, "authorization"));
    assert!(changes(&decision).is_secret("authorization") && !changes(&decision).is_secret("x-auth-subject"));
    let token = set(&decision, "authorization").unwrap();
    assert!(!format!("{decision:?}").contains(token), "the token is not printed");
    let header = token.trim_start_matches("Bearer ").split('.').next().unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"typ":"JWT","alg":"HS256"}"#);
}

#[test]
fn nobody_else_gets_or_brings_one() {
    let world = world();
    for headers in [vec![], vec![("authorization", "Bearer x")], vec![("authorization", "Basic eDp5")]] {
        let decision = world.ask(&get("/maybe", &headers));
        assert_eq!((code(&decision), set(&decision, "authorization")), (Ok(()), None), "{headers:?}");
        assert!(removed(&decision, "authorization"), "{headers:?}");
    }
    let open = world.ask(&get("/open", &[("authorization", "Bearer x")]));
    assert!(
        set(&open, "authorization").is_none() && !removed(&open, "authorization"),
        "public routes leave the client's own"
    );
}

#[test]
fn what_is_passed_on_unverified_is_that_one_header() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {key: value}\n";
    let world = |header: &str| {
        let spec = format!(
            "credentials: [{{header: Authorization, scheme: Bearer}}, {{header: X-Token}}]\n\
             internal: {{access: Optional, invalidCredential: PassUnverified}}\n\
             forward: {{replaceCredential: {{static: {{header: {header}, secretKeyRef: {{name: s, key: key}}}}}}}}"
        );
        World::new(&(policy(&spec) + secret))
    };
    let (bearer, token) = (("authorization", "Bearer bad.bad.bad"), ("x-token", "bad.bad.bad"));
    let (own, alias) = (("x-api-key", "mine"), ("x_api_key", "mine"));
    for (replaced, sent, kept, gone) in [
        ("X-Api-Key", vec![bearer, own, alias], "authorization", vec!["x-api-key", "x_api_key", "x-token"]),
        ("X-Api-Key", vec![token, own, alias], "x-token", vec!["x-api-key", "x_api_key", "authorization"]),
        ("Authorization", vec![bearer], "authorization", vec!["x-token"]),
        ("Authorization", vec![token, ("authorization", "Basic eDp5")], "x-token", vec!["authorization"]),
        ("X-Token", vec![token, ("x_token", "mine")], "x-token", vec!["x_token", "authorization"]),
    ] {
        let decision = world(replaced).ask(&Ask { host: "a.research.svc", ..get("/", &sent) });
        assert_eq!(set(&decision, "x-auth-type"), Some("unverified-jwt"), "{replaced} {sent:?}");
        assert!(!removed(&decision, kept) && set(&decision, kept).is_none(), "{replaced} {sent:?}");
        for name in gone {
            assert!(removed(&decision, name) && set(&decision, name).is_none(), "{name}: {replaced} {sent:?}");
        }
    }
}

#[test]
fn keep_remove_and_replace_are_one_choice() {
    let world = world();
    let bearer = format!("Bearer {}", world.token(json!({"sub": "alice"})));
    let kept = world.ask(&get("/keep", &[("authorization", &bearer)]));
    assert!(set(&kept, "authorization").is_none() && !removed(&kept, "authorization"));
    let fixed = world.ask(&get("/static", &[("authorization", &bearer), ("x_api_key", "mine")]));
    assert_eq!(set(&fixed, "x-api-key"), Some("static value"));
    assert!(removed(&fixed, "authorization") && removed(&fixed, "x_api_key") && changes(&fixed).is_secret("x-api-key"));
}

#[test]
fn what_cannot_be_made_or_trusted_is_refused() {
    let world = world();
    let bearer = format!("Bearer {}", world.token(json!({"sub": "alice"})));
    let sent = [("authorization", bearer.as_str())];
    assert_eq!(code(&world.ask(&get("/broken", &sent))), Err(Code::Unavailable), "a secret that is no header value");
    assert_eq!(code(&world.ask(&get("/failing", &sent))), Err(Code::ClaimUnusable), "a map is no claim");
    for (path, expected) in
        [("/x", Err(Code::Unavailable)), ("/static", Err(Code::Unavailable)), ("/keep", Ok(())), ("/open", Ok(()))]
    {
        let anybody = Ask { proven_peer: false, ..get(path, &sent) };
        assert_eq!(code(&world.ask(&anybody)), expected, "{path} for a peer that might be anybody");
    }
    let keyless = World::new(&policy(MINTED));
    assert_eq!(
        code(&keyless.ask(&get("/x", &[("authorization", "Bearer x")]))),
        Err(Code::InvalidToken),
        "a bad token stays the client's fault"
    );
    let bearer = format!("Bearer {}", keyless.token(json!({"sub": "alice"})));
    for (path, expected) in [("/x", Err(Code::Unavailable)), ("/maybe", Err(Code::Unavailable)), ("/keep", Ok(()))] {
        assert_eq!(code(&keyless.ask(&get(path, &[("authorization", &bearer)]))), expected, "{path} without a key");
    }
    assert_eq!(code(&keyless.ask(&get("/maybe", &[]))), Ok(()), "who needs no token needs no key");
}

#[test]
fn keys_of_our_own_sign_what_anybody_can_verify() {
    let world = World::new(&policy(
        "forward: {replaceCredential: {signedJWT: {algorithm: ES256, audience: app, claims: {sub: principal.user}}}}",
    ));
    let bearer = format!("Bearer {}", world.token(json!({"sub": "alice"})));
    let request = get("/x", &[("authorization", bearer.as_str())]);
    let (decision, _) = super::services::ask_with(&world, &request, NOW_MS, 0, &|_| panic!("asks a service"));
    let token = set(&decision, "authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let published: jsonwebtoken::jwk::JwkSet = serde_json::from_value(world.signers.jwks().unwrap()).unwrap();
    let key = published.find(&jsonwebtoken::decode_header(token).unwrap().kid.unwrap()).unwrap();
    let mut rules = Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&["app"]);
    rules.set_issuer(&["http://127.0.0.1:9002"]);
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &rules).unwrap().claims;
    assert_eq!(claims["sub"], set(&decision, "x-auth-user").unwrap());
    // Whoever has no keys of his own refuses, and waits once.
    let empty = World { signers: crate::signers::OwnKeys::open(None, ""), ..world };
    let mut awaited = Awaited::default();
    let Step::Wait(Need::Signer(algorithm)) = empty.step(&request, &awaited, NOW_MS) else { panic!("does not wait") };
    awaited.note_signer(algorithm);
    let Step::Done(decision) = empty.step(&request, &awaited, NOW_MS) else { panic!("waits twice") };
    assert_eq!(code(&decision), Err(Code::Unavailable));
}
