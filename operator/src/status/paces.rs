//! How often statuses are written, under a paused clock and before an API server that is played.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use authz::server::Registry;
use crds::documents::Kind;
use http::{Request, Response, StatusCode, header};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{EventSink, Gate, Statuses, Transition};
use crate::{
    reconcile::{Desired, Observed, Said},
    trouble::Troubles,
    watch::Call,
};

/// Statuses by path, how often each was asked to be written, and what every write is refused with instead.
#[derive(Default)]
struct Server {
    statuses: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<BTreeMap<String, usize>>,
    refusal: Mutex<Option<(StatusCode, u64)>>,
    /// How long each write takes.
    takes: Mutex<Duration>,
    /// The first path that was asked for.
    first: Mutex<Option<String>>,
}

impl Server {
    fn client(self: &Arc<Self>) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "gatewright")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let bytes = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        *self.asked.lock().entry(path.clone()).or_default() += 1;
        self.first.lock().get_or_insert_with(|| path.clone());
        let takes = *self.takes.lock();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        if let Some((code, pause)) = *self.refusal.lock() {
            let answer = Response::builder().status(code).header(header::RETRY_AFTER, pause);
            return answer.body(Body::from(b"{}".to_vec())).unwrap();
        }
        let object: Value = serde_json::from_slice(&bytes).unwrap();
        self.statuses.lock().insert(path, object["status"].clone());
        Response::new(Body::from(bytes))
    }

    fn asked(&self) -> usize {
        self.asked.lock().values().sum()
    }

    /// What an object says.
    fn status(&self, name: &str) -> Value {
        let path = format!("/apis/gatewright.dev/v1alpha1/namespaces/a/authpolicies/{name}/status");
        self.statuses.lock().get(&path).cloned().unwrap_or_default()
    }

    /// How many objects say this reason.
    fn saying(&self, reason: &str) -> usize {
        self.statuses.lock().values().filter(|status| status["conditions"][0]["reason"] == reason).count()
    }
}

/// Leads for ever, and has no use for Events.
struct Always;

impl Gate for Always {
    fn may_write(&self) -> bool {
        true
    }
}

#[tonic::async_trait]
impl EventSink for Always {
    async fn publish(&self, _: &Transition) {}
}

/// Takes an Event and never answers.
struct Hangs;

#[tonic::async_trait]
impl EventSink for Hangs {
    async fn publish(&self, _: &Transition) {
        std::future::pending::<()>().await;
    }
}

/// Notes of each Event whether the status that it tells of was there before it.
struct Witness {
    server: Arc<Server>,
    seen: Mutex<Vec<bool>>,
}

#[tonic::async_trait]
impl EventSink for Witness {
    async fn publish(&self, transition: &Transition) {
        let name = transition.name.trim_start_matches("a/");
        let said = self.server.status(name)["conditions"][0]["reason"] == transition.reason;
        self.seen.lock().push(said);
    }
}

fn writer(server: &Arc<Server>) -> (Statuses, JoinHandle<()>) {
    writer_to(server, Arc::new(Always))
}

fn writer_to(server: &Arc<Server>, events: Arc<dyn EventSink>) -> (Statuses, JoinHandle<()>) {
    let client = server.client();
    let (troubles, _) = Troubles::new(client.clone(), "gatewright", "operator-0", &mut Registry::default());
    let (statuses, writer) = Statuses::new(Call::new(client), Arc::new(Always), events, troubles);
    (statuses, tokio::spawn(writer.run()))
}

const OBJECTS: usize = 1000;

/// Everything shall say this reason; what is said already is what the server has.
fn wish(server: &Server, reason: &str) -> Vec<Desired> {
    let desired = (0..OBJECTS).map(|one| {
        let name = format!("p{one}");
        let said =
            Said { kind: "Accepted", status: Some(true), reason: reason.to_owned(), message: "as it is".to_owned() };
        Desired {
            kind: Kind::AuthPolicy,
            name: format!("a/{name}").into(),
            observed: Observed { uid: name.clone(), generation: 1, status: server.status(&name).into() },
            since: Instant::now(),
            conditions: vec![said],
            hostnames: None,
            programmed: None,
        }
    });
    desired.collect()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_objects_that_flap_are_written_a_bounded_number_of_times_and_end_right() {
    const FLAPS: Duration = Duration::from_secs(20);
    let server = Arc::<Server>::default();
    let (statuses, run) = writer(&server);
    let begun = Instant::now();
    for reason in ["One", "Other"].into_iter().cycle() {
        statuses.wish(wish(&server, reason));
        sleep(Duration::from_millis(100)).await;
        if begun.elapsed() >= FLAPS {
            break;
        }
    }
    // Ten at once, and one in three seconds: of two hundred that were wished.
    let most = server.asked.lock().values().copied().max();
    assert!(most.is_some_and(|most| (10..=17).contains(&most)), "{most:?} writes of one object in {FLAPS:?}");
    statuses.wish(wish(&server, "Last"));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(server.saying("Last"), OBJECTS, "the last wish wins");
    // Written for what changed, never for having been written.
    statuses.wish(wish(&server, "Last"));
    let asked = server.asked();
    sleep(Duration::from_mins(10)).await;
    assert_eq!(server.asked(), asked);
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn an_edit_after_silence_is_said_at_once() {
    let server = Arc::<Server>::default();
    let (statuses, run) = writer(&server);
    for reason in ["Lagging", "Programmed", "Lagging", "Programmed"] {
        let begun = Instant::now();
        statuses.wish(wish(&server, reason));
        while server.saying(reason) < OBJECTS {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_without_an_api_server_is_few_writes_and_all_of_them_later() {
    for (code, pause) in [(429, 30), (429, 0), (500, 0), (503, 5), (504, 0)] {
        let server = Arc::<Server>::default();
        *server.refusal.lock() = Some((StatusCode::from_u16(code).unwrap(), pause));
        let (statuses, run) = writer(&server);
        statuses.wish(wish(&server, "One"));
        sleep(Duration::from_mins(30)).await;
        // Sixteen at most under way when the eighth in a row is refused, at most every 7.5 seconds.
        let asked = server.asked();
        assert!((100..=16 * 250).contains(&asked), "{code}: {asked} writes");
        *server.refusal.lock() = None;
        sleep(Duration::from_secs(31)).await;
        assert_eq!(server.saying("One"), OBJECTS, "{code}");
        run.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn one_object_that_is_always_refused_holds_up_no_other() {
    let server = Arc::<Server>::default();
    let (statuses, run) = writer(&server);
    *server.refusal.lock() = Some((StatusCode::INTERNAL_SERVER_ERROR, 0));
    statuses.wish(wish(&server, "One").into_iter().take(1).collect());
    sleep(Duration::from_mins(5)).await;
    let asked = server.asked();
    assert!((20..=60).contains(&asked), "{asked} attempts in five minutes");
    *server.refusal.lock() = None;
    let begun = Instant::now();
    statuses.wish(wish(&server, "One"));
    while server.saying("One") < OBJECTS - 1 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn no_write_begins_while_edits_are_under_way_and_the_newest_edit_is_told_first() {
    let server = Arc::<Server>::default();
    *server.takes.lock() = Duration::from_millis(10);
    let (statuses, run) = writer(&server);
    statuses.wish(wish(&server, "One"));
    statuses.hold();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(server.asked(), 0, "nothing began");
    let mut wanted = wish(&server, "One");
    wanted[500].since += Duration::from_millis(1);
    statuses.wish(wanted);
    sleep(Duration::from_secs(1)).await;
    assert!(server.first.lock().as_ref().is_some_and(|path| path.contains("/p500/")), "{:?}", server.first.lock());
    // In the midst of them.
    statuses.hold();
    let asked = server.asked();
    assert!((100..=300).contains(&asked), "{asked} writes of 10 ms, two at a time");
    sleep(Duration::from_mins(1)).await;
    assert_eq!(server.asked(), asked);
    statuses.wish(wish(&server, "One"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(server.saying("One"), OBJECTS);
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_hangs_holds_up_no_status() {
    let server = Arc::<Server>::default();
    let (statuses, run) = writer_to(&server, Arc::new(Hangs));
    for reason in ["One", "Other"] {
        statuses.wish(wish(&server, reason));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(server.saying(reason), OBJECTS);
    }
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn an_event_is_told_after_its_status_and_of_none_that_was_not_written() {
    let server = Arc::<Server>::default();
    let witness = Arc::new(Witness { server: server.clone(), seen: Mutex::default() });
    let (statuses, run) = writer_to(&server, witness.clone());
    *server.refusal.lock() = Some((StatusCode::INTERNAL_SERVER_ERROR, 0));
    statuses.wish(wish(&server, "One"));
    sleep(Duration::from_mins(1)).await;
    assert_eq!((server.asked() > 0, witness.seen.lock().len()), (true, 0));
    *server.refusal.lock() = None;
    *server.takes.lock() = Duration::from_millis(1);
    sleep(Duration::from_mins(1)).await;
    let seen = witness.seen.lock().clone();
    assert!(seen.len() >= OBJECTS && seen.iter().all(|said| *said), "{} Events", seen.len());
    run.abort();
}
