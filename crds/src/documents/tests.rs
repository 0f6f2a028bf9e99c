//! Locks what is an object, what is unreadable, and what a syntax error must not delete.

use super::*;

fn read(text: &str) -> Objects {
    let mut objects = Objects::default();
    objects.read("p.yaml", text);
    objects
}

#[test]
fn a_broken_document_spoils_only_itself() {
    let objects = read(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: a, namespace: n}\n---\nkind: [\n--- # next\n\
         apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: b}\n---\n# only a comment\n",
    );
    let names: Vec<_> = objects.policies.iter().map(|one| (&*one.name, one.place.line)).collect();
    assert_eq!(names, [("n/a", 1), ("default/b", 7)]);
    assert_eq!(objects.unreadable.len(), 1);
    assert!(objects.unreadable[0].to_string().starts_with("p.yaml:5: line "), "{}", objects.unreadable[0]);
}

#[test]
fn json_lists_and_other_kinds() {
    let objects = read(
        r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"gatewright.dev/v1alpha1","kind":"AuthPolicy","metadata":{"name":"a","generation":3}},
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"}},
            {"apiVersion":"gatewright.dev/v1","kind":"AuthPolicy","metadata":{"name":"a"}}]}"#,
    );
    assert_eq!((objects.policies.len(), objects.foreign.len(), objects.unreadable.len()), (1, 1, 1));
    assert_eq!(objects.policies[0].generation, Some(3));
}

#[test]
fn secrets_are_read_and_not_shown() {
    let objects = read(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\ndata: {a: aGVsbG8=, b: '%%'}\nstringData: {c: canary-value, d: 5}\n",
    );
    let value = |key| objects.reference(ReferenceKind::Secret, "n", "s", key).map(|one| one.expose().to_vec());
    assert_eq!(
        (value("a"), value("b"), value("c"), value("d")),
        (Some(b"hello".to_vec()), None, Some(b"canary-value".to_vec()), None)
    );
    assert!(objects.reference(ReferenceKind::ConfigMap, "n", "s", "a").is_none());
    assert!(objects.reference(ReferenceKind::Secret, "other", "s", "a").is_none());
    let unfit = |key| objects.unfit(ReferenceKind::Secret, "n", "s", key);
    assert!(unfit("b").is_some_and(|why| why.contains("base64")) && unfit("d").is_some() && unfit("a").is_none());
    assert!(objects.unreadable.is_empty());
    assert!(!format!("{objects:?}").contains("canary-value"));
}

#[test]
fn a_document_may_begin_on_its_separator() {
    let objects = read(
        "--- {apiVersion: gatewright.dev/v1alpha1, kind: AuthPolicy, metadata: {name: a}}\n--- # b\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n",
    );
    assert_eq!((objects.policies.len(), objects.foreign.len(), objects.unreadable.len()), (1, 1, 0));
}

#[test]
fn a_slip_in_group_kind_or_list_hides_an_object() {
    for text in [
        "apiVersion: gatewrigth.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: a}\n",
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolcy\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: List\nitems: {}\n",
    ] {
        let objects = read(text);
        assert!(matches!(objects.unreadable.as_slice(), [one] if one.hides_object), "{text}");
    }
}

#[test]
fn names_that_could_pose_as_others_are_refused() {
    for (namespace, name) in [("a", "b/c"), ("a/b", "c"), ("a", "Bad Name!"), ("a", "x\u{7}"), ("-a", "b"), ("a", "b.")]
    {
        let text = serde_json::json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": name, "namespace": namespace}});
        let objects = read(&text.to_string());
        assert_eq!((objects.policies.len(), objects.unreadable.len()), (0, 1), "{namespace} {name}");
    }
}

#[test]
fn a_syntax_error_deletes_no_secret() {
    let earlier = read("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {k: value}\n");
    for (text, kept) in [("kind: [\n", true), ("", false), ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", false)]
    {
        let mut objects = read(text);
        objects.carry_over(&earlier);
        assert_eq!(objects.reference(ReferenceKind::Secret, "n", "s", "k").is_some(), kept, "{text:?}");
    }
}

#[test]
fn yaml_that_is_not_json_is_refused() {
    for text in [
        "a: 1\na: 2\n",
        "kind: !secret x\n",
        "? [a]\n: b\n",
        "a: .nan\n",
        "just text\n",
        "- a\n",
        "a: &x [*x]\n",
        "\t- a",
    ] {
        assert_eq!(read(text).unreadable.len(), 1, "{text:?}");
    }
    for text in ["", "---\n---\n", "# c\n", "\u{feff}"] {
        assert!(read(text).unreadable.is_empty(), "{text:?}");
    }
}
