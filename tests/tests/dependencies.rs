//! Who may import whom. The table is the architecture: a new edge is a decision, made here and seen in review.

#![allow(clippy::expect_used, reason = "a test's helper fails the test that calls it")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Our crates and those of ours that each may import. What is not here may not be.
const EDGES: [(&str, &[&str]); 6] = [
    // The API and the compile step: pure, imported by everybody, imports nobody.
    ("crds", &[]),
    ("authz", &["crds"]),
    ("operator", &["authz", "crds"]),
    ("gatewright", &["authz", "crds", "operator"]),
    ("tests", &["authz", "crds", "gatewright"]),
    ("bench", &["authz", "crds"]),
];
/// What the pure crate must not reach, not even through another: nothing that waits, listens or fetches.
const IMPURE: [&str; 8] = ["tokio", "tonic", "reqwest", "hyper", "axum", "kube-client", "kube-runtime", "notify"];

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata of this workspace")
}

/// Everything that `package` links without its development dependencies, with these flags.
fn tree(package: &str, flags: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let ran = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(flags)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let names = String::from_utf8(ran.stdout).expect("names of packages");
    names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into();
    assert_eq!(ours, allowed.keys().copied().collect(), "the table and the workspace name the same crates");
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|dependency| ours.contains(dependency.name.as_str())) {
            let own_tests = dependency.kind == DependencyKind::Development && package.name.as_str() == dependency.name;
            assert!(
                own_tests || allowed[package.name.as_str()].contains(&dependency.name.as_str()),
                "{} imports {}, which the table in this file does not allow",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn the_contract_crate_neither_waits_nor_listens() {
    let linked = tree("crds", &["--all-features"]);
    let found: Vec<&str> = IMPURE.into_iter().filter(|name| linked.contains(*name)).collect();
    assert!(linked.contains("serde"), "cargo tree was understood: {linked:?}");
    assert!(found.is_empty(), "crds links {found:?}");
}

#[test]
fn the_decision_alone_neither_waits_nor_listens() {
    let linked = tree("authz", &["--no-default-features"]);
    let found: Vec<&str> = IMPURE.into_iter().filter(|name| linked.contains(*name)).collect();
    assert!(linked.contains("crds"), "cargo tree was understood: {linked:?}");
    assert!(found.is_empty(), "authz without its server links {found:?}");
}
