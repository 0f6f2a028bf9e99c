//! Documents change while requests run. What is good takes effect, what is not changes nothing.

use std::fs;

use serde_json::json;
use tests::{Bench, bench::policy, wait};

use crate::{Outcome, assert_allowed, assert_refused, until_status};

const FILE: &str = "minimal.yaml";
const AUDIENCE: &str = "audiences: [api]";

/// Adds a policy for another host and waits until it is in force: what was written before has been read by then.
async fn until_read(bench: &Bench, name: &str) -> Outcome {
    let host = format!("{name}.example.com");
    bench.product.write(&format!("{name}.yaml"), &policy(name, &host, &bench.issuer.url(), name))?;
    let token = bench.issuer.token(&json!({"aud": name, "sub": "alice"}))?;
    wait::until(&format!("the policy {name} to be in force"), wait::LONG, || async {
        let answer = bench.call().host(&host).bearer(&token).http1().await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_edit_takes_effect_and_no_request_is_lost_meanwhile() -> Outcome {
    let bench = Bench::start().await?;
    let new = bench.issuer.token(&json!({"aud": "api2", "sub": "alice"}))?;
    assert_refused(&bench.call().bearer(&new).http1().await?, 401, "invalid_token");
    bench.product.edit(FILE, AUDIENCE, "audiences: [api, api2]")?;
    wait::until("the edit to be in force", wait::LONG, || async {
        // Good before, between and after.
        assert_allowed(&bench.good().ok()?.http1().await.ok()?, "alice");
        (bench.call().bearer(&new).http1().await.ok()?.status == 200).then_some(())
    })
    .await?;
    bench.product.edit(FILE, "audiences: [api, api2]", "audiences: [api2]")?;
    until_status(&bench, "api", 401).await?;
    assert_allowed(&bench.call().bearer(&new).http1().await?, "alice");
    Ok(())
}

#[tokio::test]
async fn a_rejected_edit_keeps_the_last_good_one_also_across_a_restart() -> Outcome {
    let mut bench = Bench::start().await?;
    bench.product.edit(FILE, AUDIENCE, "audiences: [api2]\n      clockSkew: 3h")?;
    until_read(&bench, "marker").await?;
    assert_allowed(&bench.good()?.http1().await?, "alice");
    until_status(&bench, "api2", 401).await?;

    bench.product.restart().await?;
    until_status(&bench, "api", 200).await?;
    until_status(&bench, "api2", 401).await?;
    assert_refused(&bench.call().http1().await?, 401, "missing_credential");

    // And a correct edit still gets through.
    bench.product.edit(FILE, "clockSkew: 3h", "clockSkew: 3s")?;
    until_status(&bench, "api2", 200).await?;
    until_status(&bench, "api", 401).await
}

#[tokio::test]
async fn a_file_that_is_no_yaml_keeps_the_last_good_one() -> Outcome {
    let bench = Bench::start().await?;
    for (marker, text) in [("one", "authenticators: [\n\t{"), ("two", "\u{0}\u{1}\u{2}"), ("three", "just words")] {
        bench.product.write(FILE, text)?;
        until_read(&bench, marker).await?;
        assert_allowed(&bench.good()?.http1().await?, "alice");
        assert_refused(&bench.call().http1().await?, 401, "missing_credential");
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_policy_ends_at_once_and_stays_gone_after_a_restart() -> Outcome {
    let mut bench = Bench::start().await?;
    // Two more policies: one that is alone would answer for every host.
    until_read(&bench, "one").await?;
    until_read(&bench, "two").await?;
    bench.product.delete(FILE)?;
    until_status(&bench, "api", 403).await?;
    assert_refused(&bench.good()?.http1().await?, 403, "no_policy");
    bench.product.restart().await?;
    until_status(&bench, "api", 403).await
}

#[tokio::test]
async fn a_folder_that_disappears_later_changes_nothing_until_it_is_back() -> Outcome {
    let bench = Bench::start().await?;
    let (folder, aside) = (bench.product.config(), bench.product.config().with_extension("aside"));
    fs::rename(&folder, &aside).expect("the folder can be moved");
    wait::until("it to be missed", wait::LONG, || async {
        bench.product.output().contains("the configuration cannot be read").then_some(())
    })
    .await?;
    for _ in 0..50 {
        assert_allowed(&bench.good()?.http1().await?, "alice");
    }
    // Back with an edit: no request may have been refused for want of a policy before it is in force.
    let text = fs::read_to_string(aside.join(FILE)).expect("the document is there");
    fs::write(aside.join(FILE), text.replace(AUDIENCE, "audiences: [api2]")).expect("it can be written");
    fs::rename(&aside, &folder).expect("the folder can be moved back");
    let new = bench.issuer.token(&json!({"aud": "api2", "sub": "alice"}))?;
    wait::until("the edit to be in force", wait::LONG, || async {
        let old = bench.good().ok()?.http1().await.ok()?;
        let edited = bench.call().bearer(&new).http1().await.ok()?;
        assert_ne!((old.status, edited.status), (403, 403), "the policy was lost on the way: {old:?}");
        (edited.status == 200).then_some(())
    })
    .await
}
