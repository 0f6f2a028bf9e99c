//! Tables: who gets what, what changed when, and how a change is cut.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    push::{Name, OwnKey, SigningKeys, State},
    secret::Secret,
    v1alpha1::SigningAlgorithm,
};

use super::{
    outgoing::Outgoing,
    table::{Audience, Diff, Published, Signing, Table},
};

const KEYED: &str =
    "authenticators: [{name: app, jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}]";

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{externalHostnames: [{name}.{namespace}.test], {spec}}}\n---\n"
    )
}

fn secret(namespace: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: app, namespace: {namespace}}}\nstringData: {{jwt: {value}}}\n---\n"
    )
}

fn published(before: &Published, documents: &[String]) -> Published {
    let mut objects = Objects::default();
    objects.read("cluster", &documents.concat());
    let pushed = Compiler::new(Options::default(), LastGood::default()).compile(&objects).pushed;
    Published::next(before, pushed, Arc::new(objects))
}

fn names(diff: &Diff) -> Vec<String> {
    diff.changed.iter().map(|one| one.name.to_string()).collect()
}

/// A policy that has tokens signed waits for the key, and for nothing else.
#[test]
fn a_policy_without_its_key_is_acknowledged_by_nobody() {
    let own = |algorithm: &str| {
        format!("requireAuth: false, forward: {{replaceCredential: {{signedJWT: {{algorithm: {algorithm}}}}}}}")
    };
    let documents =
        [policy("a", "ec", &own("ES256")), policy("a", "ed", &own("EdDSA")), policy("b", "q", "requireAuth: false")];
    let key = |algorithm| OwnKey { algorithm, made: 1, pkcs8: Secret::new(b"any".to_vec()) };
    let keys = |algorithms: &[SigningAlgorithm]| {
        let keys = algorithms.iter().copied().map(key).collect();
        Signing::new(&SigningKeys { issuer: "http://i.test".into(), keys })
    };
    let first = published(&Published::default(), &documents);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    assert_eq!((one.changed["a/ec"], one.changed["a/ed"], one.changed["b/q"]), (u64::MAX, u64::MAX, 1));
    let second = Published::again(&first).signed(keys(&[SigningAlgorithm::ES256]));
    let two = Table::next(&one, &second, &Audience::Own);
    assert_eq!(names(&Diff::between(&one, &two)), ["signing-keys"]);
    assert_eq!((two.changed["a/ec"], two.changed["a/ed"], two.changed["b/q"]), (2, u64::MAX, 1));
    let third = Published::again(&second).signed(keys(&[SigningAlgorithm::ES256, SigningAlgorithm::EdDSA]));
    let three = Table::next(&two, &third, &Audience::Own);
    assert_eq!((three.changed["a/ec"], three.changed["a/ed"], three.changed["b/q"]), (3, 3, 1));
    let pod = Audience::Workload { namespace: "a".to_owned(), labels: BTreeMap::new() };
    assert!(Table::next(&Table::default(), &third, &pod).resources.is_empty(), "nobody else has the keys");
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn what_did_not_change_is_the_same_allocation() {
    let documents = [policy("a", "p", KEYED), policy("b", "q", "requireAuth: false"), secret("a", KEY)];
    let first = published(&Published::default(), &documents);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    assert_eq!(names(&Diff::between(&Table::default(), &one)), ["policy/a/p", "policy/b/q", "secret/a/app"]);
    let second = published(&first, &documents);
    let two = Table::next(&one, &second, &Audience::Own);
    assert!(Diff::between(&one, &two).is_empty());
    assert!(one.resources.iter().all(|(name, one)| Arc::ptr_eq(one, &two.resources[name])));
    assert_eq!(two.changed, one.changed, "nothing has to be acknowledged again");
}

#[test]
fn a_value_moves_the_policies_that_read_it() {
    let (p, q) = (policy("a", "p", KEYED), policy("b", "q", "requireAuth: false"));
    let first = published(&Published::default(), &[p.clone(), q.clone(), secret("a", KEY)]);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    let second = published(&first, &[p.clone(), q.clone(), secret("a", &KEY.to_uppercase())]);
    let two = Table::next(&one, &second, &Audience::Own);
    assert_eq!(names(&Diff::between(&one, &two)), ["secret/a/app"]);
    assert_eq!((two.changed["a/p"], two.changed["b/q"]), (2, 1));
    // Taken away: both lose something.
    let third = published(&second, &[q, p]);
    let three = Table::next(&two, &third, &Audience::Own);
    let diff = Diff::between(&two, &three);
    assert_eq!((names(&diff).len(), diff.removed.len()), (0, 1));
    assert_eq!((three.changed["a/p"], three.changed["b/q"]), (3, 1));
    assert_eq!(third.readers(&Audience::Own, &"secret/a/app".parse().unwrap()), [Arc::<str>::from("a/p")]);
}

#[test]
fn workloads_are_told_apart_by_namespace_and_labels() {
    let selects = |labels: &str| format!("requireAuth: false, workloadSelector: {{matchLabels: {{{labels}}}}}");
    let all = published(
        &Published::default(),
        &[
            policy("a", "both", &selects("app: shop, tier: web")),
            policy("a", "one", &selects("app: shop")),
            policy("a", "other", &selects("app: till")),
            policy("b", "elsewhere", &selects("app: shop")),
            policy("a", "central", "requireAuth: false"),
        ],
    );
    let has = |namespace: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let audience = Audience::Workload { namespace: namespace.to_owned(), labels };
        let table = Table::next(&Table::default(), &all, &audience);
        let mut names: Vec<String> = table.changed.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(has("a", &[("app", "shop"), ("tier", "web")]), ["a/both", "a/one"]);
    assert_eq!(has("a", &[("app", "shop")]), ["a/one"]);
    assert_eq!(has("b", &[("app", "shop"), ("tier", "web")]), ["b/elsewhere"]);
    assert!(has("a", &[]).is_empty());
    let own = Table::next(&Table::default(), &all, &Audience::Own);
    assert_eq!(own.changed.keys().map(|name| &**name).collect::<Vec<_>>(), ["a/central"]);
}

#[test]
fn a_client_is_sent_what_it_does_not_hold() {
    let all = published(
        &Published::default(),
        &[policy("a", "p", "requireAuth: false"), policy("b", "q", "requireAuth: false")],
    );
    let table = Table::next(&Table::default(), &all, &Audience::Own);
    let versions = table.resources.iter().map(|(name, one)| (name.to_string(), one.version.clone()));
    let mut held: HashMap<String, String> = versions.collect();
    assert!(Diff::from_held(&held, &table).is_empty());
    held.insert("policy/a/p".to_owned(), "older".to_owned());
    held.insert("policy/c/gone".to_owned(), "any".to_owned());
    held.insert("secret/c/gone".to_owned(), "any".to_owned());
    held.insert("trust".to_owned(), "any".to_owned());
    held.insert("unheard-of".to_owned(), "any".to_owned());
    let diff = Diff::from_held(&held, &table);
    assert_eq!(names(&diff), ["policy/a/p"]);
    let mut removed: Vec<String> = diff.removed.iter().map(ToString::to_string).collect();
    removed.sort();
    assert_eq!(removed, ["policy/c/gone", "secret/c/gone"]);
}

#[test]
fn a_change_is_cut_between_resources_and_ends_with_its_state() {
    let big = "k".repeat(700_000);
    let documents: Vec<String> = (0..7)
        .flat_map(|one| {
            let namespace = format!("n{one}");
            [policy(&namespace, "p", KEYED), secret(&namespace, &big)]
        })
        .collect();
    let all = published(&Published::default(), &documents);
    let table = Arc::new(Table::next(&Table::default(), &all, &Audience::Own));
    let diff = Arc::new(Diff { removed: vec![Name::Policy("x/y".into())], ..Diff::between(&Table::default(), &table) });
    let state = State { epoch: 1, counter: 1, policies: 7 };
    let mut outgoing = Outgoing::new(table, diff, None, state);
    let mut messages = Vec::new();
    while !outgoing.is_sent() {
        messages.push(outgoing.next());
    }
    assert!(messages.len() > 3, "{}", messages.len());
    let mut seen = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        let bytes: usize = message.resources.iter().map(|one| one.resource.as_ref().unwrap().value.len()).sum();
        assert!(bytes < 2 * 1024 * 1024 + 1000, "{bytes}");
        let last = at + 1 == messages.len();
        assert_eq!(message.removed_resources.len(), usize::from(last));
        assert_eq!(message.resources.last().unwrap().name == "state", last);
        for one in &message.resources {
            assert!(seen.insert(one.name.clone(), at).is_none(), "{} twice", one.name);
        }
    }
    assert_eq!(seen.len(), 15);
    assert_eq!(outgoing.last, Some(messages.last().unwrap().nonce.clone()));
}
