//! Services that are asked: what they refer to, and what changes the name of a question.

use super::*;
use crate::snapshot::{AuthenticatorKind, Authorities, ClientAuthentication, ClientCertificate, Protocol, Requirement};

/// Of nobody, for nothing.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIBezCCASGgAwIBAgIUOq14uSylcwJlaC1kCvbe8aLnHKEwCgYIKoZIzj0EAwIw\nEjEQMA4GA1UEAwwHY2EudGVzdDAgFw0yNjExMjUwNzU3MTdaGA8yMTI2MTEwMTA3\nNTcxN1owEjEQMA4GA1UEAwwHY2EudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEH\nA0IABDGm+CEzQStncWW6n+uhRKP60cB22zfwkUpl1Nul4mx6SvLZlLZzsKjnuCCx\njmpdxOGEo7Y3IfhgqJyUJmSoxv6jUzBRMB0GA1UdDgQWBBT2oD4Uu9u+Qp225Wcv\ntIJ0S0QlFjAfBgNVHSMEGDAWgBT2oD4Uu9u+Qp225WcvtIJ0S0QlFjAPBgNVHRMB\nAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIHPMmao+CjfMjKu6Ql0YbOKh9U2V\nCtk25idxdcEU94BrAiEAwjskoWgzl6RMaQW03OBB4U/SU9tn4HTe6W8R5I53NrQ=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";

fn secret(entries: &[(&str, &str)]) -> String {
    let entries: serde_json::Map<_, _> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "stringData": entries});
    format!("{secret}\n---\n")
}

fn with(kind: &str, entries: &[(&str, &str)]) -> Compiled {
    compile(&(policy("n/a", &format!("authenticators: [{{name: it, {kind}}}]")) + &secret(entries)))
}

fn kind(compiled: &Compiled) -> &AuthenticatorKind {
    &only(compiled).rules.authenticators[0].kind
}

#[test]
fn what_a_service_refers_to_decides_and_status_says_it() {
    let bundle = "userInfo: {endpoint: 'https://a.test/u', caBundleRef: {secretKeyRef: {name: s, key: k}}}";
    let keys = "jwt: {issuer: 'https://a.test', audiences: [a], caBundleRef: {secretKeyRef: {name: s, key: k}}}";
    let certificate = "webhook: {url: 'https://a.test/v', clientCertificateRef: {name: s}}";
    let client =
        "introspection: {endpoint: 'https://a.test/i', client: {clientID: c, clientSecretRef: {name: s, key: k}}}";
    let signing = "introspection: {endpoint: 'https://a.test/i', client: {clientID: c, method: PrivateKeyJWT, privateKeyRef: {name: s, key: k}}}";
    let both = format!("{CERTIFICATE}{KEY}");
    let twice = format!("{CERTIFICATE}{CERTIFICATE}");
    for (kind, entries, reason, hint) in [
        (bundle, vec![("k", CERTIFICATE)], Reason::ResolvedRefs, "every"),
        (bundle, vec![("k", &twice)], Reason::ResolvedRefs, "every"),
        (bundle, vec![("k", "")], Reason::BadContent, "no certificate"),
        (bundle, vec![("k", KEY)], Reason::BadContent, "something else"),
        (bundle, vec![("k", &both)], Reason::BadContent, "something else"),
        (
            bundle,
            vec![("k", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")],
            Reason::BadContent,
            "cannot be read",
        ),
        (bundle, vec![], Reason::SecretMissing, "caBundleRef.secretKeyRef"),
        (keys, vec![("k", CERTIFICATE)], Reason::ResolvedRefs, "every"),
        (keys, vec![("k", KEY)], Reason::BadContent, "spec.authenticators[0].jwt.caBundleRef.secretKeyRef"),
        (certificate, vec![("tls.crt", CERTIFICATE), ("tls.key", KEY)], Reason::ResolvedRefs, "every"),
        (certificate, vec![("tls.crt", CERTIFICATE), ("tls.key", CERTIFICATE)], Reason::BadContent, "tls.key"),
        (certificate, vec![("tls.crt", KEY), ("tls.key", KEY)], Reason::BadContent, "clientCertificateRef"),
        (certificate, vec![("tls.crt", CERTIFICATE)], Reason::SecretMissing, "tls.key"),
        (client, vec![("k", "secret")], Reason::ResolvedRefs, "every"),
        (client, vec![("k", "")], Reason::BadContent, "clientSecretRef"),
        (client, vec![], Reason::SecretMissing, "clientSecretRef"),
        (signing, vec![("k", KEY)], Reason::BadContent, "PKCS#8"),
        (signing, vec![], Reason::SecretMissing, "privateKeyRef"),
    ] {
        let compiled = with(kind, &entries);
        let condition = &compiled.verdicts[0].conditions[1];
        assert!(compiled.verdicts[0].is_accepted(), "{kind}");
        assert_eq!(condition.reason, reason, "{kind}: {}", condition.message);
        assert!(condition.message.contains(hint), "{kind}: {}", condition.message);
        assert!(!condition.message.contains("MA=="), "a secret is told: {}", condition.message);
        let usable = match self::kind(&compiled) {
            AuthenticatorKind::UserInfo(rules) => rules.endpoint.tls.authorities != Authorities::Missing,
            AuthenticatorKind::Webhook(rules) => rules.webhook.endpoint.tls.certificate != ClientCertificate::Missing,
            AuthenticatorKind::Introspection(rules) => rules.client.authentication.is_some(),
            AuthenticatorKind::Jwt(rules) => matches!(rules.keys, crate::snapshot::JwtKeys::Remote(_)),
            AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::ServiceAccount(_) => panic!("asks nobody"),
        };
        assert_eq!(usable, reason == Reason::ResolvedRefs, "{kind}: what is missing is used by nobody");
    }
}

#[test]
fn defaults_and_words_become_what_is_asked() {
    let of = |more: &str| with(&format!("webhook: {{{more}}}"), &[]);
    let webhook = |compiled: &Compiled| match kind(compiled) {
        AuthenticatorKind::Webhook(rules) => (
            rules.webhook.endpoint.url.to_string(),
            rules.protocol,
            rules.webhook.keep.as_secs(),
            rules.webhook.endpoint.timeout.as_millis(),
            rules.headers.clone(),
        ),
        other => panic!("{other:?}"),
    };
    for (spec, expected) in [
        ("url: 'https://a.test/v'", ("https://a.test/v", Protocol::Http, 10, 2000, vec![])),
        (
            "url: 'grpcs://a.test:1', timeout: 200ms, cacheDuration: 0s",
            ("https://a.test:1/", Protocol::Grpc, 0, 200, vec![]),
        ),
        (
            "url: 'grpc://a.test', forwardHeaders: [X-B, x-a, X-b]",
            ("http://a.test/", Protocol::Grpc, 10, 2000, vec!["x-a", "x-b"]),
        ),
    ] {
        let (url, protocol, keep, timeout, headers) = expected;
        let headers: Vec<Box<str>> = headers.into_iter().map(Into::into).collect();
        assert_eq!(webhook(&of(spec)), (url.to_owned(), protocol, keep, timeout, headers), "{spec}");
    }
    for (method, word) in [("", "basic"), (", method: ClientSecretPost", "post")] {
        let text = format!(
            "introspection: {{endpoint: 'https://a.test/i', client: {{clientID: c, clientSecretRef: {{name: s, key: k}}{method}}}}}"
        );
        let compiled = with(&text, &[("k", "secret")]);
        let AuthenticatorKind::Introspection(rules) = kind(&compiled) else { panic!("{text}") };
        let found = match &rules.client.authentication {
            Some(ClientAuthentication::SecretBasic(_)) => "basic",
            Some(ClientAuthentication::SecretPost(_)) => "post",
            other => panic!("{other:?}"),
        };
        assert_eq!((found, rules.keep.as_secs()), (word, 60), "{text}");
        let shown = format!("{rules:?}{}", serde_json::to_string(rules).unwrap());
        assert!(!shown.contains("\"secret\""), "{shown}");
    }
}

#[test]
fn an_edit_gives_questions_another_name() {
    let ids = |more: &str, certificate: &str| {
        let spec = format!(
            "{SSO}\nauthorization: {{webhook: {{url: 'https://a.test/active'{more}}}}}\nroutes: [{{name: a, paths: ['/{{id}}'], require: {{owner: {{webhook: {{url: 'https://a.test/owner'{more}}}, resource: '{{id}}'}}}}}}]"
        );
        let compiled = compile(&(policy("n/a", &spec) + &secret(&[("k", certificate)])));
        let policy = only(&compiled);
        let route = policy.routes.iter().next().unwrap();
        let owner = route.rules.require.iter().find_map(|one| match one {
            Requirement::Owner(owned) => Some(owned.owner.webhook.endpoint.id),
            _ => None,
        });
        [policy.authorization.as_ref().unwrap().webhook.as_ref().unwrap().endpoint.id, owner.unwrap()]
    };
    let bundle = ", caBundleRef: {secretKeyRef: {name: s, key: k}}";
    let all = [
        ids("", CERTIFICATE),
        ids(", cacheDuration: 1h", CERTIFICATE),
        ids(bundle, CERTIFICATE),
        ids(bundle, &format!("{CERTIFICATE}\n")),
    ];
    assert_eq!(ids("", CERTIFICATE), all[0], "the same document, the same names");
    let names: std::collections::BTreeSet<_> = all.iter().flatten().collect();
    assert_eq!(names.len(), 8, "two services, four settings");
}
