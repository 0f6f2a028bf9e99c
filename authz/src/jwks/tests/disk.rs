//! Keys that outlive the process.

use std::time::SystemTime;

use super::*;
use crate::jwks::disk::age;

/// Fetches, writes, and ends, as a process does.
async fn run_once(dir: &Scratch, source: &KeySetSource) {
    let fixture = Fixture::fetched(keeping(&dir.0), source).await;
    within(fixture.cache.shutdown()).await;
}

#[tokio::test]
async fn a_restart_while_the_issuer_is_down_still_verifies() {
    let dir = Scratch::new();
    let mut provider = Provider::start(keys(&["a"])).await;
    for source in [discovered(&provider), configured(&provider)] {
        run_once(&dir, &source).await;
        provider.stop().await;
        let fixture = Fixture::new(keeping(&dir.0));
        fixture.cache.sync(vec![source.clone()]);
        assert_eq!(fixture.kids(&source).unwrap(), ["a"], "there when sync returns");
        assert_eq!(fixture.status(&source).freshness, Freshness::Stale);
        assert_eq!(fixture.cache.pending(), [source.issuer.to_string()], "keys from disk are no fetch");
        fixture.refresh(&source).await;
        assert!(fixture.cache.state(&source.id).failing);
        assert_eq!(fixture.kids(&source).unwrap(), ["a"]);

        provider.serve_keys(keys(&["a", "b"]));
        provider.restart().await;
        within(fixture.cache.fetched_once()).await;
        assert_eq!(fixture.kids(&source).unwrap(), ["a", "b"]);
        assert_eq!(fixture.status(&source).freshness, Freshness::Fresh);
        within(fixture.cache.shutdown()).await;
        provider.serve_keys(keys(&["a"]));
    }
}

/// A known location from disk serves while discovery is down, and is not pinned: a restart may follow a move.
#[tokio::test]
async fn the_saved_location_is_used_but_not_pinned() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let other = Provider::start(keys(&["moved"])).await;
    let source = discovered(&provider);
    run_once(&dir, &source).await;
    provider.serve_discovery(Mode::status("503 Service Unavailable"));
    let fixture = Fixture::fetched(keeping(&dir.0), &source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    within(fixture.cache.shutdown()).await;
    provider.discover(&provider.issuer(), &other.keys_url());
    let fixture = Fixture::fetched(keeping(&dir.0), &source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["moved"]);
}

/// R21: no clock makes saved keys younger than they are, or lets them live for ever.
#[test]
fn the_age_of_saved_keys_survives_any_clock() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(age(1_000, at(1_500), HOUR), Duration::from_secs(500));
    assert_eq!(age(1_000, at(1_000), HOUR), Duration::ZERO);
    assert_eq!(age(1_000, at(999), HOUR), HOUR, "from the future: as old as a set that just stopped being fresh");
    assert_eq!(age(u64::MAX, at(0), HOUR), HOUR);
    assert_eq!(age(0, SystemTime::UNIX_EPOCH - HOUR, HOUR), HOUR);
}

#[tokio::test]
async fn saved_keys_end_with_the_stale_bound() {
    let dir = Scratch::new();
    let mut provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    run_once(&dir, &source).await;
    provider.stop().await;
    let text = std::fs::read_to_string(dir.file()).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["fetched_at"] = (record["fetched_at"].as_u64().unwrap() - 26 * 3600).into();
    std::fs::write(dir.file(), record.to_string()).unwrap();
    let fixture = Fixture::new(keeping(&dir.0));
    fixture.cache.sync(vec![source.clone()]);
    assert!(fixture.kids(&source).is_none(), "older than max_age and 24 h");
    assert_eq!(fixture.status(&source).freshness, Freshness::Expired);
}

#[tokio::test]
async fn damaged_and_foreign_files_are_ignored() {
    let dir = Scratch::new();
    let mut provider = Provider::start(keys(&["a"])).await;
    let source = discovered(&provider);
    run_once(&dir, &source).await;
    provider.stop().await;
    let (file, good) = (dir.file(), std::fs::read_to_string(dir.file()).unwrap());
    let spoil = |member: &str, value: &str| {
        let mut record: serde_json::Value = serde_json::from_str(&good).unwrap();
        record[member] = value.into();
        record.to_string()
    };
    let cases = [
        String::new(),
        "\0\0\0".to_owned(),
        good.chars().take(good.len() / 2).collect(),
        spoil("issuer", "http://evil.example"),
        spoil("id", "other"),
        spoil("jwks_uri", "nowhere"),
        spoil("jwks", r#"{"keys":[]}"#),
        spoil("jwks", "<html>"),
    ];
    for text in cases {
        std::fs::write(&file, &text).unwrap();
        let fixture = Fixture::new(keeping(&dir.0));
        fixture.cache.sync(vec![source.clone()]);
        assert!(fixture.kids(&source).is_none(), "{text}");
    }
    std::fs::write(&file, &good).unwrap();
    let fixture = Fixture::new(keeping(&dir.0));
    fixture.cache.sync(vec![source.clone()]);
    assert!(fixture.kids(&source).is_some(), "the original is good");
}

/// A saved set of the same id from another place than the policy now names is not used.
#[tokio::test]
async fn a_changed_location_does_not_inherit_keys() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    run_once(&dir, &source).await;
    let mut moved = source.clone();
    moved.jwks_uri = Some("http://127.0.0.1:1/keys".into());
    for (source, inherits) in [(&source, true), (&moved, false)] {
        let fixture = Fixture::new(keeping(&dir.0));
        fixture.cache.sync(vec![source.clone()]);
        assert_eq!(fixture.kids(source).is_some(), inherits, "{:?}", source.jwks_uri);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_private_and_go_with_their_sets() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let (one, two) = (discovered(&provider), configured(&provider));
    let fixture = Fixture::new(keeping(&dir.0));
    fixture.cache.sync(vec![one.clone(), two.clone()]);
    within(fixture.cache.fetched_once()).await;
    within(fixture.cache.shutdown()).await;
    let files =
        || std::fs::read_dir(dir.0.join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files().len(), 2);
    for file in files() {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    std::fs::write(dir.0.join("keys").join("notes.txt"), "mine").unwrap();
    std::fs::write(dir.0.join("keys").join("0".repeat(64) + ".17.tmp"), "half").unwrap();
    std::fs::write(dir.0.join("keys").join("0".repeat(64) + ".json"), "of an old policy").unwrap();
    let next = Fixture::new(keeping(&dir.0));
    next.cache.sync(vec![two.clone()]);
    let names: Vec<_> = files().iter().map(|path| path.extension().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"txt".to_owned()) && names.contains(&"json".to_owned()));
    assert_eq!(next.kids(&two).unwrap(), ["a"]);
}

/// A full or read-only disk costs the restart, never the keys. A file where the directory should be fails for root as well.
#[tokio::test]
async fn an_unwritable_directory_only_warns() {
    let dir = Scratch::new();
    std::fs::write(dir.0.join("keys"), "in the way").unwrap();
    let provider = Provider::start(keys(&["a"])).await;
    let source = configured(&provider);
    let fixture = Fixture::fetched(keeping(&dir.0), &source).await;
    within(fixture.cache.shutdown()).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert!(!fixture.cache.state(&source.id).failing);
    assert!(
        fixture.metrics().contains(&format!("gatewright_jwks_save_failures_total{{issuer=\"{}\"}} 1\n", source.issuer))
    );
}

/// A write that is overtaken by the removal of its set, or by a newer write, leaves nothing.
#[tokio::test]
async fn late_writes_lose() {
    use crate::jwks::disk::{Gate, Record, Store};
    let dir = Scratch::new();
    let source = source("https://issuer.example", Some("https://issuer.example/keys"));
    let url = source.jwks_uri.as_deref().unwrap().parse().unwrap();
    let store = Store::new(&dir.0, 1 << 20);
    let gate = Gate::default();
    let record = |kid: &str, ticket| {
        Record::new(&source, &source.issuer, &url, SystemTime::now(), key_set(&[kid]).into(), ticket)
    };
    let (older, newer) = (record("old", gate.ticket()), record("new", gate.ticket()));
    store.save(&newer, &gate).unwrap();
    store.save(&older, &gate).unwrap();
    assert!(std::fs::read_to_string(dir.file()).unwrap().contains("new"));
    let late = record("late", gate.ticket());
    gate.shut();
    store.tidy([].into_iter(), false);
    store.save(&late, &gate).unwrap();
    assert_eq!(std::fs::read_dir(dir.0.join("keys")).unwrap().count(), 0);
}
