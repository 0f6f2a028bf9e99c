//! Start, drain, end, and the proxy while nobody answers its checks.

use std::time::Duration;

use serde_json::json;
use tests::{
    Bench, Fault, Issuer,
    bench::{Setup, minimal},
    envoy::{NO_VERDICT, Options},
    product, wait,
};

use crate::{Outcome, assert_allowed, assert_refused};

#[tokio::test]
async fn a_proxy_that_gets_no_verdict_denies_and_recovers() -> Outcome {
    let mut bench = Bench::start().await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    let reached = bench.upstream.seen().len();

    let finished = bench.product.stop().await?;
    assert_eq!(finished.code, Some(0), "{}", finished.output);
    assert_eq!(bench.good()?.http1().await?.status, NO_VERDICT);

    bench.product.restart().await?;
    wait::until("the proxy to reach the product again", wait::LONG, || async {
        (bench.good().ok()?.http1().await.ok()?.status == 200).then_some(())
    })
    .await?;

    bench.product.kill();
    assert_eq!(bench.call().http1().await?.status, NO_VERDICT);
    assert_eq!(bench.upstream.seen().len(), reached + 1, "{:?}", bench.upstream.seen());
    Ok(())
}

/// `failure_mode_allow` must not turn a refusal into an allow: the product answers, even when it cannot decide.
#[tokio::test]
async fn an_open_proxy_is_still_closed_by_every_verdict() -> Outcome {
    let issuer = Issuer::start().await?;
    issuer.set(Fault::Refuse);
    let setup = Setup { envoy: Options { allow_on_failure: true, ..Options::default() }, ..Setup::default() };
    let bench = Bench::set_up(issuer, minimal, &setup).await?;
    assert_refused(&bench.good()?.http1().await?, 503, "unavailable");
    assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    assert_refused(&bench.call().bearer("garbage").http1().await?, 401, "invalid_token");
    assert!(bench.upstream.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_ends_with_0() -> Outcome {
    let mut bench = Bench::start().await?;
    let before = bench.issuer.key_fetches();
    bench.issuer.publish(&["rsa", "rsa-next"])?;
    bench.issuer.set(Fault::Delay(Duration::from_millis(200)));
    let call = bench.call().bearer(&bench.issuer.token_by("rsa-next", &json!({"aud": "api", "sub": "bob"}))?);
    let under_way = tokio::spawn(async move { call.http1().await });
    wait::until("the check to be under way", wait::LONG, || async {
        (bench.issuer.key_fetches() > before).then_some(())
    })
    .await?;

    bench.product.begin_stop()?;
    let answer = under_way.await.expect("the request did not panic")?;
    assert!(matches!(answer.status, 200 | 401 | 503), "a verdict, and not the proxy's own: {answer:?}");
    assert_eq!(bench.product.ended().await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_start_that_cannot_succeed_ends_with_2_and_says_why() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &[&str]| {
        let data = path("data");
        let mut all = vec!["run".to_owned(), format!("--data-dir={data}")];
        all.extend(["broker", "admin"].map(|name| format!("--{name}-address=127.0.0.1:0")));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        async move { product::command(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let missing = path("missing");
    for (what, arguments, says) in [
        ("a folder that is not there", vec!["--config", &missing], "missing"),
        ("no configuration", vec![], "config"),
        ("an unknown flag", vec!["--config", &missing, "--colour=blue"], "colour"),
        ("an address that is none", vec!["--config", &missing, "--authz-address=nonsense"], "nonsense"),
    ] {
        let finished = run(&arguments).await?;
        assert_eq!(finished.code, Some(2), "{what}: {}", finished.output);
        assert!(finished.output.contains(says), "{what}: the message does not name {says}: {}", finished.output);
    }
    Ok(())
}

#[tokio::test]
async fn a_data_folder_among_the_documents_is_refused() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(path("config")).expect("a folder");
    std::os::unix::fs::symlink(path("config"), path("link")).expect("a link");
    for (config, data) in [
        ("config", "config"),
        ("config", "config/data"),
        ("config", "config/not/yet/there"),
        ("link", "config/data"),
        ("config", "link/data"),
    ] {
        let arguments = ["run", "--config", &path(config), "--data-dir", &path(data)];
        let finished = product::command(&arguments).await?;
        assert_eq!(finished.code, Some(2), "{config} {data}: {}", finished.output);
        assert!(finished.output.contains("--data-dir"), "{config} {data}: {}", finished.output);
        assert_eq!(std::fs::read_dir(path("config")).expect("the folder").count(), 0, "it was made all the same");
    }
    // Names that begin with a dot are not read, and a folder beside is not inside. What ends these two is the address.
    for data in ["config/.data", "config-data"] {
        let (config, data) = (path("config"), path(data));
        let nowhere = ["--authz-address=192.0.2.1:1", "--broker-address=127.0.0.1:0", "--admin-address=127.0.0.1:0"];
        let arguments = [&["run", "--config", &config, "--data-dir", &data][..], &nowhere].concat();
        let finished = product::command(&arguments).await?;
        assert_eq!(finished.code, Some(1), "{data}: {}", finished.output);
    }
    Ok(())
}

#[tokio::test]
async fn the_admin_listener_answers_what_it_should_and_nothing_else() -> Outcome {
    let bench = Bench::start().await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    for (path, status, holds) in [
        ("/livez", 200, ""),
        ("/readyz", 200, ""),
        ("/metrics", 200, "# TYPE"),
        ("/config_dump", 200, "api.example.com"),
        ("/secrets", 404, ""),
    ] {
        let (got, text) = bench.product.admin(path).await;
        assert_eq!(got, status, "{path}: {text}");
        assert!(text.contains(holds), "{path} lacks {holds}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_last_use_of_a_key_survives_a_restart() -> Outcome {
    const DIGEST: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // SHA-256 of `key`
    let policy = "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: api, namespace: demo}\n\
        spec: {externalHostnames: [api.example.com], authenticators: [{name: k, apiKey: {sha256: {secretRef: {name: keys}}}}]}\n";
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "demo"},
        "stringData": {DIGEST: r#"{"sub":"alice"}"#, "0".repeat(64): r#"{"sub":"bob"}"#}});
    let documents =
        |_: &Issuer| vec![("api.yaml".to_owned(), policy.to_owned()), ("keys.yaml".to_owned(), keys.to_string())];
    let mut bench = Bench::with(documents).await?;
    assert_allowed(&bench.call().bearer("key").http1().await?, "alice");
    let list = async |bench: &Bench| -> Result<Vec<Option<String>>, tests::PeerError> {
        let (config, file) = (bench.product.config(), bench.product.data().join("last-used.json"));
        let (config, file) = (config.display().to_string(), file.display().to_string());
        let printed = product::command(&["apikey", "list", "-o", "json", &config, &file]).await?;
        assert_eq!(printed.code, Some(0), "{}", printed.output);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&printed.output).expect("JSON");
        Ok(rows.iter().map(|row| row["lastUsedAt"].as_str().map(str::to_owned)).collect())
    };
    let finished = bench.product.stop().await?;
    assert_eq!(finished.code, Some(0), "{}", finished.output);
    let used = list(&bench).await?;
    assert!(matches!(used.as_slice(), [None, Some(_)]), "in the order of ids, the one that was used: {used:?}");
    bench.product.restart().await?;
    bench.product.stop().await?;
    assert_eq!(list(&bench).await?, used, "a start without requests changes nothing");
    Ok(())
}
