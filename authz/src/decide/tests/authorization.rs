//! Locks what roles and scopes open, absent ones included.

use serde_json::json;

use super::*;

const AGENTS: &str = "authorization:\n  missingScopes: Unrestricted\n  roleScopes: {admin: ['*'], viewer: ['graph:read'], nobody: []}\n\
                      authenticators: [{name: sso, jwt: {issuer: 'https://sso.test', audiences: [api]}, claims: {roles: [roles, role], scopes: [scopes]}}]\n\
                      routes:\n- {name: i, paths: [/invoke], require: {scopes: ['graph:read', 'graph:invoke', 'graph:stop']}}\n\
                      - {name: r, paths: [/read], require: {scopes: ['graph:read']}}\n- {name: any, paths: [/any], require: {anyScope: ['a', 'graph:read']}}";

fn agents(spec: &str) -> String {
    let head = "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  externalHostnames: [a.test]\n  ";
    format!("{head}{}\n", spec.replace('\n', "\n  "))
}

fn ask(world: &World, path: &str, claims: &serde_json::Value) -> Decision {
    let bearer = format!("Bearer {}", world.token(with(json!({"sub": "alice"}), claims.clone())));
    world.ask(&get(path, &[("authorization", &bearer)]))
}

#[test]
fn none_empty_and_star() {
    let world = World::new(&agents(AGENTS));
    let short = Err(Code::InsufficientScope);
    for (claims, read, any) in [
        (json!({"scopes": ["graph:read"]}), Ok(()), Ok(())),
        (json!({"scopes": "graph:read other"}), Ok(()), Ok(())),
        (json!({"scopes": ["graph:reads", "GRAPH:READ", "graph"]}), short, short),
        (json!({"scopes": []}), short, short),
        (json!({"scopes": ""}), short, short),
        (json!({"scopes": ["*"]}), Ok(()), Ok(())),
        (json!({"scopes": ["**", "graph:*"]}), short, short),
        // Nothing said: AgentFlow's meaning is no limits.
        (json!({}), Ok(()), Ok(())),
        (json!({"scopes": null}), Ok(()), Ok(())),
        // Said, and not to be read: not nothing.
        (json!({"scopes": 7}), short, short),
        (json!({"scopes": {"graph:read": true}}), short, short),
        (json!({"scopes": ["graph:read", 7]}), short, short),
        // A role that the policy knows is a limit, one that it does not know is none.
        (json!({"role": "viewer"}), Ok(()), Ok(())),
        (json!({"role": "nobody"}), short, short),
        (json!({"role": "admin"}), Ok(()), Ok(())),
        (json!({"role": "stranger"}), Ok(()), Ok(())),
        (json!({"role": "stranger", "scopes": []}), short, short),
        (json!({"role": "viewer", "scopes": []}), Ok(()), Ok(())),
        (json!({"roles": ["nobody", "viewer"]}), Ok(()), Ok(())),
    ] {
        assert_eq!(
            (code(&ask(&world, "/read", &claims)), code(&ask(&world, "/any", &claims))),
            (read, any),
            "{claims}"
        );
    }
}

#[test]
fn deny_is_the_default_and_a_star_means_nothing_without_the_block() {
    let strict = World::new(&agents(&AGENTS.replace("missingScopes: Unrestricted", "missingScopes: Deny")));
    let silent = World::new(&agents(&AGENTS.replace("  missingScopes: Unrestricted\n", "")));
    for world in [&strict, &silent] {
        assert_eq!(code(&ask(world, "/read", &json!({}))), Err(Code::InsufficientScope));
        assert_eq!(code(&ask(world, "/read", &json!({"role": "viewer"}))), Ok(()));
    }
    let without = World::new(&policy("routes: [{name: w, paths: [/w], require: {scopes: [doc:write]}}]"));
    assert_eq!(code(&ask(&without, "/w", &json!({"scope": "*"}))), Err(Code::InsufficientScope));
    assert_eq!(code(&ask(&without, "/w", &json!({}))), Err(Code::InsufficientScope));
}

#[test]
fn the_refusal_names_what_is_missing_in_order() {
    let world = World::new(&agents(AGENTS));
    let missing = |path, claims| match ask(&world, path, &claims).verdict {
        Verdict::Deny(deny) => deny.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Verdict::Allow(_) | Verdict::Answer(_) => Vec::new(),
    };
    assert_eq!(missing("/invoke", json!({"scopes": ["graph:stop"], "role": "viewer"})), ["graph:invoke"]);
    assert_eq!(missing("/invoke", json!({"scopes": []})), ["graph:read", "graph:invoke", "graph:stop"]);
    assert_eq!(missing("/any", json!({"scopes": []})), ["a", "graph:read"]);
    let Verdict::Deny(deny) = ask(&world, "/invoke", &json!({"scopes": ["graph:stop"], "role": "viewer"})).verdict
    else {
        panic!("allowed")
    };
    let needed: Vec<&str> = deny.scopes.iter().map(|one| &**one).collect();
    assert_eq!(needed, ["graph:read", "graph:invoke", "graph:stop"], "a challenge names what the resource needs");
}

#[test]
fn roles_of_the_policy_count_and_reach_the_upstream() {
    let world = World::new(&policy(
        "authorization:\n  roleScopes: {admin: ['*'], mcp: [tools]}\n  roles:\n    jmesPath: \"contains(groups[], 'ops') && 'Admin' || 'none'\"\n    \
         globs: {mcp: ['*@bots.test']}\n    otherwise: guest\n\
         routes:\n- {name: adm, paths: [/admin], require: {roles: [admin]}}\n- {name: tools, paths: [/tools], require: {scopes: [tools]}}\n\
         - {name: cel, paths: [/cel], require: {cel: \"'guest' in principal.roles\"}}",
    ));
    for (claims, admin, tools, roles, scopes) in [
        (json!({"groups": ["ops"]}), true, true, "admin", None),
        (json!({"email": "a@bots.test", "roles": ["old"], "scope": "x"}), false, true, "old,mcp", Some("x")),
        (json!({"email": "a@people.test"}), false, false, "guest", None),
        (json!({"groups": [], "roles": ["guest"]}), false, false, "guest", None),
        (json!({"groups": ["ops"], "roles": ["admin"]}), true, true, "admin", None),
    ] {
        assert_eq!(code(&ask(&world, "/admin", &claims)).is_ok(), admin, "{claims}");
        assert_eq!(code(&ask(&world, "/tools", &claims)).is_ok(), tools, "{claims}");
        let decision = ask(&world, "/", &claims);
        assert_eq!(set(&decision, "x-auth-roles"), Some(roles), "{claims}");
        assert_eq!(set(&decision, "x-auth-scopes"), scopes, "what the credential says, not what roles add: {claims}");
    }
    assert_eq!(code(&ask(&world, "/cel", &json!({}))), Ok(()));
}

#[test]
fn an_edit_of_the_block_ends_what_was_cached() {
    let text =
        |role: &str| policy(&format!("authorization: {{roles: {{otherwise: {role}}}}}\nrequire: {{roles: [admin]}}"));
    let before = World::new(&text("admin"));
    let bearer = format!("Bearer {}", before.token(json!({"sub": "alice"})));
    let request = get("/", &[("authorization", &bearer)]);
    assert_eq!(code(&before.ask(&request)), Ok(()));
    let after = World { tokens: before.tokens, ..World::new(&text("guest")) };
    assert_eq!(code(&after.ask(&request)), Err(Code::Forbidden));
}
