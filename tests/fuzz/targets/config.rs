//! Documents as a user writes them: read, checked, compiled, sent and compiled again. libFuzzer's own limit bounds the time.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use crds::{
    compile::{Assembler, Compiled, Compiler, LastGood, Options},
    documents::Objects,
    push::{PushedPolicy, values_for},
    snapshot::{Entry, Snapshot},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut objects = Objects::default();
    objects.read("fuzz.yaml", text);
    let mut compiler = Compiler::new(Options::default(), LastGood::default());
    let first = compiler.compile(&objects);
    assert_eq!(
        first.verdicts.len(),
        objects.policies.len() + objects.data_sources.len(),
        "an object without a verdict"
    );
    assert_hidden(&first, &objects);
    // Again, from memory and from the beginning.
    let again = compiler.compile(&objects);
    assert_eq!(verdicts(&again), verdicts(&first), "a second look decides otherwise");
    let afresh = Compiler::new(Options::default(), LastGood::default()).compile(&objects);
    assert_eq!(names(&afresh.snapshot), names(&first.snapshot));
    carried(&first, &objects);
});

/// What `explain`, a status or a log may show of it.
fn assert_hidden(compiled: &Compiled, objects: &Objects) {
    let snapshot = serde_json::to_string(&compiled.snapshot).expect("a snapshot can be shown");
    let shown = [snapshot, verdicts(compiled).concat()];
    // What a policy says openly is no secret.
    let specs = objects.policies.iter().chain(&objects.data_sources);
    let open = specs.map(|one| format!("{} {:?}", one.document.value(), one.document.value())).collect::<String>();
    for secret in objects.secrets().flat_map(|secret| secret.entries()).filter_map(|(_, value)| value) {
        for form in [String::from_utf8_lossy(secret.expose()).into_owned(), STANDARD.encode(secret.expose())] {
            // Short ones are words that stand anywhere.
            let hidden = form.len() >= 24 && !open.contains(&form);
            assert!(!hidden || !shown.iter().any(|text| text.contains(&form)), "a secret is shown");
        }
    }
}

fn verdicts(compiled: &Compiled) -> Vec<String> {
    compiled.verdicts.iter().map(|verdict| format!("{verdict:?}")).collect()
}

/// Names in force, and names that are held.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = snapshot
        .entries()
        .iter()
        .map(|entry| match entry {
            Entry::InForce(one) => format!("{} {:?}", one.policy.name, one.hosts),
            Entry::Held(held) => format!("!{}", held.name),
        })
        .collect();
    names.sort_unstable();
    names
}

/// A receiver accepts what was accepted here, and has it under the same hosts.
fn carried(compiled: &Compiled, objects: &Objects) {
    let policies: Vec<PushedPolicy> = compiled
        .pushed
        .iter()
        .map(|one| {
            let bytes = serde_json::to_vec(&one.policy).expect("a policy can be sent");
            serde_json::from_slice(&bytes).expect("what is sent can be read")
        })
        .collect();
    let mut values = Objects::default();
    for ((kind, name), one) in values_for(compiled.pushed.iter().flat_map(|one| &one.references), objects) {
        values.put(kind, name, one.shared());
    }
    let assembled = Assembler::default().assemble(&policies, &values);
    assert!(assembled.rejected.is_empty(), "a receiver refuses what is in force: {:?}", assembled.rejected);
    assert_eq!(names(&assembled.snapshot), names(&compiled.snapshot));
}
