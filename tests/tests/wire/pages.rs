//! The pages of the applications, followed as they are written, and the tests that their map names.

use std::{fs, path::Path};

use tests::page::follow;

use crate::Outcome;

#[tokio::test]
async fn in_front_of_aiq() -> Outcome {
    follow("aiq").await
}

#[tokio::test]
async fn in_front_of_qaynaq() -> Outcome {
    follow("qaynaq").await
}

#[tokio::test]
async fn in_front_of_cq() -> Outcome {
    follow("cq").await
}

/// Where the modules are that the map of features names.
const PLACES: [(&str, &str); 9] = [
    ("wire", "tests/tests/wire"),
    ("decide", "authz/src/decide/tests"),
    ("jwt", "authz/src/jwt/tests"),
    ("keys", "crds/src/keys/tests"),
    ("roles", "crds/src/roles/tests"),
    ("errors", "authz/src/errors/tests"),
    ("crds::api_keys::tests", "crds/src/api_keys/tests"),
    ("remote::calls::tests", "authz/src/remote/calls/tests"),
    ("channel", "operator/tests/channel"),
];

/// Whether this is a file, or a function of tests: a module is a file or a folder, and a test stands in the file of its module.
fn is_there(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if name.contains('/') {
        return root.join(name).exists();
    }
    let parts = |(module, folder): (&str, &'static str)| {
        let rest = name.strip_prefix(module)?;
        (rest.is_empty() || rest.starts_with("::")).then(|| (folder, rest.split("::").skip(1).collect::<Vec<_>>()))
    };
    let Some((folder, rest)) = PLACES.into_iter().find_map(parts) else { return false };
    let text = |path: String| fs::read_to_string(root.join(path)).unwrap_or_default();
    let holds = |text: String, test: &str| text.contains(&format!("fn {test}()"));
    match rest.as_slice() {
        [] => root.join(folder).is_dir() || root.join(format!("{folder}.rs")).is_file(),
        [one] => {
            root.join(format!("{folder}/{one}.rs")).is_file()
                || holds(text(format!("{folder}.rs")), one)
                || holds(text(format!("{folder}/mod.rs")), one)
        }
        [file, test] => holds(text(format!("{folder}/{file}.rs")), test),
        _ => false,
    }
}

#[test]
fn the_map_of_features_names_tests_that_are_there() {
    const MAP: &str = include_str!("../../../docs/applications/features.md");
    let rows: Vec<&str> = MAP.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let names = |row: &'static str| row.split('`').skip(1).step_by(2).filter(|name| *name != "operator");
    let all: Vec<&str> = rows.iter().copied().flat_map(names).collect();
    let missing: Vec<&&str> = all.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
    assert!(rows.iter().all(|row| names(row).next().is_some()), "a feature without a test");
    assert!(rows.len() > 30 && all.len() > 60, "{} rows, {} names", rows.len(), all.len());
}
