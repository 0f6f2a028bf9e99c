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
    assert_eq!(objects.policies[0].document.generation(), Some(3));
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
fn of_two_secrets_of_one_name_the_last_counts_and_is_told_of() {
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\nstringData: {{k: {value}}}\n")
    };
    let mut objects = read(&secret("one"));
    assert_eq!(objects.replaced, []);
    objects.read("later.yaml", &secret("two"));
    objects.read("map.yaml", &secret("three").replace("Secret", "ConfigMap").replace("stringData", "data"));
    assert_eq!(objects.reference(ReferenceKind::Secret, "n", "s", "k").unwrap().expose(), b"two");
    let told: Vec<_> =
        objects.replaced.iter().map(|(place, what)| (place.to_string(), what.contains("Secret n/s"))).collect();
    assert_eq!(told, [("later.yaml:1".to_owned(), true)]);
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
fn what_may_stand_in_a_file_that_was_never_read_is_not_absent() {
    let unread = |objects: &Objects, name| objects.unread(ReferenceKind::ConfigMap, "n", name);
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, namespace: n}\ndata: {k: v}\n";
    let mut first = read("kind: [\n");
    first.read("other.yaml", map);
    first.begins();
    assert!(unread(&first, "denied").is_some_and(|why| why.contains("p.yaml")), "{:?}", unread(&first, "denied"));
    assert!(first.unfit(ReferenceKind::ConfigMap, "n", "denied", "jti").is_some());
    assert_eq!(unread(&first, "m"), None);
    // As long as that file is not read; another file that breaks hides only what stood in it.
    let mut second = read("kind: [\n");
    second.carry_over(&first);
    assert!(unread(&second, "denied").is_some());
    let mut third = read("");
    third.read("other.yaml", "kind: [\n");
    third.carry_over(&second);
    assert_eq!(unread(&third, "denied"), None);
    // A file of another program hides nothing of ours; an object that lost its first lines may.
    for (text, hides) in [("services: {web: {}}\n", false), ("[1]\n", false), ("metadata: {name: denied}\n", true)] {
        let mut objects = read(text);
        objects.begins();
        assert_eq!(unread(&objects, "denied").is_some(), hides, "{text}");
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

fn policy(name: &str, host: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}}}\nspec: {{externalHostnames: [{host}]}}\n---\n"
    )
}

/// Whether both are one piece of memory, which only remembering can make them.
fn is_same(one: &Object, other: &Object) -> bool {
    one.document.place() == other.document.place()
}

#[test]
fn a_text_that_was_read_before_is_not_parsed_again() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: one}\n---\n";
    let mut memo = Memo::default();
    let mut read = |text: &str| {
        let mut objects = Objects::default();
        objects.read_again("p.yaml", text, &mut memo);
        memo.turn();
        objects
    };
    let first = read(&[policy("a", "a.test"), policy("b", "b.test"), secret.to_owned()].concat());
    // A line more above, and another host: the one moves, the other is new.
    let second = read(&["# a comment\n---\n", &policy("a", "a.test"), &policy("b", "new.test"), secret].concat());
    assert!(is_same(&first.policies[0], &second.policies[0]));
    assert_eq!((first.policies[0].place.line, second.policies[0].place.line), (1, 3));
    assert_eq!(second.policies[1].document.value()["spec"]["externalHostnames"][0], "new.test");
    let values = |objects: &Objects| objects.values(ReferenceKind::Secret, "default/s").unwrap();
    assert!(Arc::ptr_eq(&values(&first).0, &values(&second).0));
    // What a reading did not come across is forgotten, and then made anew.
    read("");
    let last = read(&policy("a", "a.test"));
    assert!(!is_same(&first.policies[0], &last.policies[0]));
    assert_eq!(first.policies[0].document, last.policies[0].document);
}

#[test]
fn a_text_in_two_files_belongs_to_both() {
    let (mut memo, mut objects) = (Memo::default(), Objects::default());
    for file in ["a.yaml", "b.yaml"] {
        objects.read_again(
            file,
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: one}\n",
            &mut memo,
        );
    }
    memo.turn();
    // The file that won is unreadable now: what it held is carried over, as of that file.
    let mut next = Objects::default();
    next.read_again("b.yaml", "kind: [", &mut memo);
    next.carry_over(&objects);
    assert!(next.reference(ReferenceKind::Secret, "default", "s", "key").is_some());
}

#[test]
fn a_document_is_what_it_says() {
    let read = |text: &str| Document::new(&serde_json::from_str(text).unwrap());
    let one = read(
        r#"{"metadata":{"uid":"u","generation":7,"creationTimestamp":"t"},"spec":{"n":[1,-2,0.25,1e300,18446744073709551615],"t":"\u0000\"é"}}"#,
    );
    assert_eq!(one, read(&one.value().to_string()));
    assert_eq!((one.uid(), one.generation(), one.created()), (Some("u"), Some(7), Some("t")));
    assert_eq!(one.workload_labels(), None);
    // The order of members says nothing; a member more does.
    assert_eq!(read(r#"{"a":1,"b":2}"#), read(r#"{"b":2,"a":1}"#));
    assert_ne!(read(r#"{"a":1}"#), read(r#"{"a":1,"b":null}"#));
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), one);
    assert_eq!(serde_json::to_value(&one).unwrap(), one.value());
    let selected = read(r#"{"spec":{"workloadSelector":{"matchLabels":{"app":"shop","odd":1}}}}"#);
    assert_eq!(
        selected.workload_labels().unwrap().iter().collect::<Vec<_>>(),
        [(&"app".to_owned(), &"shop".to_owned())]
    );
}
