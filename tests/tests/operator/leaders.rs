//! Two operators: both serve, one writes.

use axum::http::Method;
use tests::{
    apiserver::ApiServer,
    fault_proxy::{Fault, FaultProxy, Where},
    operator::{Operator, install},
    wait::{self, LONG},
};

use crate::{Outcome, apply, open, until_condition};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/gatewright/leases/gatewright-operator";

async fn holder(api: &ApiServer) -> Option<String> {
    api.get(LEASE).await.ok()?.body["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

async fn until_holder(api: &ApiServer, pod: &str) -> Outcome {
    // An expired lease is waited for at its full length, and then some.
    wait::until(&format!("{pod} to hold the lease"), LONG * 2, || async {
        (holder(api).await.as_deref() == Some(pod)).then_some(())
    })
    .await
}

/// Writes of leaders' work; asking for tokens to be reviewed and the Lease itself are none.
fn work(proxy: &FaultProxy) -> Vec<String> {
    let work =
        proxy.writes().into_iter().filter(|seen| !seen.path.contains("tokenreviews") && !seen.path.contains("/leases"));
    work.map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

async fn epoch(api: &ApiServer) -> u64 {
    let lease = api.get(LEASE).await.map(|reply| reply.body).unwrap_or_default();
    let text = lease["metadata"]["annotations"]["gatewright.dev/epoch"].as_str().unwrap_or_default();
    text.parse().unwrap_or_default()
}

async fn pair() -> Result<(Operator, Operator, ApiServer), tests::PeerError> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let mut first = Operator::start(&api, "operator-0").await?;
    first.until_ready().await?;
    until_holder(&api, "operator-0").await?;
    let mut second = Operator::start(&api, "operator-1").await?;
    second.until_ready().await?;
    Ok((first, second, api))
}

#[tokio::test]
async fn one_writes_and_the_other_takes_over() -> Outcome {
    let (mut first, second, api) = pair().await?;
    apply(&api, "one", open("one.test")).await?;
    until_condition(&api, "one", "Programmed", "False", "NoDataPlane").await?;
    assert_eq!(work(&second.proxy), Vec::<String>::new());
    let before = epoch(&api).await;
    first.kill();
    until_holder(&api, "operator-1").await?;
    assert!(epoch(&api).await > before, "every leadership has a number of its own");
    apply(&api, "two", open("two.test")).await?;
    until_condition(&api, "two", "Programmed", "False", "NoDataPlane").await.map(|_| ())
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over() -> Outcome {
    let (mut first, second, api) = pair().await?;
    let finished = first.stop().await?;
    assert_eq!(finished.code, Some(0), "{}", finished.output);
    assert_ne!(
        holder(&api).await.as_deref(),
        Some("operator-0"),
        "the lease was given back: {:?}",
        first.proxy.writes().last()
    );
    until_holder(&api, "operator-1").await?;
    drop(second);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_slept_writes_nothing_when_it_wakes() -> Outcome {
    let (mut first, mut second, api) = pair().await?;
    sleeps(&api, &mut first, (&mut second, "operator-1"), ["one", "two"]).await?;
    // And back: whoever slept can lead again, under a number of its own.
    sleeps(&api, &mut second, (&mut first, "operator-0"), ["three", "four"]).await
}

/// The leader sleeps beyond its lease: the other one takes over and works; the sleeper, awake again, writes nothing as leader.
async fn sleeps(
    api: &ApiServer,
    sleeper: &mut Operator,
    (other, pod): (&mut Operator, &str),
    policies: [&str; 2],
) -> Outcome {
    other.proxy.forget();
    let before = epoch(api).await;
    sleeper.signal("STOP")?;
    until_holder(api, pod).await?;
    assert!(epoch(api).await > before, "every leadership has a number of its own");
    // Work that the sleeper would do, if it still believed in itself.
    apply(api, policies[0], open(&format!("{}.test", policies[0]))).await?;
    until_condition(api, policies[0], "Programmed", "False", "NoDataPlane").await?;
    sleeper.proxy.forget();
    sleeper.signal("CONT")?;
    apply(api, policies[1], open(&format!("{}.test", policies[1]))).await?;
    until_condition(api, policies[1], "Programmed", "False", "NoDataPlane").await?;
    wait::until("the sleeper to look at the lease", LONG, || async {
        let seen = sleeper.proxy.seen();
        (seen.iter().filter(|seen| seen.path.contains("/leases/") && seen.method == Method::GET).count() >= 2)
            .then_some(())
    })
    .await?;
    assert_eq!(work(&sleeper.proxy), Vec::<String>::new());
    assert_eq!(holder(api).await.as_deref(), Some(pod));
    for policy in policies {
        let path = format!("/{policy}/status");
        assert!(work(&other.proxy).iter().any(|write| write.contains(&path)), "{pod} wrote the status of {policy}");
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_in_time_and_serves_on() -> Outcome {
    let (mut first, second, api) = pair().await?;
    // Everything but the Lease works: the most tempting moment to go on.
    first.proxy.fault(Where::path("/leases/"), Fault::Hold);
    until_holder(&api, "operator-1").await?;
    first.proxy.forget();
    apply(&api, "one", open("one.test")).await?;
    until_condition(&api, "one", "Programmed", "False", "NoDataPlane").await?;
    assert_eq!(work(&first.proxy), Vec::<String>::new());
    first.must_run()?;
    assert!(!work(&second.proxy).is_empty());
    Ok(())
}
