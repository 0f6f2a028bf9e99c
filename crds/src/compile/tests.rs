//! Tables: YAML in, verdicts and snapshot out. Locks who is accepted, what stays in force, and which words say so.

mod answers;
mod credentials;
mod merging;
mod services;
mod sharing;

use super::*;
use crate::{
    documents::Objects,
    snapshot::{Access, CredentialForwarding, Entry, Policy, SourceKind},
};

const SSO: &str = "authenticators: [{name: sso, jwt: {issuer: 'https://sso.test', audiences: [api]}}]";

fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  {}\n---\n",
        spec.replace('\n', "\n  ")
    )
}

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    objects.read("p.yaml", text);
    objects
}

fn compiler() -> Compiler {
    Compiler::new(
        Options { lone_policy_answers_all: true, fallback_namespace: None, ..Options::default() },
        LastGood::default(),
    )
}

fn compile(text: &str) -> Compiled {
    compiler().compile(&objects(text))
}

/// `name reason reason…`, one a verdict.
fn words(compiled: &Compiled) -> Vec<String> {
    let reasons =
        |verdict: &Verdict| verdict.conditions.iter().map(|one| one.reason.to_string()).collect::<Vec<_>>().join(" ");
    compiled.verdicts.iter().map(|verdict| format!("{} {}", verdict.name, reasons(verdict))).collect()
}

/// Which policy answers for a host: its name, `!name` when held, or nothing.
fn answers(compiled: &Compiled, host: &str) -> Option<String> {
    compiled.snapshot.for_host(host).map(|entry| match entry {
        Entry::InForce(one) => one.policy.name.to_string(),
        Entry::Held(held) => format!("!{}", held.name),
    })
}

fn only(compiled: &Compiled) -> &Policy {
    match compiled.snapshot.entries() {
        [Entry::InForce(one)] => &one.policy,
        other => panic!("{other:?}"),
    }
}

fn message(compiled: &Compiled) -> &str {
    &compiled.verdicts[0].conditions[0].message
}

#[test]
fn mistakes_name_the_field_and_what_would_be_right() {
    for (spec, path, hint) in [
        (
            "authenticators: [{name: sso, jwt: {issuer: 'https://a', audience: [b]}}]",
            "spec.authenticators[0].jwt.audience",
            "audiences",
        ),
        ("unmatched: Perhaps", "spec.unmatched", "Forbid"),
        ("externalHostnames: api.test", "spec.externalHostnames", "list"),
        (
            "authenticators: [{name: sso, jwt: {issuer: 'ftp://a', audiences: [b]}}]",
            "spec.authenticators[0].jwt.issuer",
            "https",
        ),
        (
            "authenticators: [{name: sso, jwt: {issuer: 'https://a?realm=main', audiences: [b]}}]",
            "spec.authenticators[0].jwt.issuer",
            "query",
        ),
        ("authenticators: [{name: sso, jwt: {issuer: 'https://a', audiences: [b], clockSkew: 6m}}]", "clockSkew", "5m"),
        (
            "authenticators: [{name: sso, jwt: {issuer: 'https://a', audiences: [b], jwksCacheDuration: 1s}}]",
            "jwksCacheDuration",
            "30s",
        ),
        (
            "routes: [{name: a, paths: ['/a'], authenticators: [nobody]}]",
            "spec.routes[0].authenticators[0]",
            "names from spec.authenticators",
        ),
        ("routes: [{name: a, paths: ['/a/../b']}]", "spec.routes[0].paths[0]", "never match"),
        ("forward: {headers: [{name: x-auth-subject, claim: a}]}", "spec.forward.headers[0].name", "set already"),
        (
            "forward: {headers: [{name: x-a, claim: a}, {name: x_a, claim: b}]}",
            "spec.forward.headers[1].name",
            "set already",
        ),
        ("forward: {headers: [{name: te, claim: a}]}", "spec.forward.headers[0].name", "choose another"),
        ("forward: {headers: [{name: x-a, cel: 'principal.typ'}]}", "spec.forward.headers[0].cel", "type"),
        (
            "credentials: [{header: x-key}]\nforward: {headers: [{name: x-key, claim: a}]}",
            "spec.forward",
            "place of credentials",
        ),
        ("require: {cel: 'principal.'}", "spec.require.cel", ""),
        ("authorization: {roles: {jmesPath: 'groups['}}", "spec.authorization.roles.jmesPath", "no JMESPath"),
        ("authorization: {roles: {jmesPath: 'join(a, b)'}}", "spec.authorization.roles.jmesPath", "cost too much"),
        (
            "authorization: {roles: {globs: {admin: ['*', '[a@b']}}}",
            "spec.authorization.roles.globs.admin[1]",
            "no pattern",
        ),
        ("authorization: {webhook: {url: 'https://u:p@a.test'}}", "spec.authorization.webhook.url", "user information"),
        (
            "authenticators: [{name: a, userInfo: {endpoint: 'https://a.test', accepts: {pattern: 'a)(b'}}}]",
            "spec.authenticators[0].userInfo.accepts.pattern",
            "no regular expression",
        ),
        (
            "authenticators: [{name: a, webhook: {url: 'https://a.test', forwardHeaders: [Connection]}}]",
            "spec.authenticators[0].webhook.forwardHeaders[0]",
            "connection",
        ),
        (
            "authenticators: [{name: a, webhook: {url: 'http://a.test', clientCertificateRef: {name: c}}}]",
            "spec.authenticators[0].webhook.clientCertificateRef",
            "TLS",
        ),
        (
            "authenticators: [{name: a, webhook: {url: 'grpc://a.test/verify'}}]",
            "spec.authenticators[0].webhook.url",
            "no path",
        ),
        (
            "routes: [{name: a, paths: ['/{id}'], require: {owner: {webhook: {url: 'https://a.test'}, resource: '{it}'}}}]",
            "spec.routes[0].require.owner.resource",
            "variables",
        ),
        (
            "limits: {store: {redis: {url: 'redis://a.test', clientCertificateRef: {name: c}}}}",
            "spec.limits.store.redis.clientCertificateRef",
            "TLS",
        ),
        ("limits: {store: {redis: {url: 'redis://a.test:65536'}}}", "spec.limits.store.redis.url", "port"),
        ("limits: {store: {redis: {url: 'redis://a.test/65536'}}}", "spec.limits.store.redis.url", "database"),
        ("login: {}", "spec.login", "does not have"),
        ("publicURL: 'https://'", "spec.publicURL", "http"),
    ] {
        let with_sso = if spec.contains("authenticators: [{") { String::new() } else { format!("\n{SSO}") };
        let compiled = compile(&policy("n/a", &format!("{spec}{with_sso}")));
        let word = if hint == "does not have" { "n/a Unsupported" } else { "n/a Invalid" };
        assert_eq!(words(&compiled), [word], "{spec}: {}", message(&compiled));
        assert!(
            message(&compiled).contains(path) && message(&compiled).contains(hint),
            "{spec}: {}",
            message(&compiled)
        );
    }
}

#[test]
fn what_is_not_built_is_unsupported_and_its_hosts_are_held() {
    let compiled = compile(&policy("n/a", &format!("externalHostnames: [a.test]\nlogin: {{}}\n{SSO}")));
    assert_eq!(words(&compiled), ["n/a Unsupported"]);
    assert_eq!(answers(&compiled, "a.test").as_deref(), Some("!n/a"));
}

#[test]
fn a_bad_object_rejects_only_itself() {
    let text = policy("n/good", &format!("externalHostnames: [good.test]\n{SSO}"))
        + &policy("n/bad", "externalHostnames: [bad.test]\nunmatched: Perhaps");
    let compiled = compile(&text);
    assert_eq!(words(&compiled), ["n/bad Invalid", "n/good Accepted ResolvedRefs"]);
    assert_eq!(answers(&compiled, "good.test").as_deref(), Some("n/good"));
    assert_eq!(answers(&compiled, "bad.test").as_deref(), Some("!n/bad"));
    assert_eq!(answers(&compiled, "other.test"), None, "two policies: nobody is alone");
}

#[test]
fn a_route_without_paths_is_about_every_path() {
    let compiled = compile(&policy(
        "n/a",
        &format!("requireAuth: false\n{SSO}\nroutes: [{{name: writes, methods: [POST], access: Authenticated}}]"),
    ));
    let path = crate::paths::CanonicalPath::parse("/any/where").unwrap();
    assert_eq!(only(&compiled).routes.find(&path, |_| true).map(|route| &*route.name), Some("writes"));
}

#[test]
fn references_are_of_the_own_namespace_and_strong() {
    let spec = format!(
        "{SSO}\nforward: {{headers: [{{name: x-id, hmacSHA256: {{secretKeyRef: {{name: s, key: k}}, cel: principal.subject}}}}]}}"
    );
    let secret = |namespace: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\nstringData: {{k: '{value}'}}\n---\n"
        )
    };
    let strong = "x".repeat(32);
    for (secrets, reason) in [
        (String::new(), "SecretMissing"),
        (secret("other", &strong), "SecretMissing"),
        (secret("n", "short-canary"), "WeakSecret"),
        (secret("n", &strong), "ResolvedRefs"),
    ] {
        let compiled = compile(&(secrets + &policy("n/a", &spec)));
        assert_eq!(words(&compiled), [format!("n/a Accepted {reason}")]);
        let shown = format!("{compiled:?}{}", serde_json::to_string(&compiled.snapshot).unwrap());
        assert!(!shown.contains("canary") && !shown.contains(&strong), "a secret is shown");
    }
}

#[test]
fn a_changed_secret_is_seen_by_a_compiler_that_remembers() {
    let spec = format!(
        "{SSO}\nforward: {{headers: [{{name: x-id, hmacSHA256: {{secretKeyRef: {{name: s, key: k}}, cel: principal.subject}}}}]}}"
    );
    let text = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\nstringData: {{k: '{value}'}}\n---\n{}",
            policy("n/a", &spec)
        )
    };
    let mut compiler = compiler();
    assert_eq!(words(&compiler.compile(&objects(&text(&"a".repeat(32))))), ["n/a Accepted ResolvedRefs"]);
    assert_eq!(words(&compiler.compile(&objects(&text("short")))), ["n/a Accepted WeakSecret"]);
    assert_eq!(words(&compiler.compile(&objects(&policy("n/a", &spec)))), ["n/a Accepted SecretMissing"]);
}

#[test]
fn inline_keys_are_public_and_well_formed() {
    let spec = "authenticators: [{name: k, jwt: {issuer: 'https://a', audiences: [b], jwks: {configMapKeyRef: {name: m, key: jwks}}}}]";
    for (value, reason) in [
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "PrivateKey"),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}"#,
            "PrivateKey",
        ),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
            "ResolvedRefs",
        ),
        ("<html>", "BadContent"),
    ] {
        let map = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: n}}\ndata: {{jwks: '{value}'}}\n---\n"
        );
        assert_eq!(words(&compile(&(map + &policy("n/a", spec)))), [format!("n/a Accepted {reason}")], "{value}");
    }
    assert_eq!(words(&compile(&policy("n/a", spec))), ["n/a Accepted ConfigMapMissing"]);
}

#[test]
fn no_authenticator_is_no_open_door() {
    let compiled = compile(&policy("n/a", "externalHostnames: [a.test]"));
    assert_eq!(words(&compiled), ["n/a NoAuthenticators ResolvedRefs"]);
    assert_eq!(only(&compiled).rules.access, Access::Authenticated);
    let off = compile(&policy("n/a", "externalHostnames: [a.test]\nrequireAuth: false"));
    assert_eq!(words(&off), ["n/a Accepted ResolvedRefs"]);
    assert!(only(&off).rules.sources.is_empty());
    for closed in ["routes: [{name: r, paths: [/r], access: Authenticated}]", "internal: {access: Authenticated}"] {
        let spec = format!("externalHostnames: [a.test, b.test]\nrequireAuth: false\n{closed}");
        let older = policy("a/older", &format!("externalHostnames: [b.test]\n{SSO}"));
        let compiled = compile(&(policy("n/a", &spec) + &older));
        assert_eq!(words(&compiled)[1], "n/a NoAuthenticators ResolvedRefs", "{closed}");
        let message = &compiled.verdicts[1].conditions[0].message;
        assert!(message.contains("need") && message.contains("b.test belongs to the older a/older"), "{message}");
    }
}

#[test]
fn the_contract_documents_compile() {
    for (text, expected) in [
        (include_str!("../../tests/documents/minimal.yaml"), vec!["demo/api Accepted ResolvedRefs"]),
        (include_str!("../../tests/documents/aiq.yaml"), vec!["research/aiq Accepted ResolvedRefs"]),
        (include_str!("../../tests/documents/cq.yaml"), vec!["knowledge/cq Accepted ResolvedRefs"]),
        (include_str!("../../tests/documents/agentflow.yaml"), vec!["agents/agentflow Accepted ResolvedRefs"]),
        (
            include_str!("../../tests/documents/datasources.yaml"),
            vec!["research/aiq-sources Unsupported", "research/gdrive Unsupported", "research/web Unsupported"],
        ),
    ] {
        let words = words(&compile(text));
        assert_eq!(words, expected);
    }
}

#[test]
fn limits_of_a_route_stand_beside_those_of_the_policy() {
    let text = policy(
        "n/a",
        &format!(
            "{SSO}\ninternal: {{}}\nlimits: {{requests: {{rate: 9, window: 1m}}, failedAuthentications: {{rate: 2, window: 1h}}, trustedProxyHops: 2}}\n\
             routes: [{{name: a, paths: [/a], limits: {{requests: {{rate: 1, window: 1s, by: IP}}}}}}, {{name: b, paths: [/b]}}]"
        ),
    );
    let compiled = compile(&text);
    let policy = only(&compiled);
    let rates =
        |rules: &crate::snapshot::Rules| rules.limits.requests.iter().map(|limit| limit.rate).collect::<Vec<_>>();
    let of_route = |path| {
        let path = crate::paths::CanonicalPath::parse(path).unwrap();
        policy.routes.find(&path, |_| true).unwrap().rules.clone()
    };
    assert_eq!(rates(&of_route("/a")), [1, 9], "the narrower first");
    assert_eq!(
        (rates(&of_route("/b")), rates(&policy.rules), rates(&policy.internal.as_ref().unwrap().rules)),
        (vec![9], vec![9], vec![9])
    );
    let limits = &of_route("/a").limits;
    assert_eq!((limits.trusted_hops, limits.failures.as_ref().map(|limit| limit.rate)), (2, Some(2)));
    // Counters go on across an edit of the rate, and start anew for another window or another way of counting.
    let id = |text: &str| only(&compile(text)).rules.limits.requests[0].id;
    assert_eq!(id(&text), id(&text.replace("rate: 9", "rate: 8")));
    for other in [
        text.replace("window: 1m", "window: 2m"),
        text.replace("rate: 9,", "rate: 9, by: IP,"),
        text.replace("name: a, namespace", "name: b, namespace"),
    ] {
        assert_ne!(id(&text), id(&other), "{other}");
    }
}
