//! The keys of the cluster: asked of its API server in our name, with the issuer that they come with.

use super::*;
use crate::cluster::Cluster;

const ISSUER: &str = "https://kubernetes.default.svc";

/// An API server, and the two files of a pod. Over plain http the authorities are never used.
fn access(provider: &Provider, dir: &Scratch) -> Arc<Cluster> {
    let file = |name: &str, text: &str| {
        let path = dir.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    provider.discover(ISSUER, "https://elsewhere.test/never-asked");
    Cluster::new(provider.issuer().parse().unwrap(), file("ca.crt", ""), file("token", "of-the-pod\n"))
}

fn inside(cluster: &Arc<Cluster>, data: Option<&Scratch>) -> Options {
    let options = data.map_or_else(options, |dir| keeping(&dir.0));
    // No network is allowed: whoever started the process named the server.
    Options { cluster: Some(cluster.clone()), networks: Networks::without_proxy(vec![]), ..options }
}

#[tokio::test]
async fn keys_come_with_their_issuer() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let source = KeySetSource::cluster();
    let fixture = Fixture::fetched(inside(&access(&provider, &dir), None), &source).await;
    assert_eq!(fixture.kids(&source).unwrap(), ["a"]);
    assert_eq!(fixture.cache.state(&source.id).issuer.as_deref(), Some(ISSUER));
    // Down: what is in force stays, and so does whose it is.
    provider.serve_discovery(Mode::status("503 Service Unavailable"));
    fixture.refresh(&source).await;
    let state = fixture.cache.state(&source.id);
    assert!(state.failing && state.keys.is_some() && state.issuer.as_deref() == Some(ISSUER));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_to_do() {
    let dir = Scratch::new();
    let provider = Provider::start(keys(&["a"])).await;
    let access = access(&provider, &dir);
    let source = KeySetSource::cluster();
    let told = async |options: Options| {
        let fixture = Fixture::new(options);
        fixture.cache.sync(vec![source.clone()]);
        fixture.refresh(&source).await;
        assert!(fixture.kids(&source).is_none());
        fixture.last_error(&source)
    };
    let nowhere = told(options()).await;
    assert!(nowhere.contains("--kube-api-server"), "{nowhere}");
    for status in ["401 Unauthorized", "403 Forbidden"] {
        provider.serve_keys(Mode::status(status));
        let refused = told(inside(&access, None)).await;
        assert!(refused.contains("service-account-issuer-discovery"), "{refused}");
    }
    for (name, text) in [("token", ""), ("token", "a\nb")] {
        std::fs::write(dir.0.join(name), text).unwrap();
        let unfit = told(inside(&access, None)).await;
        assert!(unfit.contains("holds no token") && !unfit.contains("a\nb"), "{unfit}");
    }
    std::fs::remove_file(dir.0.join("token")).unwrap();
    let missing = told(inside(&access, None)).await;
    assert!(missing.contains("--kube-token-file"), "{missing}");
}

#[tokio::test]
async fn saved_keys_are_those_of_one_server() {
    let (dir, data) = (Scratch::new(), Scratch::new());
    let provider = Provider::start(keys(&["a"])).await;
    let own = access(&provider, &dir);
    let source = KeySetSource::cluster();
    let fixture = Fixture::fetched(inside(&own, Some(&data)), &source).await;
    within(fixture.cache.shutdown()).await;

    provider.serve_keys(Mode::status("503 Service Unavailable"));
    let again = Fixture::new(inside(&own, Some(&data)));
    again.cache.sync(vec![source.clone()]);
    let state = again.cache.state(&source.id);
    assert!(state.keys.is_some() && state.issuer.as_deref() == Some(ISSUER), "there when sync returns");
    within(again.cache.shutdown()).await;

    let other = Provider::start(Mode::status("503 Service Unavailable")).await;
    let moved = Fixture::new(inside(&access(&other, &dir), Some(&data)));
    moved.cache.sync(vec![source.clone()]);
    assert!(moved.kids(&source).is_none(), "another cluster's keys");
}
