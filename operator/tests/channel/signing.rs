//! Keys of our own: one set for all of the operator's data planes, for nobody else, and never lost.

use std::{fs, sync::Arc, time::Duration};

use authz::{
    seal::Seal,
    signers::{Rings, SignerStore},
};
use crds::v1alpha1::SigningAlgorithm;
use operator::{identity::Lives, push::Standing, signing, signing::Signing};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::world::{Api, DataPlane, OPEN, Operator, Start, policy, settings, until};

/// A policy that has tokens signed.
const SIGNS: &str = ", requireAuth: false, forward: {replaceCredential: {signedJWT: {algorithm: ES256}}}";
const ISSUER: &str = "http://gatewright-authz.gatewright.svc:9003";
const DAY: i64 = 24 * 3600;

/// The part of an operator that looks after the keys, at a test's pace.
fn keep(operator: &Operator, api: &Arc<Api>) -> JoinHandle<()> {
    let (push, seal) = (operator.push.clone(), operator.identity.seal());
    let signing = Signing::new(api.clone(), seal, ISSUER.to_owned(), push, Duration::from_millis(20));
    let leads = operator.leader.subscribe();
    tokio::spawn(signing.run(move || *leads.borrow()))
}

fn keys(plane: &DataPlane) -> Vec<Value> {
    let published = plane.signers.jwks().unwrap_or_default();
    published["keys"].as_array().cloned().unwrap_or_default()
}

async fn has_keys(plane: &DataPlane, count: usize) -> Vec<Value> {
    until(&format!("{count} keys"), || keys(plane).len() == count).await;
    keys(plane)
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The `kid` of a token that this data plane signs now.
fn signs_with(plane: &DataPlane) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    let signer = plane.signers.current(SigningAlgorithm::ES256, now() * 1000).unwrap();
    assert_eq!(&*signer.issuer, ISSUER);
    let token = signer.key.sign(&serde_json::Map::new()).unwrap();
    let header: Value = serde_json::from_slice(&BASE64URL.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_set_of_keys_for_our_own_data_planes() {
    let api = Arc::new(Api::default());
    api.labels.lock().insert("a/shop".to_owned(), [("app".to_owned(), "shop".to_owned())].into());
    let leader = Operator::start(&api, 1).await;
    let follower = Operator::start_as(&api, 1, settings(Lives::default())).await;
    follower.leader.send_replace(false);
    let (_one, _other) = (keep(&leader, &api), keep(&follower, &api));
    let near = Start::own("authz-0").run(&leader);
    let far = Start::own("authz-1").run(&follower);
    let sidecar = Start::of("a", "shop", "shop").run(&leader);
    let selected =
        |host: &str| policy("a", "side", host, ", requireAuth: false, workloadSelector: {matchLabels: {app: shop}}");
    for operator in [&leader, &follower] {
        operator.publish(&[policy("a", "plain", "p.test", OPEN), selected("s.test")]);
    }
    near.holds(&["a/plain"]).await;
    assert!(near.signers.jwks().is_none() && api.secret(signing::SECRET).is_none(), "nobody needs a key");

    for operator in [&leader, &follower] {
        operator.publish(&[policy("a", "signs", "x.test", SIGNS), selected("s.test")]);
    }
    let made = has_keys(&near, 1).await;
    leader.stands("a/signs", &Standing::Programmed { replicas: 1 }).await;
    assert_eq!(has_keys(&far, 1).await, made, "whichever replica one asks");
    assert_eq!(signs_with(&near), made[0]["kid"]);
    assert_eq!(signs_with(&far), made[0]["kid"]);
    assert!(made[0].get("d").is_none(), "no private member is published");
    // Later than the keys, and without them.
    leader.publish(&[policy("a", "signs", "x.test", SIGNS), selected("t.test")]);
    until("the sidecar has the newest policy", || sidecar.answers("t.test").is_some()).await;
    assert!(sidecar.signers.jwks().is_none(), "whoever has it could sign in everybody's name");

    let kept = api.secret(signing::SECRET).unwrap();
    let text = String::from_utf8_lossy(&kept.data["sealed"]).into_owned();
    assert!(!text.contains("pkcs8") && !text.contains("ES256"), "at rest it is sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_leaders_and_lost_secrets_keep_the_keys() {
    let api = Arc::new(Api::default());
    let first = Operator::start(&api, 1).await;
    let keeping = keep(&first, &api);
    let start = Start::own("authz-0");
    let plane = start.run(&first);
    first.publish(&[policy("a", "signs", "x.test", SIGNS)]);
    let made = has_keys(&plane, 1).await;

    // Deleted, and broken: what upstreams know comes back.
    for damage in [&(|| api.forget(signing::SECRET)) as &dyn Fn(), &|| api.damage(signing::SECRET)] {
        let good = api.secret(signing::SECRET).unwrap().version;
        damage();
        until("the Secret is written again", || {
            api.secret(signing::SECRET).is_some_and(|kept| kept.version != good && !kept.data["sealed"].is_empty())
        })
        .await;
        assert_eq!(keys(&plane), made);
    }

    // Another leader, and another life of the data plane. Its copy comes after what is in force: at a slow disk, long after.
    let seal = Seal::new(&start.seal.unwrap()).unwrap();
    until("the sealed copy has the keys", || {
        let copy = fs::read(start.folder.path().join("data/state.sealed")).unwrap_or_default();
        seal.open("state", &copy).is_ok_and(|plain| String::from_utf8_lossy(&plain).contains("pkcs8"))
    })
    .await;
    keeping.abort();
    first.stop().await;
    plane.stop().await;
    let second = Operator::start(&api, 2).await;
    let _keeping = keep(&second, &api);
    second.publish(&[policy("a", "signs", "x.test", SIGNS)]);
    let (again, new) = (start.run(&second), Start::own("authz-1").run(&second));
    assert_eq!(keys(&again), made, "before anybody answers: from the sealed copy");
    assert_eq!(has_keys(&new, 1).await, made);
    assert_eq!(signs_with(&new), made[0]["kid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_followed_by_the_next_and_published_with_it() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let mut rings = Rings::default();
    rings.turn([SigningAlgorithm::ES256], now() - 31 * DAY).unwrap();
    let sealed = operator.identity.seal().seal("signing keys", serde_json::to_vec(&rings.kept()).unwrap()).unwrap();
    api.put(signing::SECRET, "sealed", sealed);
    let _keeping = keep(&operator, &api);
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "signs", "x.test", SIGNS)]);
    let published = has_keys(&plane, 2).await;
    let old = rings.jwks()["keys"][0].clone();
    assert_eq!(published[0], old, "what it signed is verified as before");
    assert_eq!(signs_with(&plane), old["kid"], "the new one waits until upstreams know it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_lead_makes_no_key() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.leader.send_replace(false);
    let _keeping = keep(&operator, &api);
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "signs", "x.test", SIGNS)]);
    plane.holds(&["a/signs"]).await;
    operator.publish(&[policy("a", "signs", "y.test", SIGNS)]);
    until("a later change is in force", || plane.answers("y.test").is_some()).await;
    assert!(plane.signers.jwks().is_none() && api.secret(signing::SECRET).is_none());
    let waits = Standing::Lagging { waiting: vec!["gatewright/authz-0".to_owned()], more: 0 };
    operator.stands("a/signs", &waits).await;
    operator.leader.send_replace(true);
    has_keys(&plane, 1).await;
}
