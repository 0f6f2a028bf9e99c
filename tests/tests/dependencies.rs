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
    ("tests", &[]),
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

/// HTTP clients, and what others are made of.
const HTTP_CLIENTS: [&str; 10] =
    ["reqwest", "hyper", "hyper-util", "ureq", "isahc", "curl", "attohttpc", "minreq", "awc", "redis"];
/// What the operator uses of `authz`: the server's side of TLS and of the channel, no module that asks anybody.
const OF_AUTHZ: [&str; 6] = ["channel", "seal", "server", "signers", "tls", "uses"];
/// How a program dials by itself, and the one file of the operator that does: from a replica to its leader, by the Lease.
const DIALS: [&str; 8] =
    ["Endpoint", "TcpStream", "TcpSocket", "UdpSocket", "UnixStream", "Connector", "lookup_host", "to_socket_addrs"];
const DIALLER: &str = "push/relay.rs";

/// The first name of each path that begins with `authz::`.
fn used_of_authz(text: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
    let mut used = Vec::new();
    for (_, path) in text.match_indices("authz::").map(|(at, _)| text.split_at(at + "authz::".len())) {
        let Some(group) = path.strip_prefix('{') else {
            used.push(name(path));
            continue;
        };
        let (mut depth, mut begins) = (0_usize, true);
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                char if begins && !char.is_whitespace() => {
                    used.push(name(group.split_at(at).1));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

/// Sources of the operator by their path, without its tests.
fn operator_sources() -> BTreeMap<String, String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/src");
    let (mut folders, mut sources) = (vec![root.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the operator's sources") {
            let path = entry.expect("the operator's sources").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("it is below").display().to_string();
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let own_tests = path.file_stem().is_some_and(|stem| {
                let parent = std::fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
                parent.contains(&format!("#[cfg(test)]\nmod {};", stem.display()))
            });
            if !own_tests {
                sources.insert(name, text);
            }
        }
    }
    sources
}

#[test]
fn the_operator_has_no_client_but_that_of_its_api_server() {
    let metadata = metadata();
    let operator = metadata.packages.iter().find(|package| package.name.as_str() == "operator").expect("the operator");
    let normal: BTreeSet<&str> = operator
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
        .collect();
    assert!(normal.contains("kube"), "{normal:?}");
    let clients: Vec<&str> = HTTP_CLIENTS.into_iter().filter(|name| normal.contains(name)).collect();
    assert!(clients.is_empty(), "the operator imports {clients:?}");

    let sources = operator_sources();
    assert!(sources.len() > 40 && sources.contains_key(DIALLER), "{:?}", sources.keys());
    let used: BTreeSet<String> = sources.values().flat_map(|text| used_of_authz(text)).collect();
    assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), OF_AUTHZ);
    for (path, text) in &sources {
        let dials: Vec<&str> = DIALS.into_iter().filter(|word| text.contains(word)).collect();
        let expected: &[&str] = if path == DIALLER { &["Endpoint"] } else { &[] };
        assert_eq!(dials, expected, "{path}");
    }
}
