//! Locks what comes of a policy's words and of those of its parts: what replaces, what adds up, and what must not differ.

use super::*;

#[test]
fn routes_replace_add_and_merge() {
    let spec = "\
externalHostnames: [a.test]
credentials: [{header: Authorization, scheme: Bearer}, {cookie: sid}]
authenticators:
- {name: one, jwt: {issuer: 'https://one', audiences: [a]}}
- {name: two, credentials: [{header: X-Key}], jwt: {issuer: 'https://two', audiences: [a]}}
require: {roles: [staff]}
errors: {profile: AIQ}
forward: {credential: Keep, headers: [{name: x-a, claim: a}]}
routes:
- {name: r, paths: [/r], access: Optional, authenticators: [two], require: {scopes: [w]}, errors: {message: No}, forward: {headerPrefix: x-id-}}";
    let compiled = compile(&policy("n/a", spec));
    let policy = only(&compiled);
    let places = |rules: &crate::snapshot::Rules| {
        rules.sources.iter().map(|source| (place(&source.kind), source.readers.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(
        places(&policy.rules),
        [("authorization".to_owned(), vec![0]), ("sid".to_owned(), vec![0]), ("x-key".to_owned(), vec![1])]
    );
    let route = policy.routes.iter().next().unwrap();
    assert_eq!(
        places(&route.rules),
        [("authorization".to_owned(), vec![]), ("sid".to_owned(), vec![]), ("x-key".to_owned(), vec![0])]
    );
    assert_eq!(route.rules.require.len(), 2);
    assert_eq!(
        (route.rules.errors.profile, route.rules.errors.message.as_deref()),
        (crate::snapshot::ErrorProfile::AIQ, Some("No"))
    );
    assert_eq!(route.rules.forward.credential, CredentialForwarding::Keep);
    assert_eq!(&*route.rules.forward.names[3], "x-id-subject");
    for owned in ["x-auth-subject", "x_id.user", "X-A"] {
        assert!(policy.owned.covers(owned), "{owned}");
    }
    assert!(!policy.owned.covers("x-other"));
}

#[test]
fn a_silent_route_is_as_public_inside_as_the_internal_block_says() {
    let spec = format!(
        "{SSO}\nrequire: {{roles: [staff]}}\ninternal: {{access: Public, useRoutes: true}}\nroutes:\n\
         - {{name: silent, paths: [/s]}}\n- {{name: own, paths: [/o], require: {{scopes: [w]}}}}\n- {{name: loud, paths: [/l], access: Authenticated}}"
    );
    let compiled = compile(&policy("n/a", &spec));
    let inside = only(&compiled).routes.iter().map(|route| {
        let rules = route.internal_rules.as_ref().unwrap();
        (rules.access, rules.require.len(), route.rules.require.len())
    });
    let expected = [(Access::Public, 0, 1), (Access::Public, 1, 2), (Access::Authenticated, 1, 1)];
    assert_eq!(inside.collect::<Vec<_>>(), expected);
}

#[test]
fn one_cookie_has_one_list_of_origins() {
    let policy_of = |policy_list: &str, authenticator: &str, route: &str| {
        let jwt = "jwt: {issuer: 'https://sso.test', audiences: [api]}";
        let spec = format!(
            "credentials: [{{cookie: s{policy_list}}}]\nauthenticators: [{{name: a, {jwt}}}, {{name: b, credentials: [{{cookie: s{authenticator}}}], {jwt}}}]\n\
             routes: [{{name: r, paths: [/r], authenticators: [a]{route}}}]"
        );
        compile(&policy("n/a", &spec))
    };
    let (two, turned, one) = (
        ", allowedOrigins: ['https://a.test', 'https://b.test']",
        ", allowedOrigins: ['https://b.test', 'https://a.test']",
        ", allowedOrigins: ['https://a.test']",
    );
    let route = format!(", credentials: [{{cookie: s{one}}}]");
    let twice = format!(", credentials: [{{cookie: s{one}}}, {{cookie: s}}]");
    for (policy_list, authenticator, route, at) in [
        (two, turned, "", None),
        ("", "", "", None),
        // Readers of one place alone: what the others' place says is not about this route.
        (two, turned, route.as_str(), None),
        (two, one, "", Some("spec.credentials")),
        ("", one, "", Some("spec.credentials")),
        (one, "", "", Some("spec.credentials")),
        (two, two, twice.as_str(), Some("spec.routes[0].credentials")),
    ] {
        let compiled = policy_of(policy_list, authenticator, route);
        let word = if at.is_some() { "n/a Invalid" } else { "n/a Accepted ResolvedRefs" };
        assert_eq!(words(&compiled), [word], "{policy_list} {authenticator} {route}: {}", message(&compiled));
        assert!(
            at.is_none_or(|at| message(&compiled).contains(&format!("{at}: the cookie `s`"))),
            "{}",
            message(&compiled)
        );
    }
}

fn place(kind: &SourceKind) -> String {
    match kind {
        SourceKind::Header { name, .. }
        | SourceKind::Cookie { name, .. }
        | SourceKind::Query { name, .. }
        | SourceKind::WebSocketProtocol { name } => name.to_string(),
        SourceKind::ClientCertificate => "the certificate".to_owned(),
    }
}
