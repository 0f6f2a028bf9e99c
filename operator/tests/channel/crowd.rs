//! An edit reaches every one of a hundred data planes, or of as many as `GATEWRIGHT_CROWD` says. Prints times:
//! `GATEWRIGHT_CROWD=1000 cargo test --release -p operator --test channel -- --nocapture crowd`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use operator::push::Standing;
use parking_lot::Mutex;
use rcgen::CertificateParams;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    raw::{Raw, sign},
    world::{Api, KEYED, OPEN, Operator, Start, policy, secret, until_within},
};

/// How many data planes there are, if the environment says nothing else.
const CLIENTS: usize = 100;
const POLICIES: usize = 1000;
/// For anything that a crowd waits for: times are printed, and none is asserted.
const LONG: Duration = Duration::from_mins(1);

/// `GATEWRIGHT_CROWD`; what is no number of at least two fails the test.
fn clients() -> usize {
    let Some(text) = std::env::var_os("GATEWRIGHT_CROWD") else { return CLIENTS };
    let clients = text.to_str().and_then(|text| text.parse().ok()).filter(|clients| *clients >= 2);
    clients.expect("GATEWRIGHT_CROWD is a number of at least two")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_every_data_plane_of_a_crowd() {
    let clients = clients();
    let api = Arc::new(Api::default());
    let operator = Arc::new(Operator::start(&api, 1).await);
    let mut documents: Vec<String> =
        (0..POLICIES).map(|one| policy("a", &format!("p{one}"), &format!("h{one}.test"), KEYED)).collect();
    documents.push(secret("a", "0123456789abcdef0123456789abcdef"));
    operator.publish(&documents);
    let plane = Start::own("authz-0").run(&operator);
    let begin = Instant::now();
    until_within(Duration::from_mins(1), "the first has everything", || plane.policies().len() == POLICIES).await;
    println!("{POLICIES} policies to one that starts: {:?}", begin.elapsed());

    for round in 0..5 {
        let host = format!("alone{round}.test");
        documents[1] = policy("a", "p1", &host, OPEN);
        let begin = edit(&operator, &documents).await;
        until_within(LONG, "it has it", || plane.answers(&host).is_some()).await;
        println!("an edit to one alone: {:?}", begin.elapsed());
    }

    let (begin, slots, crowd) = (Instant::now(), Arc::new(Semaphore::new(8)), Crowd::default());
    let mut streams = JoinSet::new();
    for one in 1..clients {
        let (operator, slots, crowd) = (operator.clone(), slots.clone(), crowd.clone());
        streams.spawn(async move {
            let mut stream = {
                let _slot = slots.acquire().await.unwrap();
                let token = format!("gatewright-operator gatewright gatewright-authz raw-{one}");
                let pair = sign(&operator, &token, CertificateParams::default()).await.unwrap();
                Raw::open(&operator, Some(&pair)).await.unwrap()
            };
            loop {
                crowd.note(one, &stream.next().await);
            }
        });
    }
    let all = Standing::Programmed { replicas: clients };
    let stands = || operator.push.standings().policies.get("a/p1") == Some(&all);
    until_within(Duration::from_mins(5), "all are there", stands).await;
    println!("{clients} data planes certified, connected and served everything: {:?}", begin.elapsed());
    for round in 0..10 {
        let host = format!("round{round}.test");
        documents[1] = policy("a", "p1", &host, OPEN);
        let begin = edit(&operator, &documents).await;
        until_within(LONG, "one has it", || plane.answers(&host).is_some()).await;
        let one = begin.elapsed();
        until_within(LONG, "all acknowledged it", stands).await;
        println!("an edit: in force at one after {one:?}, acknowledged by {clients} after {:?}", begin.elapsed());
        until_within(LONG, "everybody else was told of it", || crowd.with(&host) == clients - 1).await;
    }
}

/// Publishes an edit after a silence, so that the pace is no part of what is measured; when that was.
async fn edit(operator: &Operator, documents: &[String]) -> Instant {
    let (compiled, objects) = crate::world::compile(documents);
    tokio::time::sleep(operator::push::PACE * 2).await;
    let begin = Instant::now();
    operator.push.publish(compiled.pushed, Arc::new(objects));
    begin
}

/// The newest text that each of a crowd was told of one policy.
#[derive(Clone, Default)]
struct Crowd {
    told: Arc<Mutex<HashMap<usize, String>>>,
}

impl Crowd {
    fn note(&self, one: usize, message: &DeltaDiscoveryResponse) {
        let edited = message.resources.iter().find(|resource| resource.name == "policy/a/p1");
        if let Some(any) = edited.and_then(|resource| resource.resource.as_ref()) {
            self.told.lock().insert(one, String::from_utf8_lossy(&any.value).into_owned());
        }
    }

    /// How many were told of this host.
    fn with(&self, host: &str) -> usize {
        self.told.lock().values().filter(|text| text.contains(host)).count()
    }
}
