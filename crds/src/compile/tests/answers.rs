//! Answers and credentials of the policy's own: what is refused by name, and secrets that are missing or unfit.

use super::*;

#[test]
fn what_no_answer_can_carry_is_named() {
    for (spec, path, hint) in [
        (
            "errors: {responses: {forbidden: {headers: {Cache-Control: public}}}}",
            "spec.errors.responses.forbidden.headers",
            "Cache-Control",
        ),
        (
            "errors: {responses: {forbidden: {headers: {WWW-Authenticate: Basic}}}}",
            "spec.errors.responses.forbidden.headers",
            "belongs",
        ),
        (
            "errors: {responses: {forbidden: {headers: {Content-Length: '1'}}}}",
            "spec.errors.responses.forbidden.headers",
            "belongs",
        ),
        (
            "errors: {responses: {forbidden: {headers: {X-A: a, x-a: b}}}}",
            "spec.errors.responses.forbidden.headers",
            "twice",
        ),
        (
            "errors: {responses: {forbidden: {headers: {'x a': b}}}}",
            "spec.errors.responses.forbidden.headers",
            "no header name",
        ),
        (
            "errors: {responses: {forbidden: {headers: {\"x\\r\\ny\": b}}}}",
            "spec.errors.responses.forbidden.headers",
            "no header name",
        ),
        (
            "errors: {responses: {forbidden: {headers: {'': b}}}}",
            "spec.errors.responses.forbidden.headers",
            "no header name",
        ),
        (
            "errors: {responses: {forbidden: {status: 302, location: 'https://:80/'}}}",
            "spec.errors.responses.forbidden.location",
            "URL",
        ),
        (
            "routes: [{name: r, respond: {status: 200, headers: {Transfer-Encoding: chunked}}}]",
            "spec.routes[0].respond.headers",
            "belongs",
        ),
        (
            "routes: [{name: r, respond: {status: 200, headers: {Access-Control-Allow-Origin: '*'}}}]",
            "spec.routes[0].respond.headers",
            "belongs",
        ),
        ("cors: {allowOrigins: ['https://a.test:99999']}", "spec.cors.allowOrigins[0]", "origin"),
        ("cors: {allowOrigins: ['*'], maxAge: 25h}", "spec.cors.maxAge", "24h"),
        (
            "forward: {replaceCredential: {static: {header: Host, secretKeyRef: {name: s, key: k}}}}",
            "static.header",
            "x-api-key",
        ),
        (
            "forward: {replaceCredential: {static: {header: X_Auth_User, secretKeyRef: {name: s, key: k}}}}",
            "spec.forward.replaceCredential",
            "set already",
        ),
        (
            "forward: {replaceCredential: {signedJWT: {algorithm: HS256, secretKeyRef: {name: s, key: k}, claims: {sub: principal.nobody}}}}",
            "claims.sub",
            "no field",
        ),
    ] {
        let compiled = compile(&policy("n/a", &format!("{spec}\n{SSO}")));
        assert_eq!(words(&compiled), ["n/a Invalid"], "{spec}: {}", message(&compiled));
        assert!(
            message(&compiled).contains(path) && message(&compiled).contains(hint),
            "{spec}: {}",
            message(&compiled)
        );
    }
    let own_key = policy("n/a", &format!("forward: {{replaceCredential: {{signedJWT: {{algorithm: ES256}}}}}}\n{SSO}"));
    assert_eq!(words(&compile(&own_key)), ["n/a Accepted ResolvedRefs"]);
    let cluster = |text: &str| {
        let options = Options { workloads_without_own_keys: true, ..Options::default() };
        Compiler::new(options, LastGood::default()).compile(&objects(text))
    };
    let central = cluster(&own_key);
    assert_eq!(words(&central), ["n/a Accepted ResolvedRefs"]);
    assert_eq!(Vec::from_iter(central.pushed[0].own_keys.clone()), [crate::v1alpha1::SigningAlgorithm::ES256]);
    let sidecar = cluster(&own_key.replace("spec:", "spec:\n  workloadSelector: {matchLabels: {app: a}}"));
    assert_eq!(words(&sidecar), ["n/a Unsupported"]);
    assert!(message(&sidecar).contains("secretKeyRef"), "{}", message(&sidecar));
    for (algorithm, verdict) in [("ES256", "n/a Accepted ResolvedRefs"), ("HS256", "n/a Invalid")] {
        let own = format!("forward: {{replaceCredential: {{signedJWT: {{algorithm: {algorithm}}}}}}}\n{SSO}");
        assert_eq!(words(&compile(&policy("n/a", &own))), [verdict], "a key of our own for {algorithm}");
    }
}

#[test]
fn a_refusal_becomes_nothing_that_is_none() {
    for status in [0, 100, 101, 200, 204, 299, 301, 304, 600, 999] {
        for more in ["", ", location: /a"] {
            let spec = format!("errors: {{responses: {{forbidden: {{status: {status}{more}}}}}}}\n{SSO}");
            let compiled = compile(&policy("n/a", &spec));
            assert_eq!(words(&compiled), ["n/a Invalid"], "{status}{more}: {}", message(&compiled));
        }
    }
}

/// Where the name of a header may stand that is set for the upstream.
fn setting(name: &str) -> [String; 4] {
    let secret = "secretKeyRef: {name: s, key: k}";
    let client = "tokenURL: 'https://a.test/token', client: {clientID: a, clientSecretRef: {name: s, key: k}}";
    [
        format!("forward: {{headers: [{{name: '{name}', claim: a}}]}}"),
        format!("forward: {{claimsHeader: '{name}'}}"),
        format!("forward: {{replaceCredential: {{static: {{header: '{name}', {secret}}}}}}}"),
        format!(
            "forward: {{replaceCredential: {{clientCredentials: {{{client}, extraHeader: {{name: '{name}', {secret}}}}}}}}}"
        ),
    ]
}

#[test]
fn a_reserved_name_is_so_in_every_spelling() {
    let invalid = |spec: &str, hint: &str| {
        let compiled = compile(&policy("n/a", &format!("{spec}\n{SSO}")));
        assert_eq!(words(&compiled), ["n/a Invalid"], "{spec}: {}", message(&compiled));
        assert!(message(&compiled).contains(hint), "{spec}: {}", message(&compiled));
    };
    for name in [
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
        "cookie",
        "set-cookie",
        "http2-settings",
        "forwarded",
        "x-envoy-original-path",
        "x-forwarded-for",
        "X_Forwarded_For",
        "x-forwarded_host",
        "x_envoy_upstream_rq_timeout_ms",
        "content_length",
        "Transfer_Encoding",
        "proxy_authorization",
        "keep_alive",
        "set_cookie",
    ] {
        setting(name).iter().for_each(|spec| invalid(spec, "belongs"));
    }
    setting(":path").iter().for_each(|spec| invalid(spec, ""));
    // Where one credential replaces another, the name is a choice; a claim is none.
    let [header, claims, ..] = setting("Authorization");
    [header, claims].iter().for_each(|spec| invalid(spec, "belongs"));
    for name in ["x-tenant", "x_tenant", "x-forward-for", "x-envoyed", "content-length-x", "te-x"] {
        for spec in setting(name) {
            let compiled = compile(&policy("n/a", &format!("{spec}\n{SSO}")));
            assert!(compiled.verdicts[0].is_accepted(), "{spec}: {}", message(&compiled));
        }
    }
}

#[test]
fn replicas_count_connections_together_or_not_at_all() {
    let many = || Options { many_replicas: true, ..Options::default() };
    let alone = policy("n/a", &format!("limits: {{connections: {{max: 1}}}}\n{SSO}"));
    let shared = policy(
        "n/a",
        &format!("limits: {{connections: {{max: 1}}, store: {{redis: {{url: 'rediss://a.test'}}}}}}\n{SSO}"),
    );
    assert_eq!(words(&compile(&alone)), ["n/a Accepted ResolvedRefs"]);
    let elsewhere = Compiler::new(many(), LastGood::default()).compile(&objects(&alone));
    assert_eq!(words(&elsewhere), ["n/a Unsupported"]);
    assert!(message(&elsewhere).contains("spec.limits.store"), "{}", message(&elsewhere));
    let elsewhere = Compiler::new(many(), LastGood::default()).compile(&objects(&shared));
    assert_eq!(words(&elsewhere), ["n/a Accepted ResolvedRefs"]);
}

#[test]
fn secrets_of_replaced_credentials_are_fit_or_named() {
    let jwt = |algorithm: &str| format!("signedJWT: {{algorithm: {algorithm}, secretKeyRef: {{name: s, key: k}}}}");
    let fixed = || "static: {header: X-Key, secretKeyRef: {name: s, key: k}}".to_owned();
    for (kind, value, reason) in [
        (jwt("HS256"), None, "SecretMissing"),
        (jwt("HS256"), Some("canary-too-short"), "WeakSecret"),
        (jwt("HS512"), Some("canary-of-forty-bytes-is-too-short-there"), "WeakSecret"),
        (jwt("HS256"), Some("canary-of-forty-bytes-is-long-enough-now"), "ResolvedRefs"),
        (jwt("ES256"), Some("canary-of-forty-bytes-is-no-private-key!"), "BadContent"),
        (jwt("RS256"), Some("-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----"), "BadContent"),
        (fixed(), None, "SecretMissing"),
        (fixed(), Some("canary\\n"), "BadContent"),
        (fixed(), Some(" canary"), "BadContent"),
        (fixed(), Some(""), "BadContent"),
        (fixed(), Some("canary ä"), "BadContent"),
        (fixed(), Some("Basic canary=="), "ResolvedRefs"),
    ] {
        let secret = value.map(|value| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\nstringData: {{k: \"{value}\"}}\n---\n"));
        let text =
            secret.unwrap_or_default() + &policy("n/a", &format!("{SSO}\nforward: {{replaceCredential: {{{kind}}}}}"));
        let compiled = compile(&text);
        assert_eq!(words(&compiled), [format!("n/a Accepted {reason}")], "{kind} {value:?}");
        let shown = format!("{compiled:?}{}", serde_json::to_string(&compiled.snapshot).unwrap());
        assert!(!shown.contains("canary"), "a secret is shown");
    }
}

#[test]
fn keep_remove_and_replace_are_one_choice() {
    let fixed = "replaceCredential: {static: {header: X-Key, secretKeyRef: {name: s, key: k}}}";
    let spec = format!(
        "{SSO}\nforward: {{{fixed}}}\nroutes:\n- {{name: keep, paths: [/a], forward: {{credential: Keep}}}}\n- {{name: same, paths: [/b], forward: {{claimsHeader: x-c}}}}"
    );
    let compiled = compile(&policy("n/a", &spec));
    let rules = only(&compiled);
    let choice = |forward: &crate::snapshot::Forward| (forward.credential, forward.replacement.is_some());
    let routes: Vec<_> = rules.routes.iter().map(|route| choice(&route.rules.forward)).collect();
    assert_eq!(routes, [(CredentialForwarding::Keep, false), (CredentialForwarding::Remove, true)]);
    let spec = format!(
        "{SSO}\nforward: {{credential: Keep}}\nroutes: [{{name: replaced, paths: [/a], forward: {{{fixed}}}}}]"
    );
    let compiled = compile(&policy("n/a", &spec));
    assert_eq!(
        only(&compiled).routes.iter().map(|route| choice(&route.rules.forward)).collect::<Vec<_>>(),
        [(CredentialForwarding::Remove, true)]
    );
}

#[test]
fn a_route_replaces_answers_code_by_code() {
    let spec = format!(
        "{SSO}\nerrors: {{profile: Qaynaq, responses: {{forbidden: {{status: 404}}, not_found: {{body: gone}}}}}}\n\
         routes: [{{name: r, paths: [/a], errors: {{responses: {{forbidden: {{status: 302, location: /no}}}}}}}}]"
    );
    let compiled = compile(&policy("n/a", &spec));
    let errors: Vec<_> = only(&compiled).routes.iter().map(|route| route.rules.errors.clone()).collect();
    let of =
        |code| errors[0].responses.get(&code).map(|own| (own.status, own.location.as_deref(), own.body.as_deref()));
    assert_eq!(of(crate::code::Code::Forbidden), Some((Some(302), Some("/no"), None)));
    assert_eq!(of(crate::code::Code::NotFound), Some((None, None, Some("gone"))));
}
