//! No secret of a policy is seen outside the Secret that it is in: not in a status, an Event, a log, the live state or a file.

use serde_json::json;
use tests::{
    operator::{APPS, HOME},
    product::texts_below,
    secrets,
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, apply_secret, marker, path, signed, token, until_condition};

#[tokio::test]
async fn no_secret_is_seen_anywhere() -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let seal = folder.path().join("seal");
    std::fs::write(&seal, [7; 32]).expect("the folder can be written");
    let seal = format!("--seal-key-file={}", seal.display());
    let world = World::start_with(&["--log-level=trace", &seal]).await?;
    let key = "canary-of-the-cluster-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let (weak, garbage) = ("canary-too-weak", "canary-that-is-no-json {");
    [key, weak, garbage].into_iter().for_each(secrets::note);
    apply_secret(&world.api, "good", "jwt", key).await?;
    apply_secret(&world.api, "weak", "jwt", weak).await?;
    apply_secret(&world.api, "garbage", &"0".repeat(64), garbage).await?;
    apply(&world.api, "good", signed("good.test", "good")).await?;
    apply(&world.api, "weak", signed("weak.test", "weak")).await?;
    let keys = json!([{"name": "keys", "apiKey": {"sha256": {"secretRef": {"name": "garbage"}}}}]);
    apply(&world.api, "garbage", json!({"externalHostnames": ["garbage.test"], "authenticators": keys})).await?;
    until_condition(&world.api, "weak", "ResolvedRefs", "False", "WeakSecret").await?;
    until_condition(&world.api, "garbage", "ResolvedRefs", "False", "BadContent").await?;

    let (good, forged) = (token(key), token("canary-of-somebody-else-0123456789-ABCDEF"));
    for bearer in [&good, &forged] {
        secrets::note(bearer.trim_start_matches("Bearer "));
    }
    wait::until("the token to be good", LONG, || async {
        let status = world.plane.answer_with("good.test", &[("authorization", &good)]).await;
        (status == 200).then_some(())
    })
    .await?;
    assert_eq!(world.plane.answer_with("good.test", &[("authorization", &forged)]).await, 401);
    assert_eq!(world.plane.answer_with("weak.test", &[("authorization", &good)]).await, 503);
    // What was to be told about all of it has been told by then.
    marker(&world, "canary").await?;

    let mut shown = vec![("the operator's log".to_owned(), world.operator.output())];
    shown.push(("the data plane's log".to_owned(), world.plane.output()));
    for name in ["/metrics", "/config_dump"] {
        shown.push((format!("the operator's {name}"), world.operator.admin(name).await.1));
        shown.push((format!("the data plane's {name}"), world.plane.admin(name).await.1));
    }
    let objects = ["good", "weak", "garbage"].map(path).into_iter();
    let lists = [
        "/apis/events.k8s.io/v1/events".to_owned(),
        format!("/api/v1/namespaces/{HOME}/configmaps"),
        format!("/api/v1/namespaces/{HOME}/secrets"),
        format!("/api/v1/namespaces/{APPS}/configmaps"),
        "/apis/coordination.k8s.io/v1/leases".to_owned(),
    ];
    for name in objects.chain(lists) {
        let answer = world.api.get(&name).await?;
        assert_eq!(answer.status, 200, "{name}");
        shown.push((name, answer.body.to_string()));
    }
    let files = || texts_below(&world.plane.data());
    let kept = wait::until("sealed copies", LONG, || async { Some(files()).filter(|files| !files.is_empty()) });
    shown.extend(kept.await?);
    for (name, text) in shown {
        assert_eq!(secrets::shown_in(&text), None, "a secret is in {name}");
    }
    let own = world.api.get(&crate::secret("good")).await?;
    assert!(secrets::shown_in(&own.body.to_string()).is_some(), "the search does find");
    Ok(())
}
