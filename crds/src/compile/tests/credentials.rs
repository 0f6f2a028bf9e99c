//! Static keys, API keys, deny lists and places of credentials: what status says, and what is shared.

use super::*;
use crate::documents::ReferenceKind;
use crate::snapshot::{ApiKey, AuthenticatorKind, DeniedTokenIds, JwtKeys, Upgrade};

const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n, labels: {keys: 'yes'}}\nstringData:\n";

fn secret(entries: &[(&str, &str)]) -> String {
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| format!("  {key}: {}\n", serde_json::Value::from(*value))).collect();
    format!("{SECRET}{}---\n", entries.concat())
}

fn kind(compiled: &Compiled) -> &AuthenticatorKind {
    &only(compiled).rules.authenticators[0].kind
}

fn references(compiled: &Compiled) -> (Reason, &str) {
    let condition = &compiled.verdicts[0].conditions[1];
    (condition.reason, &condition.message)
}

fn sha256(compiled: &Compiled) -> Arc<crate::api_keys::Table<crate::api_keys::Sha256Record>> {
    match kind(compiled) {
        AuthenticatorKind::ApiKey(ApiKey::Sha256 { records: Some(records) }) => records.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_secret_holds_decides_and_status_says_it() {
    let long = "0123456789abcdef0123456789abcdef0123456789abcdef";
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let hs =
        |algorithm: &str| format!("jwt: {{keys: [{{algorithm: {algorithm}, secretKeyRef: {{name: s, key: k}}}}]}}");
    let cqa = "apiKey: {cqaV1: {peppers: [{secretKeyRef: {name: s, key: k}}], keys: {secretSelector: {matchLabels: {other: a}}}}}";
    for (kind, content, reason, hint) in [
        (hs("HS256"), Some(long), Reason::ResolvedRefs, "every"),
        (hs("HS384"), Some(long), Reason::ResolvedRefs, "every"),
        (hs("HS512"), Some(long), Reason::WeakSecret, "at least 64"),
        (hs("HS256"), Some("short"), Reason::WeakSecret, "spec.authenticators[0].jwt.keys[0].secretKeyRef"),
        (hs("HS256"), Some(pem), Reason::PrivateKey, "no shared secret"),
        (hs("RS256"), Some(pem), Reason::PrivateKey, "public half"),
        (hs("RS256"), Some(long), Reason::BadContent, "neither PEM"),
        (hs("HS256"), None, Reason::SecretMissing, "no Secret n/s"),
        (cqa.to_owned(), Some(long), Reason::ResolvedRefs, "every"),
        (cqa.to_owned(), Some("short"), Reason::WeakSecret, "peppers[0].secretKeyRef"),
        (cqa.to_owned(), None, Reason::SecretMissing, "peppers[0].secretKeyRef"),
        ("apiKey: {sha256: {secretRef: {name: s}}}".to_owned(), Some(long), Reason::BadContent, "Secret n/s"),
        ("apiKey: {sha256: {secretRef: {name: s}}}".to_owned(), None, Reason::SecretMissing, "no Secret n/s"),
        (
            "apiKey: {sha256: {secretSelector: {matchLabels: {keys: 'no'}}}}".to_owned(),
            Some(long),
            Reason::ResolvedRefs,
            "every",
        ),
    ] {
        let text = policy("n/a", &format!("authenticators: [{{name: it, {kind}}}]"))
            + &content.map_or_else(String::new, |content| secret(&[("k", content)]));
        let compiled = compile(&text);
        let (found, message) = references(&compiled);
        assert!(compiled.verdicts[0].is_accepted(), "{kind}: {}", self::message(&compiled));
        assert_eq!(found, reason, "{kind}: {message}");
        assert!(
            message.contains(hint) && content.is_none_or(|content| !message.contains(content)),
            "{kind}: {message}"
        );
        assert!(!serde_json::to_string(&compiled.snapshot).unwrap().contains(long), "{kind}");
    }
}

#[test]
fn one_of_several_keys_may_be_missing_and_all_may_not() {
    let spec = "authenticators: [{name: it, jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: s, key: new}}, {algorithm: HS256, secretKeyRef: {name: s, key: old}}]}}]";
    let keys = |entries: &[(&str, &str)]| {
        let compiled = compile(&(policy("n/a", spec) + &secret(entries)));
        let AuthenticatorKind::Jwt(jwt) = kind(&compiled) else { panic!("a token") };
        let count = match &jwt.keys {
            JwtKeys::Static(keys) => Some((keys.candidates("HS256", None).count(), keys.lacks("HS256"))),
            JwtKeys::Missing => None,
            other => panic!("{other:?}"),
        };
        (count, references(&compiled).0)
    };
    let (new, old) = (("new", "0123456789abcdef0123456789abcdef-new"), ("old", "0123456789abcdef0123456789abcdef-old"));
    assert_eq!(keys(&[new, old]), (Some((2, false)), Reason::ResolvedRefs));
    assert_eq!(keys(&[old]), (Some((1, true)), Reason::SecretMissing));
    assert_eq!(keys(&[("new", "short"), old]), (Some((1, true)), Reason::WeakSecret));
    assert_eq!(keys(&[("other", "x")]), (None, Reason::SecretMissing));
}

#[test]
fn a_missing_deny_list_is_empty_only_if_it_may_be() {
    let denied = |reference: &str, content: &str| {
        let spec = format!(
            "authenticators: [{{name: it, jwt: {{issuer: 'https://a', audiences: [b], deniedTokenIDs: {{{reference}}}}}}}]"
        );
        let compiled = compile(&(policy("n/a", &spec) + content));
        let AuthenticatorKind::Jwt(jwt) = kind(&compiled) else { panic!("a token") };
        let is = match &jwt.denied {
            DeniedTokenIds::Nobody => "nobody",
            DeniedTokenIds::Missing => "missing",
            DeniedTokenIds::Listed(list) if list.contains("a") && list.contains("b c") && !list.contains("") => {
                "listed"
            }
            DeniedTokenIds::Listed(_) => "another list",
        };
        (is, references(&compiled).0)
    };
    let list = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s, namespace: n}\ndata: {jti: \"a\\r\\n\\n  b c \\n\"}\n---\n";
    assert_eq!(denied("configMapKeyRef: {name: s, key: jti, optional: true}", ""), ("nobody", Reason::ResolvedRefs));
    assert_eq!(denied("configMapKeyRef: {name: s, key: jti}", ""), ("missing", Reason::ConfigMapMissing));
    assert_eq!(denied("configMapKeyRef: {name: s, key: jti}", list), ("listed", Reason::ResolvedRefs));
    assert_eq!(denied("secretKeyRef: {name: s, key: jti}", ""), ("missing", Reason::SecretMissing));
    assert_eq!(
        denied("secretKeyRef: {name: s, key: jti, optional: true}", &secret(&[("jti", "a\nb c")])),
        ("listed", Reason::ResolvedRefs)
    );
    // There and unreadable is not absent, however optional it is.
    let unreadable = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\ndata: {jti: '%%'}\n---\n";
    assert_eq!(
        denied("secretKeyRef: {name: s, key: jti, optional: true}", unreadable),
        ("missing", Reason::BadContent)
    );
}

#[test]
fn an_optional_list_that_becomes_unreadable_is_seen_by_a_compiler_that_remembers() {
    let spec = policy(
        "n/a",
        "authenticators: [{name: it, jwt: {issuer: 'https://a', audiences: [b], deniedTokenIDs: {secretKeyRef: {name: s, key: jti, optional: true}}}}]",
    );
    let unreadable = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\ndata: {jti: '%%'}\n---\n";
    let mut one = compiler();
    for (content, missing) in [("", false), (unreadable, true), ("", false)] {
        let compiled = one.compile(&objects(&(spec.clone() + content)));
        let AuthenticatorKind::Jwt(jwt) = kind(&compiled) else { panic!("a token") };
        assert_eq!(matches!(jwt.denied, DeniedTokenIds::Missing), missing, "{content}");
    }
}

#[test]
fn what_was_not_read_is_missed_and_never_absent() {
    let list = "jwt: {issuer: 'https://a', audiences: [b], deniedTokenIDs: {configMapKeyRef: {name: s, key: jti, optional: true}}}";
    let keys = "apiKey: {sha256: {secretSelector: {matchLabels: {keys: 'yes'}}}}";
    let whole = "apiKey: {sha256: {secretRef: {name: s}}}";
    for (spec, kind, name, good, bad) in [
        (list, ReferenceKind::ConfigMap, "n/s", Reason::ResolvedRefs, Reason::ConfigMapMissing),
        (keys, ReferenceKind::Secret, "n/keys=yes", Reason::ResolvedRefs, Reason::SecretMissing),
        (whole, ReferenceKind::Secret, "n/s", Reason::SecretMissing, Reason::SecretMissing),
    ] {
        let text = policy("n/a", &format!("authenticators: [{{name: it, {spec}}}]"));
        let mut one = compiler();
        for unread in [false, true, false] {
            let mut objects = objects(&text);
            if unread {
                objects.put_unread(kind, name);
            }
            let compiled = one.compile(&objects);
            let (reason, message) = references(&compiled);
            assert_eq!(reason, if unread { bad } else { good }, "{spec}");
            assert_eq!(message.contains("could not be"), unread, "{message}");
            match self::kind(&compiled) {
                AuthenticatorKind::Jwt(jwt) => assert_eq!(matches!(jwt.denied, DeniedTokenIds::Missing), unread),
                AuthenticatorKind::ApiKey(ApiKey::Sha256 { records }) => {
                    assert_eq!(records.is_none(), unread || spec == whole, "{spec}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_told_and_spoils_no_other() {
    let id = "0b2c109e25ac7d47cc0c56f999832031c7391890ee1893f299b5df9a9256f1d1";
    let spec = policy("n/a", "authenticators: [{name: it, apiKey: {sha256: {secretRef: {name: s}}}}]");
    let other = id.replace('0', "1");
    let content = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\ndata: {{'{other}': '%%'}}\nstringData: {{'{id}': '{{\"user_id\":\"u\"}}'}}\n---\n"
    );
    let compiled = compile(&(spec + &content));
    assert_eq!((sha256(&compiled).len(), references(&compiled).0), (1, Reason::BadContent));
}

#[test]
fn a_table_is_made_once_for_its_secrets() {
    let spec = |host: &str| {
        policy(
            "n/a",
            &format!(
                "externalHostnames: [{host}]\nauthenticators: [{{name: it, apiKey: {{sha256: {{secretRef: {{name: s}}}}}}}}]"
            ),
        )
    };
    let digest = "0b2c109e25ac7d47cc0c56f999832031c7391890ee1893f299b5df9a9256f1d1";
    let keys = |user: &str| secret(&[(digest, &format!(r#"{{"user_id":"{user}"}}"#))]);
    let mut one = compiler();
    let first = one.compile(&objects(&(spec("a.test") + &keys("u"))));
    assert!(sha256(&first).find("demo-key-1").is_some());
    let edited = one.compile(&objects(&(spec("b.test") + &keys("u"))));
    assert!(Arc::ptr_eq(&sha256(&first), &sha256(&edited)), "an edited policy keeps the table");
    let changed = one.compile(&objects(&(spec("b.test") + &keys("v"))));
    assert!(!Arc::ptr_eq(&sha256(&first), &sha256(&changed)), "another record is another table");
    assert_ne!(sha256(&first).version(), sha256(&changed).version());
    let gone = one.compile(&objects(&spec("b.test")));
    assert!(
        matches!(kind(&gone), AuthenticatorKind::ApiKey(ApiKey::Sha256 { records: None })),
        "a deleted Secret ends its keys at once"
    );
}

#[test]
fn selected_secrets_come_and_go() {
    let spec =
        policy("n/a", "authenticators: [{name: it, apiKey: {sha256: {secretSelector: {matchLabels: {keys: 'yes'}}}}}]");
    let mut one = compiler();
    let entry = ("0b2c109e25ac7d47cc0c56f999832031c7391890ee1893f299b5df9a9256f1d1", r#"{"user_id":"u"}"#);
    for (content, count) in [
        (String::new(), 0),
        (secret(&[entry]), 1),
        (secret(&[entry]).replace("keys: 'yes'", "keys: 'no'"), 0),
        (secret(&[entry]), 1),
        (String::new(), 0),
    ] {
        let compiled = one.compile(&objects(&(spec.clone() + &content)));
        assert_eq!((sha256(&compiled).len(), references(&compiled).0), (count, Reason::ResolvedRefs), "{content}");
    }
}

#[test]
fn new_places_are_places() {
    let compiled = compile(&policy(
        "n/a",
        &format!(
            "credentials: [{{query: token, onlyOn: WebSocket}}, {{query: token}}, {{webSocketProtocol: app}}]\n{SSO}"
        ),
    ));
    let kinds: Vec<_> = only(&compiled).rules.sources.iter().map(|source| source.kind.clone()).collect();
    let query = |only_on| SourceKind::Query { name: "token".into(), only_on };
    assert_eq!(
        kinds,
        [query(Some(Upgrade::WebSocket)), query(None), SourceKind::WebSocketProtocol { name: "app".into() }]
    );
    assert_eq!(*only(&compiled).places, kinds);
    for (forward, word) in [
        ("headers: [{name: sec-websocket-protocol, claim: a}]", "n/a Invalid"),
        (
            "replaceCredential: {static: {header: Sec-WebSocket-Protocol, secretKeyRef: {name: s, key: k}}}",
            "n/a Invalid",
        ),
        ("replaceCredential: {static: {header: x-key, secretKeyRef: {name: s, key: k}}}", "n/a Accepted SecretMissing"),
    ] {
        let spec =
            format!("credentials: [{{webSocketProtocol: app}}, {{header: x-key}}]\nforward: {{{forward}}}\n{SSO}");
        assert_eq!(words(&compile(&policy("n/a", &spec))), [word], "{forward}");
    }
}
