//! Changes: whole or not at all, only what differs, last wins.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crds::documents::Document;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use operator::push::Standing;
use rcgen::CertificateParams;

use crate::{
    raw::{Cable, Raw, hello, sign},
    world::{Api, KEYED, OPEN, Operator, Start, compile, policy, secret, until},
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const PROGRAMMED: Standing = Standing::Programmed { replicas: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_a_data_plane_and_changes_with_its_document() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "first", "x.test", KEYED), secret("a", KEY)]);
    plane.holds(&["a/first"]).await;
    assert_eq!(plane.answers("x.test").as_deref(), Some("a/first"));
    operator.stands("a/first", &PROGRAMMED).await;
    operator.publish(&[policy("a", "first", "y.test", OPEN), policy("b", "second", "x.test", OPEN)]);
    plane.holds(&["a/first", "b/second"]).await;
    assert_eq!(plane.answers("x.test").as_deref(), Some("b/second"));
    operator.publish(&[]);
    plane.holds(&[]).await;
    plane.stop().await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_something_is_known() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 0).await;
    let plane = Start::own("authz-0").run(&operator);
    until("it is connected", || operator.push.standings().replicas == 1).await;
    // A publication under an unknown leadership, then a leadership: only both together are sent.
    operator.publish(&[policy("a", "first", "x.test", OPEN)]);
    until("it is published", || operator.metric("gatewright_push_publications_total") == 1).await;
    assert_eq!(operator.metric("gatewright_push_messages_total"), 0);
    assert!(!*plane.in_force.borrow());
    operator.epoch.send_replace(1);
    plane.holds(&["a/first"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_there_are_no_policies_before_that_is_known() {
    let api = Arc::new(Api::default());
    let first = Operator::start(&api, 1).await;
    let cable = Cable::to(first.address).await;
    let plane = Start::own("authz-0").towards(cable.address, &first.identity.ca_bundle().borrow().clone());
    first.publish(&[policy("a", "first", "x.test", OPEN)]);
    plane.holds(&["a/first"]).await;
    // Another replica, just started, has not read anything yet.
    let second = Operator::start(&api, 1).await;
    cable.lead_to(second.address);
    until("it is connected", || second.push.standings().replicas == 1).await;
    assert_eq!(plane.policies(), ["a/first"]);
    second.publish(&[policy("a", "second", "x.test", OPEN)]);
    plane.holds(&["a/second"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_sends_only_what_differs() {
    let api = Arc::new(Api::default());
    let (first, second) = (Operator::start(&api, 1).await, Operator::start(&api, 1).await);
    let cable = Cable::to(first.address).await;
    let plane = Start::own("authz-0").towards(cable.address, &first.identity.ca_bundle().borrow().clone());
    let all: Vec<String> = (0..200)
        .map(|one| policy("a", &format!("p{one}"), &format!("h{one}.test"), KEYED))
        .chain([secret("a", KEY)])
        .collect();
    first.publish(&all);
    first.stands("a/p199", &PROGRAMMED).await;
    // 200 policies, one Secret, the CA, the state.
    assert_eq!(first.metric("gatewright_push_resources_total"), 203);
    let mut newer = all.clone();
    newer[7] = policy("a", "p7", "seven.test", KEYED);
    newer.remove(8);
    second.publish(&newer);
    cable.lead_to(second.address);
    second.stands("a/p7", &PROGRAMMED).await;
    assert_eq!(plane.answers("seven.test").as_deref(), Some("a/p7"));
    assert_eq!(plane.answers("h8.test"), None);
    assert_eq!(second.metric("gatewright_push_resources_total"), 2, "one policy and the state");
    assert_eq!(second.metric("gatewright_push_messages_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_applies_nothing_and_an_uncut_stream_everything() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let cable = Cable::to(operator.address).await;
    let plane = Start::own("authz-0").towards(cable.address, &operator.identity.ca_bundle().borrow().clone());
    operator.publish(&[policy("a", "before", "before.test", OPEN)]);
    plane.holds(&["a/before"]).await;
    // Several messages of 2 MiB, cut at places all over them.
    let value = "x".repeat(40_000);
    let many: Vec<String> = (0..150)
        .flat_map(|one| {
            let namespace = format!("n{one}");
            [policy(&namespace, "p", &format!("h{one}.test"), KEYED), secret(&namespace, &value)]
        })
        .collect();
    let snapshots = plane.snapshots.clone();
    let before = snapshots.version();
    for cut in [1_000, 10_000, 100_000, 2_000_000, 2_300_000, 4_500_000, 6_000_000, 7_900_000] {
        cable.limit(cut);
        cable.cut();
        operator.publish(&many);
        let failures = plane.metric("gatewright_channel_failures_total");
        until("the stream broke again", || plane.metric("gatewright_channel_failures_total") > failures + 1).await;
        assert_eq!(plane.policies(), ["a/before"], "cut at {cut}");
    }
    assert_eq!(snapshots.version(), before);
    cable.limit(usize::MAX);
    until("everything is in force", || plane.policies().len() == 150).await;
    assert_eq!(snapshots.version(), before + 1, "in one step");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_changes_is_one_or_two_pushes_and_the_last_one_wins() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    until("it is connected", || operator.push.standings().replicas == 1).await;
    let begin = Instant::now();
    for one in 0..500 {
        operator.publish(&[policy("a", "p", &format!("h{one}.test"), OPEN)]);
    }
    until("the last one is in force", || plane.answers("h499.test").is_some()).await;
    let pushes = operator.metric("gatewright_push_publications_total");
    let allowed = 2 + begin.elapsed().as_millis() / 100;
    assert!(u128::from(pushes) <= allowed, "{pushes} publications, {allowed} allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_after_silence_goes_out_at_once() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "first.test", OPEN)]);
    plane.holds(&["a/p"]).await;
    let mut fastest = Duration::MAX;
    for one in 0..5 {
        tokio::time::sleep(operator::push::PACE * 2).await;
        let begin = Instant::now();
        let host = format!("h{one}.test");
        operator.publish(&[policy("a", "p", &host, OPEN)]);
        until("it is in force", || plane.answers(&host).is_some()).await;
        fastest = fastest.min(begin.elapsed());
    }
    assert!(fastest < operator::push::PACE, "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_read_holds_up_nobody_and_gets_the_newest() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let token = "gatewright-operator gatewright gatewright-authz lazy";
    let pair = sign(&operator, token, CertificateParams::default()).await.unwrap();
    let mut lazy = Raw::open(&operator, Some(&pair)).await.unwrap();
    let plane = Start::own("authz-0").run(&operator);
    let value = "y".repeat(60_000);
    for round in 0..20 {
        let mut documents: Vec<String> = (0..50)
            .flat_map(|one| {
                let namespace = format!("n{one}");
                [
                    policy(&namespace, "p", &format!("h{one}.test"), KEYED),
                    secret(&namespace, &format!("{value}{round}")),
                ]
            })
            .collect();
        documents.push(policy("a", "round", &format!("round{round}.test"), OPEN));
        operator.publish(&documents);
        until("the other one has it", || plane.answers(&format!("round{round}.test")).is_some()).await;
    }
    let lagging = Standing::Lagging { waiting: vec!["gatewright/lazy".to_owned()], more: 0 };
    operator.stands("a/round", &lagging).await;
    // The change that was under way, then the newest: none of the eighteen between.
    let everybody = Standing::Programmed { replicas: 2 };
    tokio::time::timeout(Duration::from_secs(10), lazy.change()).await.expect("the change that was under way");
    // Either that was the newest and its answer is on its way, or there is one more to read. Were there two, the last line would fail.
    tokio::select! {
        () = operator.stands("a/round", &everybody) => {}
        _ = lazy.change() => {}
    }
    operator.stands("a/round", &everybody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_policies_that_read_a_value_change_with_it() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    let (keyed, open) = (policy("a", "keyed", "k.test", KEYED), policy("b", "open", "o.test", OPEN));
    operator.publish(&[keyed.clone(), open.clone(), secret("a", KEY)]);
    operator.stands("a/keyed", &PROGRAMMED).await;
    operator.stands("b/open", &PROGRAMMED).await;
    plane.stop().await;
    until("it left", || operator.push.standings().replicas == 0).await;
    assert_eq!(operator.push.standings().policies["b/open"], Standing::NoDataPlane);

    let token = "gatewright-operator gatewright gatewright-authz raw";
    let pair = sign(&operator, token, CertificateParams::default()).await.unwrap();
    let mut raw = Raw::open(&operator, Some(&pair)).await.unwrap();
    let (names, _) = raw.change().await;
    assert_eq!(names, ["policy/a/keyed", "policy/b/open", "secret/a/app", "trust"]);
    operator.stands("b/open", &PROGRAMMED).await;
    operator.publish(&[keyed, open, secret("a", &KEY.to_uppercase())]);
    let message = raw.responses.message().await.unwrap().unwrap();
    let names: Vec<&str> = message.resources.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["secret/a/app", "state"]);
    let text = String::from_utf8_lossy(&message.resources[0].resource.as_ref().unwrap().value).into_owned();
    assert!(!text.contains("other"), "an entry that no policy names travelled: {text}");
    // Not answered yet.
    let standings = operator.push.standings();
    assert!(matches!(standings.policies["a/keyed"], Standing::Lagging { .. }), "{standings:?}");
    assert_eq!(standings.policies["b/open"], PROGRAMMED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_the_data_plane_refuses_is_told_and_harms_no_other() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let plane = Start::own("authz-0").run(&operator);
    operator.publish(&[policy("a", "p", "p.test", OPEN), policy("a", "q", "q.test", OPEN)]);
    operator.stands("a/p", &PROGRAMMED).await;
    let (mut compiled, objects) = compile(&[policy("a", "p", "p.test", OPEN), policy("a", "q", "new.test", OPEN)]);
    for one in &mut compiled.pushed {
        if &*one.policy.name == "a/p" {
            let mut newer = one.policy.document.as_ref().unwrap().value();
            newer["spec"]["fromTheFuture"] = true.into();
            one.policy.document = Some(Document::new(&newer));
        }
    }
    operator.push.publish(compiled.pushed, Arc::new(objects));
    until("the other one is in force", || plane.answers("new.test").is_some()).await;
    assert_eq!(plane.policies(), ["a/p", "a/q"], "the refused one is what it was before");
    operator.stands("a/q", &PROGRAMMED).await;
    let Standing::Rejected { by, reason } = operator.push.standings().policies["a/p"].clone() else {
        panic!("{:?}", operator.push.standings())
    };
    assert_eq!(by, "gatewright/authz-0");
    assert!(reason.contains("fromTheFuture"), "{reason}");
    assert!((plane.rejected)().to_string().contains("policy/a/p"));
    // The next good version ends it.
    operator.publish(&[policy("a", "p", "later.test", OPEN), policy("a", "q", "new.test", OPEN)]);
    operator.stands("a/p", &PROGRAMMED).await;
    assert_eq!(plane.answers("later.test").as_deref(), Some("a/p"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_gets_what_selects_it_and_nothing_else() {
    let api = Arc::new(Api::default());
    let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned()), ("tier".to_owned(), "web".to_owned())]);
    api.labels.lock().insert("a/shop-0".to_owned(), labels);
    let operator = Operator::start(&api, 1).await;
    let selects = |app: &str| format!("{KEYED}, workloadSelector: {{matchLabels: {{app: {app}}}}}");
    let secrets = [secret("a", KEY), secret("b", KEY)];
    let policies = [
        policy("a", "mine", "mine.test", &selects("shop")),
        policy("a", "sister", "sister.test", &selects("other")),
        policy("a", "central", "central.test", KEYED),
        policy("b", "foreign", "foreign.test", &selects("shop")),
    ];
    operator.publish(&[&policies[..], &secrets[..]].concat());
    let token = "gatewright-operator a shop shop-0";
    let pair = sign(&operator, token, CertificateParams::default()).await.unwrap();
    let mut shop = Raw::open(&operator, Some(&pair)).await.unwrap();
    let (names, _) = shop.change().await;
    assert_eq!(names, ["policy/a/mine", "secret/a/app", "trust"]);
    let plane = Start::own("authz-0").run(&operator);
    plane.holds(&["a/central"]).await;
    operator.stands("a/central", &PROGRAMMED).await;
    operator.stands("a/mine", &PROGRAMMED).await;
    assert_eq!(operator.push.standings().policies["a/sister"], Standing::NoDataPlane);
    assert_eq!(operator.push.standings().policies["b/foreign"], Standing::NoDataPlane);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_holds_very_much_can_connect_and_is_told_what_is_gone() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "p.test", OPEN)]);
    let pair = sign(&operator, "gatewright-operator gatewright gatewright-authz raw", CertificateParams::default());
    let pair = pair.await.unwrap();
    let name = |one: usize| format!("policy/{}/{one:0>253}", "n".repeat(63));
    let held: HashMap<String, String> = (0..30_000).map(|one| (name(one), "0".repeat(32))).collect();
    let hello = DeltaDiscoveryRequest { initial_resource_versions: held.clone(), ..hello() };
    assert!(prost::Message::encoded_len(&hello) > 10 << 20);
    let mut raw = Raw::open_with(&operator, Some(&pair), hello).await.unwrap();
    let (names, removed) = raw.change().await;
    assert_eq!(names, ["policy/a/p", "trust"]);
    assert_eq!(removed.into_iter().collect::<HashSet<_>>(), held.into_keys().collect::<HashSet<_>>());
}
