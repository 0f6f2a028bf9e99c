//! How often content is read, under a paused clock and before an API server that is played.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crds::documents::ReferenceKind;
use http::{Request, Response, StatusCode, header};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::fetch::{Fetched, Fetcher, Wanted};
use crate::watch::Call;

/// Reads, and which of them are refused with what.
#[derive(Default)]
struct Server {
    asked: AtomicUsize,
    refuses: Mutex<Option<(&'static str, StatusCode, u64)>>,
}

impl Server {
    fn fetcher(self: &Arc<Self>) -> Fetcher {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(server.answer(request.uri().path())))
        });
        Fetcher::new(Call::new(Client::new(service, "gatewright")))
    }

    fn answer(&self, path: &str) -> Response<Body> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some((_, code, pause)) = self.refuses.lock().filter(|(of, ..)| path.contains(of)) {
            let answer = Response::builder().status(code).header(header::RETRY_AFTER, pause);
            return answer.body(Body::from(b"{}".to_vec())).unwrap();
        }
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "1"}, "data": {}});
        Response::new(Body::from(object.to_string().into_bytes()))
    }
}

fn wanted(name: &str) -> Wanted {
    Wanted::Named { kind: ReferenceKind::Secret, name: format!("a/{name}") }
}

/// What was read, by name, until then. What failed is read again after this pause.
async fn until(fetcher: &mut Fetcher, end: Instant, pause: Duration) -> Vec<String> {
    let mut read = Vec::new();
    while let Ok(fetched) = timeout_at(end, fetcher.next()).await {
        match fetched {
            Fetched::Named(_, name, Ok(_)) => read.push(name),
            Fetched::Named(kind, name, Err(_)) => fetcher.fetch((Wanted::Named { kind, name }, pause)),
            Fetched::Selected(..) => unreachable!("nothing was selected"),
        }
    }
    read
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_of_refusals_is_few_reads_of_thousands_and_all_of_them_later() {
    const SECRETS: usize = 2000;
    for (code, pause) in [(429, 30), (503, 0), (504, 0)] {
        let server = Arc::<Server>::default();
        *server.refuses.lock() = Some(("", StatusCode::from_u16(code).unwrap(), pause));
        let mut fetcher = server.fetcher();
        for one in 0..SECRETS {
            fetcher.fetch((wanted(&format!("s{one}")), Duration::ZERO));
        }
        let refused = until(&mut fetcher, Instant::now() + Duration::from_mins(30), Duration::from_secs(25)).await;
        assert_eq!(refused, Vec::<String>::new());
        // Thirty-two at once, at most every 7.5 seconds; one by one it would be 144,000.
        let asked = server.asked.load(Ordering::Relaxed);
        assert!((1000..=64 * 250).contains(&asked), "{code}: {asked} reads");
        *server.refuses.lock() = None;
        let read = until(&mut fetcher, Instant::now() + Duration::from_secs(41), Duration::from_secs(25)).await;
        assert_eq!(read.len(), SECRETS, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_secret_that_is_always_refused_holds_up_no_other() {
    let server = Arc::<Server>::default();
    *server.refuses.lock() = Some(("broken", StatusCode::INTERNAL_SERVER_ERROR, 0));
    let mut fetcher = server.fetcher();
    fetcher.fetch((wanted("broken"), Duration::ZERO));
    let pause = Duration::from_secs(25);
    assert!(until(&mut fetcher, Instant::now() + Duration::from_mins(10), pause).await.is_empty());
    for name in ["one", "two"] {
        fetcher.fetch((wanted(name), Duration::ZERO));
        assert_eq!(until(&mut fetcher, Instant::now() + Duration::from_millis(10), pause).await, [format!("a/{name}")]);
    }
}
