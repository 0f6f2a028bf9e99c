//! The proxy does what it is told, and nothing else.

use std::time::Duration;

use axum::routing::get;

use super::*;
use crate::wait::{self, LONG};

/// An API server of two paths: one object, and one watch that says a line and stays open.
async fn before_a_server() -> (FaultProxy, reqwest::Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let watch = async || {
        let line = futures_util::stream::once(async { Ok::<_, io::Error>(Bytes::from("first\n")) });
        Body::from_stream(line.chain(futures_util::stream::pending()))
    };
    let router =
        Router::new().route("/object", get(async || "object").post(async || "made")).route("/list", get(watch));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (FaultProxy::start(&target).await.unwrap(), reqwest::Client::new())
}

#[tokio::test]
async fn hands_through_and_counts() {
    let (proxy, client) = before_a_server().await;
    assert_eq!(client.get(format!("{}/object", proxy.url())).send().await.unwrap().text().await.unwrap(), "object");
    client.post(format!("{}/object", proxy.url())).body("{}").send().await.unwrap();
    let writes = proxy.writes();
    assert_eq!((proxy.seen().len(), writes.len(), writes[0].status, &*writes[0].body), (2, 1, 200, "{}"));
}

#[tokio::test]
async fn faults_meet_what_they_are_for() {
    let (proxy, client) = before_a_server().await;
    let url = format!("{}/object", proxy.url());
    proxy.fault(Where::path("/object").method(Method::POST), Fault::Status(429, Some(3)));
    let refused = client.post(&url).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &HeaderValue::from_static("3")));
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    proxy.fault(Where::path("/object"), Fault::Cut);
    let broken = async { client.get(&url).send().await?.text().await };
    assert!(broken.await.is_err());
    proxy.heal();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn held_calls_go_on_and_lost_ones_do_not() {
    let (proxy, client) = before_a_server().await;
    let url = format!("{}/object", proxy.url());
    let held = proxy.fault(Where::path("/object"), Fault::Hold);
    let call = tokio::spawn(client.get(&url).send());
    wait::until("the call to come", LONG, || async { (proxy.seen().len() == 1).then_some(()) }).await.unwrap();
    assert!(!call.is_finished());
    proxy.mend(held);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    proxy.die_after(2);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let lost = tokio::spawn(client.get(&url).send());
    proxy.died().await;
    assert!(!lost.is_finished());
}

#[tokio::test]
async fn watches_can_be_fed_frozen_and_ended() {
    let (proxy, client) = before_a_server().await;
    let url = format!("{}/list?watch=true", proxy.url());
    let mut open = client.get(&url).send().await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "first\n");
    assert_eq!(proxy.inject("/list", &json!({"a": 1})), 1);
    assert_eq!(open.chunk().await.unwrap().unwrap(), "{\"a\":1}\n");
    let frozen = proxy.fault(Where::path("/list").watches(), Fault::Freeze);
    proxy.inject("/list", &json!(2));
    assert!(tokio::time::timeout(Duration::from_millis(300), open.chunk()).await.is_err(), "nothing comes through");
    proxy.mend(frozen);
    assert_eq!(open.chunk().await.unwrap().unwrap(), "2\n");
    proxy.fault(Where::path("/list"), Fault::WatchError(410));
    assert!(client.get(&url).send().await.unwrap().text().await.unwrap().contains("\"code\":410"));
}
