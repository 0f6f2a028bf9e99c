//! How long one edit takes to a thousand data planes. Prints times: `cargo test --release -p operator --test channel -- --ignored
//! --nocapture crowd`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use operator::push::Standing;
use rcgen::CertificateParams;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    raw::{Raw, sign},
    world::{Api, KEYED, OPEN, Operator, Start, policy, secret, until_within},
};

const CLIENTS: usize = 1000;
const POLICIES: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn an_edit_reaches_a_thousand_data_planes() {
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
        tokio::time::sleep(operator::push::PACE * 2).await;
        let host = format!("alone{round}.test");
        documents[1] = policy("a", "p1", &host, OPEN);
        let (compiled, objects) = crate::world::compile(&documents);
        let begin = Instant::now();
        operator.push.publish(compiled.pushed, Arc::new(objects));
        until_within(Duration::from_secs(10), "it has it", || plane.answers(&host).is_some()).await;
        println!("an edit to one alone: {:?}", begin.elapsed());
    }

    let (begin, slots) = (Instant::now(), Arc::new(Semaphore::new(8)));
    let mut streams = JoinSet::new();
    for one in 1..CLIENTS {
        let (operator, slots) = (operator.clone(), slots.clone());
        streams.spawn(async move {
            let mut stream = {
                let _slot = slots.acquire().await.unwrap();
                let token = format!("gatewright-operator gatewright gatewright-authz raw-{one}");
                let pair = sign(&operator, &token, CertificateParams::default()).await.unwrap();
                Raw::open(&operator, Some(&pair)).await.unwrap()
            };
            loop {
                stream.next().await;
            }
        });
    }
    let all = Standing::Programmed { replicas: CLIENTS };
    let stands = |policy: &str| operator.push.standings().policies.get(policy) == Some(&all);
    until_within(Duration::from_mins(5), "all are there", || stands("a/p1")).await;
    println!("{CLIENTS} data planes certified, connected and served everything: {:?}", begin.elapsed());
    for round in 0..10 {
        tokio::time::sleep(operator::push::PACE * 2).await;
        documents[1] = policy("a", "p1", &format!("round{round}.test"), OPEN);
        let (compiled, objects) = crate::world::compile(&documents);
        let begin = Instant::now();
        operator.push.publish(compiled.pushed, Arc::new(objects));
        let host = format!("round{round}.test");
        until_within(Duration::from_secs(10), "one has it", || plane.answers(&host).is_some()).await;
        let one = begin.elapsed();
        until_within(Duration::from_secs(10), "all have it", || stands("a/p1")).await;
        let took = begin.elapsed();
        println!("an edit: in force at one after {one:?}, acknowledged by {CLIENTS} after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}
