//! Locks what stays in force, and who gets the hosts and roles that only one policy can have.

use super::*;

/// The hosts that lead to each.
fn hosts(compiled: &Compiled) -> Vec<Vec<String>> {
    compiled.verdicts.iter().map(|one| one.hostnames.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn the_last_good_version_stays_and_survives_a_restart() {
    let (good, bad) = (
        policy("n/a", &format!("externalHostnames: [a.test]\n{SSO}")),
        policy("n/a", "externalHostnames: [b.test]\nunmatched: Perhaps"),
    );
    let mut first = compiler();
    assert_eq!(answers(&first.compile(&objects(&good)), "a.test").as_deref(), Some("n/a"));
    let compiled = first.compile(&objects(&bad));
    assert_eq!(words(&compiled), ["n/a Invalid ResolvedRefs"], "the references are those of what is in force");
    assert!(message(&compiled).contains("last good version stays"));
    assert_eq!(hosts(&compiled), [vec!["a.test"]]);
    assert_eq!(answers(&compiled, "a.test").as_deref(), Some("n/a"));

    let kept = serde_json::to_string(first.last_good()).unwrap();
    let restarted =
        |text: &str| Compiler::new(Options::default(), serde_json::from_str(&kept).unwrap()).compile(&objects(text));
    assert_eq!(answers(&restarted(&bad), "a.test").as_deref(), Some("n/a"));
    assert_eq!(
        answers(&restarted("kind: [\n"), "a.test").as_deref(),
        Some("n/a"),
        "a file that cannot be read holds what it held"
    );
    assert_eq!(answers(&restarted(""), "a.test"), None, "a deleted policy is gone");
    assert_eq!(answers(&first.compile(&objects("")), "a.test"), None);
}

#[test]
fn a_syntax_error_gives_nobody_the_hosts_of_an_older_policy() {
    let (first, second) = (
        policy("a/first", &format!("externalHostnames: [a.test]\n{SSO}")),
        policy("b/second", &format!("externalHostnames: [a.test, b.test]\n{SSO}")),
    );
    let read = |first: &str, second: &str| {
        let mut objects = Objects::default();
        objects.read("first.yaml", first);
        objects.read("second.yaml", second);
        objects
    };
    let mut compiler = compiler();
    compiler.compile(&read(&first, &second));
    let compiled = compiler.compile(&read("kind: [", &second));
    assert_eq!(answers(&compiled, "a.test").as_deref(), Some("a/first"));
    let compiled = compiler.compile(&read(&first, "kind: ["));
    assert_eq!(
        (answers(&compiled, "a.test").as_deref(), answers(&compiled, "b.test").as_deref()),
        (Some("a/first"), Some("b/second"))
    );
    // A document that can be read and is no object of ours hides nothing: what is gone from its file is deleted.
    let compiled = compiler.compile(&read(&first, "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n"));
    assert!(compiled.snapshot.by_name("b/second").is_none());
}

#[test]
fn a_lone_policy_stays_alone_while_something_cannot_be_read() {
    let lone = policy("n/a", SSO);
    let mut compiler = compiler();
    assert_eq!(answers(&compiler.compile(&objects(&lone)), "any.test").as_deref(), Some("n/a"));
    for text in ["kind: [".to_owned(), format!("{lone}kind: [")] {
        assert_eq!(answers(&compiler.compile(&objects(&text)), "any.test").as_deref(), Some("n/a"), "{text}");
    }
    let fresh = Compiler::new(
        Options { lone_policy_answers_all: true, fallback_namespace: None, ..Options::default() },
        LastGood::default(),
    );
    assert_eq!(
        answers(&{ fresh }.compile(&objects(&format!("{lone}kind: ["))), "any.test"),
        None,
        "nobody knows that it is alone"
    );
}

#[test]
fn an_edit_that_loses_every_host_is_a_rejected_edit() {
    let first = policy("a/first", &format!("externalHostnames: [a.test]\n{SSO}"));
    let edit = |host: &str| policy("b/second", &format!("externalHostnames: [{host}]\n{SSO}"));
    let mut compiler = compiler();
    compiler.compile(&objects(&(first.clone() + &edit("b.test"))));
    let compiled = compiler.compile(&objects(&(first + &edit("a.test"))));
    assert_eq!(words(&compiled), ["a/first Accepted ResolvedRefs", "b/second HostnameConflict ResolvedRefs"]);
    assert_eq!(hosts(&compiled), [vec!["a.test"], vec!["b.test"]]);
    assert_eq!(
        (answers(&compiled, "a.test").as_deref(), answers(&compiled, "b.test").as_deref()),
        (Some("a/first"), Some("b/second"))
    );
}

#[test]
fn no_authenticators_leaves_nothing_to_come_back_to() {
    let mut compiler = compiler();
    for (spec, answer) in [
        (format!("externalHostnames: [a.test]\n{SSO}"), "n/a"),
        ("externalHostnames: [a.test]".to_owned(), "n/a"),
        ("externalHostnames: [a.test]\nunmatched: Perhaps".to_owned(), "!n/a"),
    ] {
        assert_eq!(
            answers(&compiler.compile(&objects(&policy("n/a", &spec))), "a.test").as_deref(),
            Some(answer),
            "{spec}"
        );
    }
}

#[test]
fn what_is_in_force_instead_says_which_of_its_references_are_missing() {
    let spec = |host: &str| {
        format!(
            "externalHostnames: [{host}]\nauthenticators: [{{name: own, jwt: {{keys: [{{algorithm: HS256, secretKeyRef: {{name: s, key: k}}}}]}}}}]"
        )
    };
    let other = policy("a/other", &format!("externalHostnames: [b.test]\n{SSO}"));
    let mut compiler = compiler();
    compiler.compile(&objects(&(policy("n/a", &spec("a.test")) + &other)));
    for (edit, reason) in [
        (format!("{}\nunmatched: Perhaps", spec("c.test")), "Invalid"),
        (format!("externalHostnames: [b.test]\n{SSO}"), "HostnameConflict"),
    ] {
        let compiled = compiler.compile(&objects(&(policy("n/a", &edit) + &other)));
        assert_eq!(words(&compiled)[1], format!("n/a {reason} SecretMissing"));
        assert_eq!(hosts(&compiled)[1], ["a.test"]);
    }
}

#[test]
fn a_kept_version_that_cannot_be_enforced_here_is_held() {
    let counts = policy("n/a", &format!("externalHostnames: [a.test]\nlimits: {{connections: {{max: 1}}}}\n{SSO}"));
    let elsewhere = policy("n/a", &format!("externalHostnames: [b.test]\n{SSO}"));
    let bad = policy("n/a", "externalHostnames: [a.test]\nunmatched: Perhaps");
    let other = policy("a/other", &format!("externalHostnames: [b.test]\n{SSO}"));
    let mut alone = compiler();
    alone.compile(&objects(&(counts.clone() + &other)));
    let kept = serde_json::to_string(alone.last_good()).unwrap();
    for text in [bad + &other, elsewhere + &other, format!("{counts}{counts}{other}"), format!("{other}kind: [")] {
        let options = Options { many_replicas: true, ..Options::default() };
        let compiled = Compiler::new(options, serde_json::from_str(&kept).unwrap()).compile(&objects(&text));
        assert_eq!(answers(&compiled, "b.test").as_deref(), Some("a/other"), "{text}");
        assert!(matches!(compiled.snapshot.by_name("n/a"), Some(Entry::Held(_))), "{text}");
    }
}

#[test]
fn a_rejected_fallback_holds_its_role() {
    let broken = policy("a/rest", "fallback: true\nexternalHostnames: [a.test]\nunmatched: Perhaps");
    let lax = policy("b/lax", &format!("fallback: true\nrequireAuth: false\n{SSO}"));
    let compiled = compile(&(broken + &lax));
    assert_eq!(answers(&compiled, "any.test").as_deref(), Some("!a/rest"));
    assert_eq!(words(&compiled), ["a/rest Invalid", "b/lax Conflicted ResolvedRefs"]);
}

#[test]
fn an_unreadable_neighbour_keeps_what_was_in_its_file() {
    let (one, two) = (
        policy("n/a", &format!("externalHostnames: [a.test]\n{SSO}")),
        policy("n/b", &format!("externalHostnames: [b.test]\n{SSO}")),
    );
    let mut compiler = compiler();
    compiler.compile(&objects(&(one.clone() + &two)));
    let compiled = compiler.compile(&objects(&(one + "spec: [\n")));
    assert_eq!(words(&compiled), ["n/a Accepted ResolvedRefs", "n/b Invalid ResolvedRefs"]);
    assert_eq!(answers(&compiled, "b.test").as_deref(), Some("n/b"));
}

#[test]
fn hosts_go_to_the_older_and_to_the_more_specific() {
    let text = policy("b/late", &format!("externalHostnames: [a.test, c.test]\n{SSO}"))
        + &policy("a/first", &format!("externalHostnames: [a.test, '*.wide.test']\n{SSO}"))
        + &policy("a/inner", &format!("externalHostnames: [x.wide.test]\n{SSO}"))
        + &policy("c/squat", &format!("externalHostnames: [y.wide.test]\n{SSO}"));
    let compiled = compile(&text);
    assert_eq!(
        words(&compiled),
        [
            "a/first Accepted ResolvedRefs",
            "a/inner Accepted ResolvedRefs",
            "b/late PartiallyAccepted ResolvedRefs",
            "c/squat HostnameConflict ResolvedRefs"
        ]
    );
    for (host, keeper) in [
        ("a.test", Some("a/first")),
        ("c.test", Some("b/late")),
        ("x.wide.test", Some("a/inner")),
        ("y.wide.test", Some("a/first")),
        ("wide.test", None),
    ] {
        assert_eq!(answers(&compiled, host).as_deref(), keeper, "{host}");
    }
    assert!(matches!(compiled.snapshot.by_name("c/squat"), Some(Entry::Held(_))));
}

#[test]
fn age_counts_before_the_name() {
    let old = policy("z/old", &format!("externalHostnames: [a.test]\n{SSO}"))
        .replace("namespace: z}", "namespace: z, creationTimestamp: '2020-01-01T00:00:00Z'}");
    let new = policy("a/new", &format!("externalHostnames: [a.test]\n{SSO}"))
        .replace("namespace: a}", "namespace: a, creationTimestamp: '2021-01-01T00:00:00Z'}");
    assert_eq!(answers(&compile(&(new + &old)), "a.test").as_deref(), Some("z/old"));
}

#[test]
fn one_fallback_and_one_of_each_name() {
    let spec = |host: &str| format!("fallback: true\nexternalHostnames: [{host}]\n{SSO}");
    let compiled = compile(&(policy("n/b", &spec("b.test")) + &policy("n/a", &spec("a.test"))));
    assert_eq!(words(&compiled), ["n/a Accepted ResolvedRefs", "n/b PartiallyAccepted ResolvedRefs"]);
    assert_eq!(answers(&compiled, "else.test").as_deref(), Some("n/a"));

    let (one, lax) = (
        policy("n/a", &format!("externalHostnames: [a.test]\n{SSO}")),
        policy("n/a", "externalHostnames: [a.test, b.test]\nrequireAuth: false"),
    );
    let compiled = compile(&(one.clone() + &lax));
    assert_eq!(words(&compiled), ["n/a Conflicted", "n/a Conflicted"]);
    assert!(message(&compiled).ends_with("is answered with `unavailable`"), "{}", message(&compiled));
    assert_eq!(hosts(&compiled), [vec!["a.test"], vec!["b.test"]]);
    assert_eq!(
        (answers(&compiled, "a.test").as_deref(), answers(&compiled, "b.test").as_deref()),
        (Some("!n/a"), Some("!n/a"))
    );
    let mut compiler = compiler();
    compiler.compile(&objects(&one));
    let compiled = compiler.compile(&objects(&(lax + &one)));
    assert_eq!(answers(&compiled, "a.test").as_deref(), Some("n/a"), "a copy does not override what was in force");
    assert_eq!(words(&compiled), ["n/a Conflicted ResolvedRefs", "n/a Conflicted"]);
    assert!(message(&compiled).ends_with("the version accepted before them stays"), "{}", message(&compiled));
    let Some(Entry::InForce(kept)) = compiled.snapshot.for_host("a.test") else { panic!("held") };
    assert_eq!(kept.policy.rules.access, Access::Authenticated);
}

#[test]
fn two_of_one_name_in_one_list_are_two_as_well() {
    let item = |spec: &str| format!("  - {}", policy("n/a", spec).replace("\n---\n", "").replace('\n', "\n    "));
    let strict = item(&format!("externalHostnames: [a.test]\n{SSO}"));
    let lax = item("externalHostnames: [a.test, b.test]\nrequireAuth: false");
    let compiled = compile(&format!("apiVersion: v1\nkind: List\nitems:\n{strict}\n{lax}\n"));
    assert_eq!(words(&compiled), ["n/a Conflicted", "n/a Conflicted"]);
    assert_eq!(answers(&compiled, "b.test").as_deref(), Some("!n/a"));
}

#[test]
fn grants_limit_namespaces_to_their_hosts() {
    let grants = |pairs: &[(&str, &str)]| {
        let mut grants = BTreeMap::<String, Vec<crate::hosts::HostPattern>>::new();
        for (namespace, pattern) in pairs {
            let pattern = crate::hosts::HostPattern::parse(pattern).unwrap();
            grants.entry((*namespace).to_owned()).or_default().push(pattern);
        }
        grants
    };
    let text = [
        policy("a/one", &format!("externalHostnames: [x.a.test, '*.y.a.test', b.test]\n{SSO}")),
        policy("b/two", &format!("externalHostnames: [b.test]\n{SSO}")),
        policy("c/three", &format!("externalHostnames: ['*.a.test']\n{SSO}")),
    ]
    .concat();
    let options = Options { grants: grants(&[("a", "*.a.test"), ("c", "x.a.test")]), ..Options::default() };
    let compiled = Compiler::new(options, LastGood::default()).compile(&objects(&text));
    assert_eq!(
        words(&compiled),
        [
            "a/one PartiallyAccepted ResolvedRefs",
            "b/two HostnameConflict ResolvedRefs",
            "c/three HostnameConflict ResolvedRefs"
        ]
    );
    assert!(message(&compiled).contains("b.test is not granted to this namespace"), "{}", message(&compiled));
    assert_eq!(answers(&compiled, "x.a.test").as_deref(), Some("a/one"));
    assert_eq!(answers(&compiled, "b.test"), None, "nobody may have it, and nobody's policy opens it");
}
