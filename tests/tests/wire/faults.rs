//! The machine in every bad state: asleep, killed, out of descriptors, with nobody who reads the log, with one thread.

use std::{fs::OpenOptions, process::Command};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use futures_util::future::join_all;
use serde_json::json;
use tests::{
    Bench, Call, Fault, Issuer,
    bench::{Setup, minimal},
    envoy::NO_VERDICT,
    grpc,
    issuer::now,
    wait,
};
use tokio::net::TcpStream;

use crate::{Outcome, assert_allowed, assert_refused};

fn setup(flags: &[&str], shell: Option<String>) -> Setup {
    Setup { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), shell, ..Setup::default() }
}

async fn until_allowed(bench: &Bench) -> Outcome {
    wait::until("alice to be let in", wait::LONG, || async {
        (bench.good().ok()?.http1().await.ok()?.status == 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn what_expires_while_the_machine_sleeps_is_refused_when_it_wakes() -> Outcome {
    let mut bench = Bench::start().await?;
    let end = now() + 20;
    let short = bench.call().bearer(&bench.issuer.token(&json!({"aud": "api", "sub": "alice", "exp": end}))?);
    // Remembered as good.
    assert_allowed(&short.http1().await?, "alice");
    assert_allowed(&short.http1().await?, "alice");
    bench.product.signal("STOP")?;
    wait::until("the end of the token", 2 * wait::LONG, || async { (now() > end).then_some(()) }).await?;
    bench.product.signal("CONT")?;
    assert_refused(&short.http1().await?, 401, "expired_token");
    assert_allowed(&bench.good()?.http1().await?, "alice");
    Ok(())
}

/// A good and a forged token again and again, until nobody is there to decide.
async fn until_nobody_decides(good: Call, bad: Call) -> Outcome {
    loop {
        let (good, bad) = (good.http1().await?.status, bad.http1().await?.status);
        assert!(matches!(good, 200 | NO_VERDICT), "{good}");
        assert!(matches!(bad, 401 | 503 | NO_VERDICT), "{bad}");
        if good == NO_VERDICT {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn killed_under_load_it_lets_nobody_in_and_comes_back_whole() -> Outcome {
    let mut bench = Bench::start().await?;
    let forged = bench.issuer.token_by("ed25519-forged", &json!({"aud": "api", "sub": "mallory"}))?;
    for _ in 0..3 {
        let before = bench.upstream.seen().len();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (good, bad) = (bench.good()?, bench.call().bearer(&forged));
            calls.spawn(until_nobody_decides(good, bad));
        }
        wait::until("load", wait::LONG, || async { (bench.upstream.seen().len() > before + 20).then_some(()) }).await?;
        bench.product.kill();
        while let Some(ended) = calls.join_next().await {
            ended.expect("the requests did not panic")?;
        }
        // The issuer is away: what it comes back with is what it kept.
        bench.issuer.set(Fault::Refuse);
        bench.product.revive().await?;
        until_allowed(&bench).await?;
        bench.issuer.set(Fault::None);
    }
    let subjects = bench.upstream.seen().into_iter().filter_map(|seen| seen.header("x-auth-subject"));
    assert!(subjects.into_iter().all(|subject| subject == "alice"), "only alice got through");
    Ok(())
}

#[tokio::test]
async fn without_descriptors_it_decides_for_who_is_there_and_recovers() -> Outcome {
    let shell = "ulimit -n 64; exec \"$0\" \"$@\"".to_owned();
    let bench = Bench::set_up(Issuer::start().await?, minimal, &setup(&["--workers=1"], Some(shell))).await?;
    until_allowed(&bench).await?;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(&bench.product.addresses.authz).await);
    }
    wait::until("the limit to be reached", wait::LONG, || async {
        bench.product.output().contains("could not be accepted").then_some(())
    })
    .await?;
    for _ in 0..20 {
        assert_allowed(&bench.good()?.http1().await?, "alice");
        assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    }
    drop(strangers);
    wait::until("a new connection to be taken", wait::LONG, || async {
        (bench.product.admin("/livez").await.0 == 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn nobody_who_reads_log_and_audit_log_costs_lines_only() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    // Held open and never read: it is full after 64 KiB.
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe opens");
    let shell = format!("exec \"$0\" \"$@\" >'{0}' 2>&1", pipe.display());
    let flags = ["--log-level=trace", "--audit-log=-", "--otlp-endpoint=http://127.0.0.1:9", "--trace-ratio=1"];
    let mut bench = Bench::set_up(Issuer::start().await?, minimal, &setup(&flags, Some(shell))).await?;
    let authz = format!("http://{}", bench.product.addresses.authz);
    let client = AuthorizationClient::connect(authz).await.expect("the product listens");
    let bearer = format!("Bearer {}", bench.alice()?);
    let dropped = "gatewright_audit_lines_total{outcome=\"dropped\"} ";
    // Until both queues are full as well; then still.
    wait::until("lines of the audit log to be dropped", 4 * wait::LONG, || async {
        let check =
            || async { client.clone().check(grpc::check("api.example.com", &[("authorization", &bearer)])).await };
        for answer in join_all((0..1000).map(|_| check())).await {
            assert!(grpc::allows(answer.expect("a verdict").get_ref()));
        }
        let (_, page) = bench.product.admin("/metrics").await;
        page.lines().find_map(|line| line.strip_prefix(dropped)).filter(|count| *count != "0").map(|_| ())
    })
    .await?;
    let (_, page) = bench.product.admin("/metrics").await;
    let lost = page.lines().find_map(|line| line.strip_prefix("gatewright_log_lines_lost_total "));
    assert!(lost.is_some_and(|count| count != "0"), "lines of the log are counted too: {page}");
    assert_allowed(&bench.good()?.http1().await?, "alice");
    assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    assert_eq!(bench.product.stop().await?.code, Some(0), "it ends, though nobody reads what it had to say");
    Ok(())
}

#[tokio::test]
async fn with_one_thread_waiting_holds_nobody_up() -> Outcome {
    let bench = Bench::set_up(Issuer::start().await?, minimal, &setup(&["--workers=1"], None)).await?;
    until_allowed(&bench).await?;
    let before = bench.issuer.key_fetches();
    bench.issuer.set(Fault::Hang);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..20 {
        let token =
            bench.issuer.token_by(&format!("ed25519-forged-{number}"), &json!({"aud": "api", "sub": "mallory"}))?;
        let call = bench.call().bearer(&token);
        waiting.spawn(async move { call.http1().await });
    }
    wait::until("a check to wait", wait::LONG, || async { (bench.issuer.key_fetches() > before).then_some(()) })
        .await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    while let Some(answer) = waiting.join_next().await {
        let answer = answer.expect("the request did not panic")?;
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    }
    Ok(())
}
