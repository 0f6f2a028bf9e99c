//! Objects that cannot be read; what `Programmed` and `IssuersReachable` say of what data planes and proxies did.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    time::Duration,
};

use crds::{
    compile::{Compiled, Compiler, LastGood, Options},
    documents::{Kind, Objects, ReferenceKind},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    build::{issuers, program},
    dereference::Store,
    fetch::Fetched,
};
use crate::{
    push::{IssuerReport, Proxies, Standing, Standings},
    watch::{CallError, Change},
};

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: app, namespace: a}\nstringData: {key: 0123456789abcdef0123456789abcdef}\n---\n";
const AUTHENTICATORS: &str = "authenticators: [{name: app, jwt: {audienceCheck: Disabled, keys: [{algorithm: HS256, secretKeyRef: {name: app, key: key}}]}}]";
const REPLACED: &str =
    "forward: {replaceCredential: {static: {header: X-API-Key, secretKeyRef: {name: app, key: key}}}}";

fn compile(spec: &str) -> Compiled {
    compile_with(AUTHENTICATORS, spec)
}

fn compile_with(authenticators: &str, spec: &str) -> Compiled {
    let policy = format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: b, namespace: a, generation: 7}}\nspec: {{externalHostnames: [x.test], {authenticators}, {spec}}}\n"
    );
    let mut objects = Objects::default();
    objects.read("cluster", &format!("{SECRET}{policy}"));
    assert_eq!(objects.unreadable, []);
    Compiler::new(Options::default(), LastGood::default()).compile(&objects)
}

/// Status, reason, message and generation.
fn said(compiled: &Compiled, standing: Option<Standing>, proxies: &Proxies) -> (bool, String, String, Option<i64>) {
    let standings = Standings {
        policies: standing.map(|standing| ("a/b".into(), standing)).into_iter().collect(),
        proxies: BTreeMap::from([("a/b".into(), proxies.clone())]),
        replicas: 1,
        ..Standings::default()
    };
    let (said, generation) = program(&compiled.verdicts[0], compiled.pushed.first(), Some(&standings));
    (said.status == Some(true), said.reason, said.message, generation)
}

#[test]
fn a_policy_that_hands_out_secrets_needs_a_proxy_that_proved_itself() {
    let stranger = BTreeSet::from(["10.1.2.3".parse().unwrap()]);
    let nobody = Proxies::default();
    let proved = Proxies { proved: true, ..Proxies::default() };
    let mixed = Proxies { proved: true, strangers: stranger.clone() };
    let strangers = Proxies { proved: false, strangers: stranger };
    let programmed = || Some(Standing::Programmed { replicas: 2 });
    for spec in [REPLACED.to_owned(), format!("routes: [{{name: r, paths: [/r], {REPLACED}}}]")] {
        let secretive = compile(&spec);
        assert!(secretive.pushed[0].hands_out, "{spec}");
        for (proxies, expected) in
            [(&nobody, "NoDataPlane"), (&proved, "Programmed"), (&mixed, "Lagging"), (&strangers, "Lagging")]
        {
            let (good, reason, message, generation) = said(&secretive, programmed(), proxies);
            assert_eq!((good, &*reason), (expected == "Programmed", expected), "{proxies:?}");
            assert_eq!(generation, good.then_some(7));
            assert_eq!(message.contains("10.1.2.3"), !proxies.strangers.is_empty(), "{message}");
            assert_eq!(message.contains("gatewright-client-tls"), !good, "{message}");
        }
        // What data planes say comes first.
        let lagging = Standing::Lagging { waiting: vec!["a/authz-0".to_owned()], more: 0 };
        assert!(said(&secretive, Some(lagging), &nobody).2.contains("a/authz-0"));
        assert_eq!(said(&secretive, None, &proved).1, "Reconciling");
    }
    for spec in ["requireAuth: true".to_owned(), format!("mode: Audit, {REPLACED}")] {
        let plain = compile(&spec);
        assert!(!plain.pushed[0].hands_out, "{spec}");
        for proxies in [&nobody, &strangers] {
            assert_eq!(said(&plain, programmed(), proxies).1, "Programmed", "{spec}");
        }
    }
}

#[test]
fn who_waits_is_named_as_far_as_names_are_known() {
    let plain = compile("requireAuth: true");
    let message = |waiting: &[&str], more| {
        let waiting = waiting.iter().map(|name| (*name).to_owned()).collect();
        let (good, reason, message, _) = said(&plain, Some(Standing::Lagging { waiting, more }), &Proxies::default());
        assert_eq!((good, &*reason), (false, "Lagging"));
        message
    };
    assert_eq!(message(&["a/x", "a/y"], 0), "not in force yet at a/x, a/y");
    assert_eq!(message(&["a/x"], 2), "not in force yet at a/x and 2 more");
    assert_eq!(message(&[], 2), "data planes of other replicas of the operator do not have it in force yet: 2");
}

#[test]
fn issuers_are_reachable_only_if_somebody_who_takes_the_policy_says_so() {
    let remote = compile_with(
        "authenticators: [{name: m, jwt: {issuer: 'https://m.test', audienceCheck: Disabled}}, \
         {name: n, jwt: {issuer: 'https://n.test', audienceCheck: Disabled}}]",
        "requireAuth: true",
    );
    assert_eq!(remote.pushed[0].issuers, 2);
    let local = compile("requireAuth: true");
    let report = |replica: &str, issuer: &str, error: Option<&str>| IssuerReport {
        replica: replica.to_owned(),
        issuer: issuer.to_owned(),
        error: error.map(str::to_owned),
    };
    let said = |compiled: &Compiled, standing: Option<Standing>, reports: &[IssuerReport]| {
        let standings = Standings {
            policies: standing.map(|standing| ("a/b".into(), standing)).into_iter().collect(),
            issuers: BTreeMap::from([("a/b".into(), reports.to_vec())]),
            // Of another policy.
            replicas: 1,
            ..Standings::default()
        };
        let said = issuers(&"a/b".into(), compiled.pushed.first(), Some(&standings));
        (said.status, said.reason, said.message)
    };
    let programmed = || Some(Standing::Programmed { replicas: 2 });
    for standing in [None, Some(Standing::NoDataPlane)] {
        for compiled in [&remote, &local] {
            let (status, reason, _) = said(compiled, standing.clone(), &[]);
            assert_eq!((status, &*reason), (None, "NoReport"), "nobody takes it");
        }
    }
    assert_eq!(said(&local, programmed(), &[]).0, Some(true), "there is nobody to reach");
    let [one, two] = [report("a/x", "m", None), report("a/x", "n", None)];
    let other = report("a/y", "n", None);
    for reports in [&[][..], slice::from_ref(&one), &[one.clone(), other.clone()]] {
        let (status, reason, _) = said(&remote, programmed(), reports);
        assert_eq!((status, &*reason), (None, "NoReport"), "{reports:?}");
    }
    assert_eq!(said(&remote, programmed(), &[one.clone(), other, two]).0, Some(true));
    // What fails is told, whatever else is not known.
    let broken = [report("a/x", "n", Some("refused")), report("a/y", "n", Some("refused"))];
    let expected = (Some(false), "IssuersUnreachable".to_owned(), "n: refused".to_owned());
    assert_eq!(said(&remote, programmed(), &broken), expected);
}

#[test]
fn an_object_that_cannot_be_read_counts_until_a_list_is_without_it() {
    let mut store = Store::new(2, Vec::new());
    let mut tell = |source: usize, change: Change| {
        store.objects(Kind::AuthPolicy, source, change);
        store.unreadable()
    };
    let bad = |name: &str| Change::Put(json!({"metadata": {"namespace": "a", "name": name}}));
    tell(0, Change::Begins);
    assert_eq!(tell(0, bad("x")), 1);
    assert_eq!(tell(0, Change::Put(json!({}))), 2);
    assert_eq!(tell(0, Change::Ends), 2);
    assert_eq!(tell(0, bad("x")), 2, "the same one");
    assert_eq!(tell(1, bad("y")), 3);
    // Deleted while nobody watched.
    for (source, left) in [(0, 1), (1, 0)] {
        tell(source, Change::Begins);
        assert_eq!(tell(source, Change::Ends), left);
    }
}

/// All lists have ended; one policy names an optional deny list, which is asked for.
fn asking() -> Store {
    let spec = json!({"externalHostnames": ["x.test"], "authenticators": [{"name": "it", "jwt": {"issuer": "https://a.test",
        "audiences": ["b"], "deniedTokenIDs": {"configMapKeyRef": {"name": "s", "key": "jti", "optional": true}}}}]});
    let policy = json!({"metadata": {"name": "b", "namespace": "a", "uid": "u", "generation": 1}, "spec": spec});
    let mut store = Store::new(1, Vec::new());
    for (kind, object) in [(Kind::AuthPolicy, Some(policy)), (Kind::DataSource, None)] {
        store.objects(kind, 0, Change::Begins);
        object.into_iter().for_each(|object| store.objects(kind, 0, Change::Put(object)));
        store.objects(kind, 0, Change::Ends);
    }
    for kind in [ReferenceKind::Secret, ReferenceKind::ConfigMap] {
        store.values(kind, 0, Change::Begins);
        store.values(kind, 0, Change::Ends);
    }
    assert_eq!(store.wanted(Instant::now()).len(), 1);
    store
}

fn refused(status: u16) -> CallError {
    CallError::Refused { what: "GET".to_owned(), status, message: "no".to_owned(), retry_after: None }
}

#[test]
fn the_first_state_waits_for_answers_and_takes_nothing_for_absent_that_was_not_read() {
    let list = |answer| Fetched::Named(ReferenceKind::ConfigMap, "a/s".to_owned(), answer);
    for (answer, seconds, unread) in [
        (Some(Ok(None)), 0, false),
        // An answer about the list: it may not be read.
        (Some(Err(refused(403))), 6, true),
        // None that says anything about it: data planes may be in force with it.
        (Some(Err(refused(503))), 121, true),
        (None, 121, true),
    ] {
        let mut store = asking();
        let why = format!("{answer:?}");
        answer.into_iter().for_each(|answer| store.fetched(list(answer)));
        let now = Instant::now();
        for early in [0, 4, 6, 119].into_iter().filter(|early| *early < seconds) {
            assert!(store.dereference(now + Duration::from_secs(early)).is_none(), "{why} after {early} s");
        }
        let objects = store.dereference(now + Duration::from_secs(seconds)).expect("the first state").objects;
        assert_eq!(objects.policies.len(), 1);
        assert_eq!(objects.unread(ReferenceKind::ConfigMap, "a", "s").is_some(), unread, "{why}");
    }
}
