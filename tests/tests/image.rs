//! The Dockerfile, as far as that can be seen without a builder: what it copies is a workspace that cargo can build the product from.

#![allow(clippy::expect_used, reason = "a test's helper fails the test that calls it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root of the repository").to_path_buf()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a file of the repository")
}

/// What reaches a builder: `.dockerignore` begins with `*` and lets through what it names.
fn context(into: &Path) {
    let text = read(".dockerignore");
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "everything is left out that is not named");
    for line in lines {
        let name = line.strip_prefix('!').expect("names what is let through");
        copy(&root().join(name), &into.join(name));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder is made");
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("a folder is read") {
            let name = entry.expect("an entry").file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).expect("a file is copied");
    }
}

#[test]
fn what_is_copied_is_a_workspace() {
    let (context_folder, image) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    context(context_folder.path());
    let dockerfile = read("Dockerfile");
    let copies =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--"));
    for rest in copies {
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        let target = words.pop().expect("a target");
        for source in &words {
            let to = if target == "./" { image.path().join(source) } else { image.path().join(target) };
            copy(&context_folder.path().join(source), &to);
        }
    }
    // Every member is there, and the lock fits: `cargo build --locked` gets as far as compiling.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let ran = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", "gatewright", "--depth", "0"])
        .current_dir(image.path())
        .output()
        .expect("cargo runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_version_and_the_toolchain_are_those_of_the_workspace() {
    let (dockerfile, manifest, toolchain) = (read("Dockerfile"), read("Cargo.toml"), read("rust-toolchain.toml"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
        line.trim_start_matches([' ', '=']).trim_matches('"').to_owned()
    };
    assert_eq!(value(&dockerfile, "ARG VERSION"), value(&manifest, "version"));
    let rust = value(&dockerfile, "ARG RUST");
    assert!(rust.contains(&format!(":{}-", value(&toolchain, "channel"))), "{rust}");
}
