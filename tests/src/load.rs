//! A steady load of one request through Envoy, while something else happens to the cluster.
//! Owns: the pace and the count of answers. Never: a retry; what a client would have seen is what is counted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{PeerError, client::plain_client};

/// Requests under way at once; a slower machine is asked less often rather than buried.
const CONCURRENT: usize = 64;
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);

/// A load that runs until it is told to end.
pub struct Load {
    ends: watch::Sender<bool>,
    task: JoinHandle<Tally>,
    token: watch::Sender<String>,
}

/// What came back, by status and code.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How often each answer came; `error: …` where none came.
    pub answers: BTreeMap<String, u64>,
    /// How long it ran.
    pub lasted: Duration,
}

// === impl Load ===

impl Load {
    /// `GET /load` for this host with this token, so many times a second.
    pub fn start(envoy: SocketAddr, host: &str, token: String, per_second: u32) -> Result<Self, PeerError> {
        let (ends, ended) = watch::channel(false);
        let (token, tokens) = watch::channel(token);
        let client = plain_client()?;
        let task =
            tokio::spawn(run(client, format!("http://{envoy}/load"), host.to_owned(), tokens, per_second, ended));
        Ok(Self { ends, task, token })
    }

    /// Goes on with another token: the one before ends soon.
    pub fn renew(&self, token: String) {
        self.token.send_replace(token);
    }

    /// Ends it, and waits for what is under way.
    pub async fn finish(self) -> Result<Tally, PeerError> {
        self.ends.send_replace(true);
        self.task.await.map_err(|error| PeerError::unreadable("the load", &error))
    }
}

async fn run(
    client: Client,
    url: String,
    host: String,
    tokens: watch::Receiver<String>,
    per_second: u32,
    mut ended: watch::Receiver<bool>,
) -> Tally {
    let (slots, answers) = (Arc::new(Semaphore::new(CONCURRENT)), Arc::new(Mutex::new(BTreeMap::new())));
    let begin = Instant::now();
    let (mut ticks, mut sent) = (interval(TICK), 0_u64);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = ended.wait_for(|ended| *ended) => break,
        }
        let due = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) * u64::from(per_second) / 1000;
        while sent < due {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            sent += 1;
            let request = client.get(&url).header("host", &host).bearer_auth(&*tokens.borrow());
            let answers = answers.clone();
            tokio::spawn(async move {
                let answer = ask(request).await;
                *answers.lock().unwrap_or_else(PoisonError::into_inner).entry(answer).or_default() += 1;
                drop(slot);
            });
        }
    }
    // Everything under way has its slot.
    let _all = slots.acquire_many(u32::try_from(CONCURRENT).unwrap_or(u32::MAX)).await;
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Tally { answers, lasted: begin.elapsed() }
}

async fn ask(request: reqwest::RequestBuilder) -> String {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return format!("error: {error}"),
    };
    let status = answer.status().as_u16();
    match answer.text().await {
        Ok(_) if status == 200 => "200".to_owned(),
        Ok(body) => {
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            format!("{status} {}", body["code"].as_str().unwrap_or_default())
        }
        Err(error) => format!("error: {error}"),
    }
}

// === impl Tally ===

impl Tally {
    /// Those that were answered with 200.
    pub fn good(&self) -> u64 {
        self.answers.get("200").copied().unwrap_or_default()
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.answers.values().sum()
    }
}
