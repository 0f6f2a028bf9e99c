//! When API keys were used last: from a request to the Secret that the leader writes, and to the list that people read.

use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    operator::Operator,
    product::binary,
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, secret};

/// The name of the entry of a key.
fn digest(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Keys that a policy knows; nothing of them but their digests is in the Secret.
async fn keys(world: &World, all: &[&str]) -> Result<Value, PeerError> {
    let records: serde_json::Map<String, Value> =
        all.iter().map(|key| (digest(key), json!(r#"{"sub":"alice"}"#))).collect();
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": records});
    let made = world.api.apply_text(&format!("{}?fieldManager=person", secret("keys")), &object.to_string()).await?;
    let kinds = json!({"sha256": {"secretRef": {"name": "keys"}}});
    let spec = json!({"externalHostnames": ["keys.test"], "authenticators": [{"name": "k", "apiKey": kinds}]});
    apply(&world.api, "keys", spec).await?;
    Ok(made)
}

/// What the leader wrote.
async fn written(api: &ApiServer) -> Option<String> {
    let found = api.get(&secret("gatewright-last-used-0")).await.ok()?.body;
    String::from_utf8(BASE64.decode(found["data"]["keys"].as_str()?).ok()?).ok()
}

async fn until_written(api: &ApiServer, key: &str) -> Outcome {
    let id: String = digest(key).chars().take(32).collect();
    let what = format!("the use of {key} to be written");
    wait::until(&what, LONG, || async { written(api).await?.contains(&id).then_some(()) }).await
}

async fn use_key(world: &World, key: &str) -> Outcome {
    let bearer = format!("Bearer {key}");
    let what = format!("{key} to be good");
    wait::until(&what, LONG, || async {
        (world.plane.answer_with("keys.test", &[("authorization", &bearer)]).await == 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_use_is_written_beside_the_records_and_listed() -> Outcome {
    let world = World::start().await?;
    let made = keys(&world, &["first", "second", "never"]).await?;
    use_key(&world, "first").await?;
    until_written(&world.api, "first").await?;
    // A key that is refused is used by nobody.
    assert_eq!(world.plane.answer_with("keys.test", &[("authorization", "Bearer unknown")]).await, 401);
    use_key(&world, "second").await?;
    until_written(&world.api, "second").await?;
    let text = written(&world.api).await.unwrap_or_default();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("first") && !text.contains(&digest("first")), "half a digest, and no key: {text}");

    // The Secret of the records is its owner's, and was not touched.
    let records = world.api.get(&secret("keys")).await?.body;
    assert_eq!(records["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let ours = world.api.get(&secret("gatewright-last-used-0")).await?.body;
    assert_eq!(ours["metadata"]["labels"]["app.kubernetes.io/managed-by"], "gatewright-operator", "{ours}");

    // As `kubectl get secrets -o json` prints them.
    let file = tempfile::NamedTempFile::new().map_err(PeerError::io("a file"))?;
    let exported = json!({"apiVersion": "v1", "kind": "List", "items": [records, ours]});
    std::fs::write(file.path(), exported.to_string()).map_err(PeerError::io("a file"))?;
    let printed = Command::new(binary()?).args(["apikey", "list", "-o", "json"]).arg(file.path()).output();
    let printed = printed.map_err(PeerError::io("gatewright apikey"))?;
    let rows: Vec<Value> = serde_json::from_slice(&printed.stdout).unwrap_or_default();
    let used = |key: &str| rows.iter().find(|row| row["id"] == digest(key)).map(|row| row["lastUsedAt"].clone());
    assert!(used("first").is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))), "{rows:?}");
    assert!(used("second").is_some_and(|at| at.is_string()), "{rows:?}");
    assert_eq!(used("never"), Some(Value::Null), "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_written_outlives_operators_and_is_never_taken_from_others() -> Outcome {
    let mut world = World::start().await?;
    keys(&world, &["first", "second"]).await?;
    use_key(&world, "first").await?;
    until_written(&world.api, "first").await?;
    // An operator that was not there knows nothing, and loses nothing.
    world.operator.kill();
    world.operator.launch()?;
    world.operator.until_ready().await?;
    use_key(&world, "second").await?;
    until_written(&world.api, "second").await?;
    assert!(written(&world.api).await.is_some_and(|text| text.lines().count() == 2));
    world.operator.kill();

    // Somebody else's Secret of that name stays as it is, and says so in the log.
    world.api.delete(&secret("gatewright-last-used-0")).await?;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gatewright-last-used-0"}, "stringData": {"password": "x"}});
    world
        .api
        .apply_text(&format!("{}?fieldManager=person", secret("gatewright-last-used-0")), &theirs.to_string())
        .await?;
    let mut second = Operator::start(&world.api, "operator-0").await?;
    second.until_ready().await?;
    world.operator = second;
    world.plane = tests::operator::DataPlane::start(&world.api, &world.operator, "authz-1").await?;
    world.plane.until_answer("keys.test", 401).await?;
    use_key(&world, "first").await?;
    wait::until("the operator to complain", LONG, || async {
        world.operator.output().contains("holds something else and is left alone").then_some(())
    })
    .await?;
    let found = world.api.get(&secret("gatewright-last-used-0")).await?.body;
    assert_eq!(found["data"].as_object().map(serde_json::Map::len), Some(1), "{found}");
    assert!(found["data"]["password"].is_string(), "{found}");
    Ok(())
}
