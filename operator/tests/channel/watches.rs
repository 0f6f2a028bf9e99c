//! From lists and watches to what a data plane enforces, when the API server stalls or fails halfway.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authz::server::{PublishMetrics, Readiness, Registry};
use crds::compile::LastGood;
use operator::{
    reconcile::{Desired, Reconciler, Reports, Scope},
    trouble::Troubles,
    watch::{Call, Change, Patience, Source, Told, follow},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    kube::{Cluster, PAGE, Refusal, Says},
    world::{Api, DataPlane, Operator, Start, until},
};

/// How long the server keeps a watch open.
const IN_TIME: Duration = Duration::from_secs(290);

/// Follows the policies of a cluster into a queue of this length.
fn followed(cluster: &Arc<Cluster>, queue: usize) -> mpsc::Receiver<Change> {
    followed_with(cluster, queue, Patience::default())
}

fn followed_with(cluster: &Arc<Cluster>, queue: usize, patience: Patience) -> mpsc::Receiver<Change> {
    let (told, changes) = mpsc::channel(queue);
    let path = "/apis/gatewright.dev/v1alpha1/authpolicies".to_owned();
    let source = Source { kind: "authpolicies", path, metadata_only: false };
    let call = Call::new(cluster.client());
    let (troubles, _) = Troubles::new(cluster.client(), "gatewright", "operator-0", &mut Registry::default());
    tokio::spawn(follow(call, source, patience, troubles, Told::new(told, |change| change)));
    changes
}

fn bookmark(version: &str) -> Value {
    let metadata = json!({"resourceVersion": version});
    let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": metadata});
    json!({"type": "BOOKMARK", "object": object})
}

/// What a change says, and of which policy.
fn said(change: Option<Change>) -> String {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    match change.expect("it goes on") {
        Change::Begins => "begins".to_owned(),
        Change::Put(object) => name(&object),
        Change::Gone(object) => format!("no {}", name(&object)),
        Change::Ends => "ends".to_owned(),
        Change::Trouble(why) => format!("trouble: {why}"),
        Change::Well => "well".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn no_page_is_asked_for_before_the_one_before_it_was_taken() {
    let cluster = Arc::<Cluster>::default();
    for name in ["p0", "p1", "p2", "p3", "p4"] {
        cluster.put(name, "x.test");
    }
    let mut changes = followed(&cluster, 1);
    assert_eq!(said(changes.recv().await), "begins");
    // Under a paused clock this ends when nobody has anything left to do.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (cluster.asked(false, ""), cluster.asked(false, "continue")),
        (1, 0),
        "one of {PAGE} waits for its turn"
    );
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(said(changes.recv().await));
    }
    assert_eq!(heard, ["p0", "p1", "p2", "p3", "p4", "ends"]);
    assert_eq!((cluster.asked(false, ""), cluster.asked(false, "continue")), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_server_for_which_every_version_is_gone_is_asked_less_and_less() {
    let cluster = Arc::<Cluster>::default();
    let gone = json!({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}});
    cluster.says.lock().extend(std::iter::repeat_n(Says { lines: vec![gone], stands: Duration::ZERO }, 20));
    let (begun, mut changes) = (Instant::now(), followed(&cluster, 64));
    while cluster.asked(false, "") < 12 {
        changes.recv().await.expect("it goes on");
    }
    // 0.1 s, 0.2 s and so on up to 15 s, each at least by half.
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    cluster.put("p0", "x.test");
    while said(changes.recv().await) != "p0" {}
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_given_up_and_what_is_there_is_listed() {
    let cluster = Arc::<Cluster>::default();
    cluster.put("p0", "x.test");
    let mut changes = followed(&cluster, 64);
    for expected in ["begins", "p0", "ends"] {
        assert_eq!(said(changes.recv().await), expected);
    }
    let begun = Instant::now();
    cluster.put("p1", "y.test");
    cluster.delete("p0");
    sleep(Patience::default().silence / 2).await;
    assert_eq!((cluster.asked(false, ""), cluster.asked(true, "")), (1, 1), "it is waited for");
    for expected in ["begins", "p1", "ends"] {
        assert_eq!(said(changes.recv().await), expected);
    }
    assert!(begun.elapsed() < Patience::default().silence + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_only_ever_had_bookmarks_goes_on_from_the_last_one() {
    let cluster = Arc::<Cluster>::default();
    for version in ["7", "77"] {
        cluster.says.lock().push_back(Says { lines: vec![bookmark(version)], stands: IN_TIME });
    }
    let mut changes = followed_with(&cluster, 64, Patience { silence: IN_TIME * 2 });
    for expected in ["begins", "ends"] {
        assert_eq!(said(changes.recv().await), expected);
    }
    sleep(IN_TIME * 3).await;
    let from = |version: &str| cluster.asked(true, &format!("resourceVersion={version}"));
    assert_eq!((cluster.asked(false, ""), cluster.asked(true, "")), (1, 3), "nothing is listed again");
    assert_eq!((from("1"), from("7"), from("77")), (1, 2, 1), "7 is the beginning of 77");
}

/// Whoever ends watches before their time, and says nothing or nothing that costs it anything, is asked less and less; what is edited
/// meanwhile is seen by the lists between.
#[tokio::test(start_paused = true)]
async fn a_server_whose_watches_end_at_once_is_not_asked_in_a_hot_loop() {
    for lines in [Vec::new(), vec![bookmark("7")]] {
        let cluster = Arc::<Cluster>::default();
        cluster.put("p0", "x.test");
        cluster.says.lock().extend(std::iter::repeat_n(Says { lines, stands: Duration::from_millis(1) }, 1000));
        let mut changes = followed(&cluster, 64);
        let (end, mut heard) = (Instant::now() + Duration::from_mins(10), Vec::new());
        while let Ok(change) = timeout_at(end, changes.recv()).await {
            heard.push(said(change));
            if heard.len() == 30 {
                cluster.put("p1", "y.test");
            }
        }
        let asked = cluster.asked(true, "");
        assert!((40..=90).contains(&asked), "{asked} watches in ten minutes");
        assert!(heard.ends_with(&["begins", "p0", "p1", "ends"].map(str::to_owned)), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_midway_does_not_end() {
    let cluster = Arc::<Cluster>::default();
    for name in ["p0", "p1", "p2"] {
        cluster.put(name, "x.test");
    }
    cluster.fails_midway.store(true, Ordering::Relaxed);
    let mut changes = followed(&cluster, 64);
    for expected in ["begins", "p0", "p1"] {
        assert_eq!(said(changes.recv().await), expected);
    }
    let trouble = said(changes.recv().await);
    assert!(trouble.contains("500") && trouble.contains("the page is lost"), "{trouble}");
    for expected in ["begins", "p0", "p1"] {
        assert_eq!(said(changes.recv().await), expected);
    }
    cluster.fails_midway.store(false, Ordering::Relaxed);
    let mut heard = vec![said(changes.recv().await)];
    while heard.last().is_some_and(|last| last != "well") {
        heard.push(said(changes.recv().await));
    }
    assert!(heard.ends_with(&["begins", "p0", "p1", "p2", "ends", "well"].map(str::to_owned)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_of_refusals_is_few_calls_and_no_change() {
    for (refusal, least) in [
        (Refusal::Status(429, Some(60)), 15.0),
        (Refusal::Status(429, Some(10)), 10.0),
        (Refusal::Status(503, None), 7.5),
        (Refusal::Status(504, None), 7.5),
        (Refusal::Away, 7.5),
    ] {
        let cluster = Arc::<Cluster>::default();
        cluster.put("p0", "x.test");
        let mut changes = followed(&cluster, 64);
        for expected in ["begins", "p0", "ends"] {
            assert_eq!(said(changes.recv().await), expected);
        }
        *cluster.refuses.lock() = Some(refusal);
        cluster.put("p1", "y.test");
        cluster.delete("p0");
        // Its watch is open and silent: the outage begins with the end of that.
        while cluster.asked(false, "") < 2 {
            assert_eq!(said(changes.recv().await), "begins");
        }
        let (end, mut heard) = (Instant::now() + Duration::from_mins(30), Vec::new());
        while let Ok(change) = timeout_at(end, changes.recv()).await {
            heard.push(said(change));
        }
        heard.retain(|change| change != "begins");
        assert!(matches!(&heard[..], [once] if once.starts_with("trouble")), "{refusal:?}: {heard:?}");
        // Eight steps until the pauses are at their longest.
        let calls = cluster.asked(false, "") + cluster.asked(true, "");
        let most = 1800.0 / least + 10.0;
        assert!(calls > 100 && f64::from(u32::try_from(calls).unwrap()) <= most, "{refusal:?}: {calls} calls");
        *cluster.refuses.lock() = None;
        let back = Instant::now();
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "well") {
            heard.push(said(changes.recv().await));
        }
        assert_eq!(heard, ["begins", "p1", "ends", "well"], "{refusal:?}");
        assert!(back.elapsed() <= Duration::from_secs(15), "{refusal:?}: {:?}", back.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_is_asked_for_again_when_the_server_wishes() {
    const MS: Duration = Duration::from_millis(1);
    // More than the longest pause nobody has to wait.
    for (wish, least) in [(10, 10), (3600, 15)] {
        for status in [429, 503] {
            let cluster = Arc::<Cluster>::default();
            *cluster.refuses_watches.lock() = Some(Refusal::Status(status, Some(wish)));
            let mut changes = followed(&cluster, 64);
            let (mut asked, least) = (Vec::new(), Duration::from_secs(least));
            while asked.len() < 4 {
                if cluster.asked(true, "") > asked.len() {
                    asked.push(Instant::now());
                }
                sleep(MS).await;
            }
            // Between the second and the third is a list. Each is seen up to a millisecond late.
            for pair in asked.windows(2) {
                let pause = pair[1] - pair[0];
                assert!(pause + MS >= least && pause <= least + MS * 5, "{status}, {wish} s: {pause:?}");
            }
            *cluster.refuses_watches.lock() = None;
            cluster.put("p1", "y.test");
            let mut heard = Vec::new();
            while !heard.ends_with(&["p1".to_owned(), "ends".to_owned()]) {
                heard.push(said(changes.recv().await));
            }
            assert!(asked[3].elapsed() <= least + MS * 10, "{status}, {wish} s: {:?}", asked[3].elapsed());
        }
    }
}

struct Nobody;

impl Reports for Nobody {
    fn statuses(&mut self, _: Vec<Desired>) {}

    fn hold(&mut self) {}

    fn last_good(&mut self, _: &LastGood) {}
}

/// An operator that lives by this cluster, whose watches it gives up soon, and its data plane.
struct World {
    cluster: Arc<Cluster>,
    plane: DataPlane,
    operator: Operator,
    reconciler: JoinHandle<&'static str>,
}

impl World {
    async fn start(policies: &[(&str, &str)]) -> Self {
        let cluster = Arc::<Cluster>::default();
        for (name, host) in policies {
            cluster.put(name, host);
        }
        Self::start_before(cluster, Patience { silence: Duration::from_millis(100) }).await
    }

    async fn start_before(cluster: Arc<Cluster>, patience: Patience) -> Self {
        let operator = Operator::start(&Arc::new(Api::default()), 1).await;
        let plane = Start::own("authz-0").run(&operator);
        let (mut registry, call) = (Registry::default(), Call::new(cluster.client()));
        let (troubles, _) = Troubles::new(cluster.client(), "gatewright", "operator-0", &mut registry);
        let told = (PublishMetrics::register(&mut registry), troubles);
        let scope =
            Scope { namespaces: Vec::new(), values: Vec::new(), options: crds::compile::Options::default(), patience };
        let starting = Readiness::default().wait_for("policies of the cluster");
        let (push, last_good) = (operator.push.clone(), LastGood::default());
        let reconciler = Reconciler::new(call.clone(), &scope, last_good, push.clone(), Nobody, told, starting);
        let reconciler = tokio::spawn(async move { reconciler.run(call, &scope, push.changes()).await });
        Self { cluster, plane, operator, reconciler }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.reconciler.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_made_while_a_watch_is_frozen_is_enforced() {
    let world = World::start(&[("p0", "old.test")]).await;
    until("the policy is in force", || world.plane.answers("old.test").is_some()).await;
    until("its watch is open", || world.cluster.asked(true, "") > 0).await;
    world.cluster.put("p0", "new.test");
    until("the edit is in force", || world.plane.answers("new.test").is_some()).await;
    assert_eq!(world.plane.answers("old.test"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_midway_takes_nothing_out_of_force_and_brings_nothing_in() {
    let before = ["a/p0", "a/p1", "a/p2"];
    let world = World::start(&[("p0", "p0.test"), ("p1", "p1.test"), ("p2", "p2.test")]).await;
    world.plane.holds(&before).await;
    world.cluster.fails_midway.store(true, Ordering::Relaxed);
    let failed = world.cluster.asked(false, "continue");
    world.cluster.put("o9", "o9.test");
    world.cluster.delete("p0");
    until("three lists to have failed midway", || world.cluster.asked(false, "continue") >= failed + 3).await;
    assert_eq!(world.plane.policies(), before, "no half of a list counts");
    world.cluster.fails_midway.store(false, Ordering::Relaxed);
    world.plane.holds(&["a/o9", "a/p1", "a/p2"]).await;
}

/// A thousand statuses that change are nothing to reconcile: what decides of an object is its spec.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_changes_is_no_change() {
    let modified = |name: &str, host: &str, generation: u64, round: u64| {
        let metadata = json!({"name": name, "namespace": "a", "uid": name, "generation": generation, "resourceVersion": "1",
            "labels": {"round": round.to_string()}});
        let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": metadata,
            "spec": {"externalHostnames": [host], "requireAuth": false}, "status": {"programmedGeneration": round}});
        json!({"type": "MODIFIED", "object": object})
    };
    let cluster = Arc::<Cluster>::default();
    cluster.put("p0", "p0.test");
    cluster.put("p1", "p1.test");
    let statuses = (0..1000).map(|round| modified("p0", "p0.test", 1, round));
    let lines = statuses.chain([modified("p1", "new.test", 2, 0)]).collect();
    cluster.says.lock().push_back(Says { lines, stands: IN_TIME });
    let world = World::start_before(cluster, Patience::default()).await;
    until("the edit after them is in force", || world.plane.answers("new.test").is_some()).await;
    let states = world.operator.push.published();
    assert!(states <= 2, "{states} states: what was listed, and the edit");
}
