//! A process that dies after any of its calls: what its successor makes of it is what would have come without the crash.

use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    operator::{HOME, Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, apply, apply_secret, broken, open, path, secret, signed, until_condition};

/// The end state, without times, versions and what is random: statuses, and which objects of ours there are.
async fn end_state(api: &ApiServer) -> Result<Value, tests::PeerError> {
    let mut statuses = Vec::new();
    for name in ["app", "bad", "shop"] {
        let mut status = api.get(&path(name)).await?.body["status"].take();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        statuses.push(status);
    }
    let mut names = Vec::new();
    for kind in ["secrets", "configmaps"] {
        let list = api.get(&format!("/api/v1/namespaces/{HOME}/{kind}")).await?.body;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        names.extend(
            items.iter().filter_map(|item| item["metadata"]["name"].as_str()).map(|name| format!("{kind}/{name}")),
        );
    }
    Ok(json!({"statuses": statuses, "objects": names}))
}

pub(crate) async fn until_settled(api: &ApiServer) -> Outcome {
    until_condition(api, "shop", "Programmed", "False", "NoDataPlane").await?;
    until_condition(api, "app", "ResolvedRefs", "True", "ResolvedRefs").await?;
    until_condition(api, "bad", "Accepted", "False", "Invalid").await?;
    for object in [
        "secrets/gatewright-ca",
        "secrets/gatewright-seal",
        "secrets/gatewright-client-tls",
        "configmaps/gatewright-ca",
    ] {
        wait::until(object, LONG, || async {
            (api.get(&format!("/api/v1/namespaces/{HOME}/{object}")).await.ok()?.status == 200).then_some(())
        })
        .await?;
    }
    // Both policies that are good have a sealed copy.
    wait::until("two sealed copies", LONG, || async {
        let list = api.get(&format!("/api/v1/namespaces/{HOME}/secrets")).await.ok()?.body;
        let items = list["items"].as_array()?;
        let kept = items.iter().filter(|item| {
            item["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("gatewright-last-good"))
        });
        (kept.count() >= 2).then_some(())
    })
    .await
}

/// Everything as it was before any operator ran.
pub(crate) async fn reset(api: &ApiServer) -> Outcome {
    for name in ["app", "bad", "shop"] {
        api.delete(&path(name)).await?;
    }
    api.delete(&secret("key")).await?;
    for kind in ["secrets", "configmaps"] {
        api.delete(&format!("/api/v1/namespaces/{HOME}/{kind}")).await?;
    }
    api.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")).await?;
    apply_secret(api, "key", "jwt", "0123456789abcdef0123456789abcdef").await?;
    apply(api, "shop", open("shop.test")).await?;
    apply(api, "app", signed("app.test", "key")).await?;
    apply(api, "bad", broken("bad.test")).await?;
    Ok(())
}

#[tokio::test]
async fn a_crash_after_any_call_changes_nothing_of_the_end() -> Outcome {
    let api = ApiServer::start().await?;
    install(&api).await?;
    reset(&api).await?;
    let mut operator = Operator::start(&api, "operator-0").await?;
    until_settled(&api).await?;
    let expected = end_state(&api).await?;
    operator.kill();
    for calls in 1..200 {
        reset(&api).await?;
        let mut operator = Operator::prepare(&api, "operator-0").await?;
        operator.proxy.die_after(calls);
        operator.launch()?;
        let died = tokio::select! {
            () = operator.proxy.died() => true,
            settled = until_settled(&api) => { settled?; false }
        };
        operator.kill();
        if !died {
            assert!(calls > 10, "the crashes were counted");
            return Ok(());
        }
        // Whoever held it is dead; the next need not wait for the end of its time.
        api.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")).await?;
        operator.proxy.heal();
        operator.launch()?;
        until_settled(&api).await?;
        assert_eq!(end_state(&api).await?, expected, "after {calls} calls");
    }
    panic!("the operator calls without end");
}
