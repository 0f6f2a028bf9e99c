//! A policy set that is pushed decides as the one that was compiled, and carries no more of a Secret than is named.

use std::collections::BTreeMap;

use super::*;
use crate::{
    compile::{Assembler, Compiled, Compiler, LastGood, Options},
    documents::Objects,
    snapshot::{Entry, Snapshot},
};

const SECRETS: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: app, namespace: a}\nstringData: {jwt: 0123456789abcdef0123456789abcdef, other: not-asked-for}\n---\n\
    apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: a, labels: {keys: 'yes'}}\nstringData: {}\n---\n";

fn policy(name: &str, created: &str, spec: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: a, creationTimestamp: '{created}', generation: 3}}\nspec: {spec}\n---\n"
    )
}

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    objects.read("cluster", text);
    objects
}

fn compile(objects: &Objects) -> Compiled {
    Compiler::new(Options::default(), LastGood::default()).compile(objects)
}

/// Through the wire form and back.
fn carried(compiled: &Compiled, objects: &Objects) -> (Vec<PushedPolicy>, Objects) {
    let policies = compiled.pushed.iter().map(|one| {
        let bytes = serde_json::to_vec(&one.policy).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    });
    let mut values = Objects::default();
    for ((kind, name), one) in values_for(compiled.pushed.iter().flat_map(|one| &one.references), objects) {
        let bytes = serde_json::to_vec(&one).unwrap();
        let read: PushedValues = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((read.kind, &read.name), (kind, &name));
        values.put(kind, name, read.shared());
    }
    (policies.collect(), values)
}

fn answers(snapshot: &Snapshot, host: &str) -> Option<String> {
    snapshot.for_host(host).map(|entry| match entry {
        Entry::InForce(one) => one.policy.name.to_string(),
        Entry::Held(held) => format!("!{}", held.name),
    })
}

const STATIC: &str = "{externalHostnames: [x.test, '*.y.test'], authenticators: [{name: app, jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}]}";

#[test]
fn what_is_carried_decides_alike() {
    let text = [
        SECRETS.to_owned(),
        policy("first", "2026-01-01T00:00:00Z", STATIC),
        policy("second", "2026-01-02T00:00:00Z", "{externalHostnames: [x.test, z.test], requireAuth: false}"),
        policy("broken", "2026-01-03T00:00:00Z", "{externalHostnames: [b.test], nonsense: true}"),
        policy("rest", "2026-01-04T00:00:00Z", "{fallback: true, requireAuth: false}"),
    ]
    .concat();
    let objects = objects(&text);
    let compiled = compile(&objects);
    let (policies, values) = carried(&compiled, &objects);
    let assembled = Assembler::default().assemble(&policies, &values);
    assert_eq!(assembled.rejected, []);
    for host in ["x.test", "z.test", "b.test", "one.y.test", "y.test", "elsewhere.test"] {
        assert_eq!(answers(&assembled.snapshot, host), answers(&compiled.snapshot, host), "{host}");
        assert!(answers(&compiled.snapshot, host).is_some(), "{host}");
    }
    assert_eq!(answers(&compiled.snapshot, "b.test").as_deref(), Some("!a/broken"));
    let config = |snapshot: &Snapshot| serde_json::to_value(snapshot).unwrap();
    assert_eq!(config(&assembled.snapshot), config(&compiled.snapshot));
}

#[test]
fn only_named_entries_travel() {
    let objects = objects(&[SECRETS.to_owned(), policy("first", "2026-01-01T00:00:00Z", STATIC)].concat());
    let compiled = compile(&objects);
    let values = values_for(&compiled.pushed[0].references, &objects);
    let text = serde_json::to_string(&values.values().collect::<Vec<_>>()).unwrap();
    assert!(text.contains("\"jwt\""), "{text}");
    assert!(!text.contains("other"), "{text}");
    assert!(!format!("{values:?}").contains("0123"), "Debug shows no value");
    assert_eq!(compiled.pushed[0].generation, Some(3));
}

#[test]
fn selected_secrets_travel_whole_and_with_their_labels() {
    let by_label = "{externalHostnames: [x.test], authenticators: [{name: k, apiKey: {sha256: {secretSelector: {matchLabels: {keys: 'yes'}}}}}]}";
    let objects = objects(&[SECRETS.to_owned(), policy("first", "2026-01-01T00:00:00Z", by_label)].concat());
    let compiled = compile(&objects);
    let values = values_for(&compiled.pushed[0].references, &objects);
    let names: Vec<&str> = values.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["a/keys"]);
    assert_eq!(values.values().next().unwrap().labels, BTreeMap::from([("keys".to_owned(), "yes".to_owned())]));
}

#[test]
fn what_the_operator_could_not_read_is_absent_nowhere() {
    let spec = "{externalHostnames: [x.test], authenticators: [\
        {name: t, jwt: {issuer: 'https://a.test', audiences: [b], deniedTokenIDs: {configMapKeyRef: {name: revoked, key: jti, optional: true}}}}, \
        {name: k, apiKey: {sha256: {secretSelector: {matchLabels: {keys: 'yes'}}}}}]}";
    let text = [SECRETS.to_owned(), policy("first", "2026-01-01T00:00:00Z", spec)].concat();
    let config = |unread: &[(ReferenceKind, &str)]| {
        let mut objects = objects(&text);
        for (kind, name) in unread {
            objects.put_unread(*kind, *name);
        }
        let compiled = compile(&objects);
        let (policies, values) = carried(&compiled, &objects);
        let there = serde_json::to_value(&Assembler::default().assemble(&policies, &values).snapshot).unwrap();
        assert_eq!(there, serde_json::to_value(&compiled.snapshot).unwrap(), "{unread:?}");
        there.to_string()
    };
    let (list, keys) = ((ReferenceKind::ConfigMap, "a/revoked"), (ReferenceKind::Secret, "a/keys=yes"));
    let [read, without_list, without_keys] = [config(&[]), config(&[list]), config(&[keys])];
    assert_ne!(read, without_list);
    assert_ne!(read, without_keys);
    assert_ne!(without_list, without_keys);
}

#[test]
fn a_document_that_this_build_refuses_keeps_what_was_before() {
    let objects = objects(&[SECRETS.to_owned(), policy("first", "2026-01-01T00:00:00Z", STATIC)].concat());
    let compiled = compile(&objects);
    let (mut policies, values) = carried(&compiled, &objects);
    let mut assembler = Assembler::default();
    assembler.assemble(&policies, &values);
    let config = |snapshot: &Snapshot| serde_json::to_value(snapshot).unwrap();
    let without_values = config(&Assembler::default().assemble(&policies, &Objects::default()).snapshot);
    let accepted = policies[0].document.take().unwrap();
    let mut newer = accepted.value();
    newer["spec"]["fromTheFuture"] = true.into();
    policies[0].document = Some(Document::new(&newer));
    let assembled = assembler.assemble(&policies, &values);
    assert_eq!(assembled.rejected.len(), 1);
    assert!(assembled.rejected[0].reason.contains("fromTheFuture"), "{:?}", assembled.rejected);
    assert_eq!(answers(&assembled.snapshot, "x.test").as_deref(), Some("a/first"));
    // A Secret that is deleted ends for what was before as well.
    assert_ne!(config(&assembled.snapshot), without_values);
    assert_eq!(config(&assembler.assemble(&policies, &Objects::default()).snapshot), without_values);
    assert_eq!(config(&assembler.assemble(&policies, &values).snapshot), config(&assembled.snapshot));
    // A receiver that never had anything else holds the hosts.
    let fresh = Assembler::default().assemble(&policies, &values);
    assert_eq!(answers(&fresh.snapshot, "x.test").as_deref(), Some("!a/first"));
    // Nor does what was before outlive the object that it is of, or a moment in which nothing was in force.
    let mut anew = newer.clone();
    anew["metadata"]["uid"] = "another".into();
    for between in [Some(Document::new(&anew)), None] {
        let mut assembler = Assembler::default();
        for (document, answer) in
            [(Some(accepted.clone()), "a/first"), (between, "!a/first"), (Some(Document::new(&newer)), "!a/first")]
        {
            policies[0].document = document;
            let assembled = assembler.assemble(&policies, &values);
            assert_eq!(answers(&assembled.snapshot, "x.test").as_deref(), Some(answer));
        }
    }
}

#[test]
fn references_are_known_before_their_values() {
    let objects = objects(&policy("first", "2026-01-01T00:00:00Z", STATIC));
    let references = crate::compile::references(&objects.policies[0]);
    let expected = Reference::Entry { kind: ReferenceKind::Secret, name: "a/app".to_owned(), key: "jwt".to_owned() };
    assert_eq!(references, [expected]);
}

#[test]
fn workloads_are_read_from_the_document_in_force() {
    let spec = "{externalHostnames: [x.test], requireAuth: false, workloadSelector: {matchLabels: {app: shop}}}";
    let compiled = compile(&objects(&policy("first", "2026-01-01T00:00:00Z", spec)));
    let labels = compiled.pushed[0].policy.workload_labels();
    assert_eq!(labels, Some(&BTreeMap::from([("app".to_owned(), "shop".to_owned())])));
}
