//! The dashboard and the documents against what running processes really expose.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use tests::{
    Issuer, PeerError, Product,
    bench::minimal,
    helm,
    wait::{self, LONG},
};

use crate::{Outcome, World, apply};

/// Families by name, each of which must be explained and typed.
fn families(page: &str) -> BTreeSet<String> {
    let told = |word: &str| -> BTreeSet<String> {
        let lines = page.lines().filter_map(|line| line.strip_prefix(word)?.split_once(' '));
        lines.filter(|(_, text)| !text.is_empty()).map(|(name, _)| name.to_owned()).collect()
    };
    let (explained, typed) = (told("# HELP "), told("# TYPE "));
    assert_eq!(explained, typed, "every metric has both");
    typed
}

/// Names as a query writes them.
fn series(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect()
}

fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("gatewright_")).collect()
}

/// A policy whose keys are somebody else's, and that has others asked.
fn by_others(issuer: &Issuer) -> Value {
    let jwt = json!({"issuer": issuer.url(), "audiences": ["api"]});
    let webhook = json!({"url": "http://127.0.0.1:9/verify", "accepts": {"prefix": "hook_"}});
    let authenticators = json!([{"name": "sso", "jwt": jwt}, {"name": "hook", "webhook": webhook}]);
    json!({"externalHostnames": ["metrics.test"], "authenticators": authenticators})
}

#[tokio::test]
async fn every_panel_and_every_document_is_about_a_metric_that_is_there() -> Outcome {
    let world = World::start_with(&["--audit-log=/dev/null", "--otlp-endpoint=http://127.0.0.1:9"]).await?;
    let issuer = Issuer::start().await?;
    apply(&world.api, "metrics", by_others(&issuer)).await?;
    world.plane.until_answer("metrics.test", 401).await?;
    let bearer = format!("Bearer {}", issuer.token(&json!({"aud": "api", "sub": "alice"}))?);
    wait::until("alice to be let in", LONG, || async {
        (world.plane.answer_with("metrics.test", &[("authorization", &bearer)]).await == 200).then_some(())
    })
    .await?;
    assert_eq!(world.plane.answer_with("metrics.test", &[("authorization", "Bearer hook_1")]).await, 503);
    let plane = world.plane.admin("/metrics").await.1;
    let operator = world.operator.admin("/metrics").await.1;
    let product = Product::start(&minimal(&issuer)).await?;
    let alone = product.admin("/metrics").await.1;
    let there: BTreeSet<&str> = [&plane, &operator, &alone].into_iter().flat_map(|page| series(page)).collect();

    let read = |path: &str| fs::read_to_string(helm::root().join(path)).map_err(PeerError::io(path));
    let text = read("charts/gatewright/files/dashboard.json")?;
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39), "of this decade's Grafana");
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    for panel in panels {
        let title = &panel["title"];
        for target in panel["targets"].as_array().expect("a panel has targets") {
            let query = target["expr"].as_str().expect("a target has a query");
            let asked = names_in(query);
            assert!(!asked.is_empty(), "{title}");
            for name in asked {
                assert!(there.contains(name), "{title} asks for {name}, which nobody has");
            }
        }
    }

    let documents = read("docs/operating.md")?;
    let shown = names_in(&text);
    for name in names_in(section(&documents, "The operator's troubles:")) {
        assert!(shown.contains(name), "the dashboard has no panel for {name}");
    }
    let documented = names_in(&documents);
    let all = [&plane, &operator, &alone].into_iter().flat_map(|page| families(page));
    for name in all.filter(|name| name.starts_with("gatewright_")) {
        let known = documented.contains(name.as_str()) || documented.contains(format!("{name}_total").as_str());
        assert!(known, "docs/operating.md does not name {name}");
    }
    for name in documented {
        let known = there.contains(name) || series_begin(&there, name);
        assert!(known, "docs/operating.md names {name}, which nobody has");
    }
    Ok(())
}

/// The table below this line.
fn section<'a>(documents: &'a str, title: &str) -> &'a str {
    let (_, rest) = documents.split_once(title).expect("the documents have it");
    let table = rest.trim_start();
    assert!(table.starts_with("| metric |"), "a table follows {title}");
    table.split("\n\n").next().unwrap_or_default()
}

/// A histogram is named without its suffixes.
fn series_begin(there: &BTreeSet<&str>, name: &str) -> bool {
    there.contains(format!("{name}_count").as_str())
}
