//! One stream after the other: say what is held, take what differs, answer every message.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use futures_util::stream::unfold;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::{
    Shared, Told,
    credentials::Credentials,
    files::Copy,
    held::{Held, Refusal},
    renew::{authorities, connect},
    usage::Telling,
    wire,
};

/// Largest message: the operator cuts at 2 MiB, but one resource is never cut.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Answers that may wait for the transport.
const ANSWERS: usize = 8;

/// Failures in a row after which our certificate is doubted.
const DOUBT: u32 = 3;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the operator cannot be reached: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the stream broke: {} ({:?})", .0.message(), .0.code())]
    Broken(#[from] Status),
    #[error("a change was refused: {0}")]
    Refused(#[from] Refusal),
    #[error("the operator ended the stream")]
    Ended,
}

/// Until `ends`; a stream that stands then is told what is left to tell.
pub(super) async fn keep_connected(shared: &Shared, mut held: Held, ends: &CancellationToken) {
    let (mut failures, mut told, mut telling) = (0, Told::default(), Telling::new(shared));
    while !ends.is_cancelled() {
        let credentials = tokio::select! {
            credentials = valid(shared) => credentials,
            () = ends.cancelled() => return,
        };
        let mut heard = false;
        let ended = session(shared, &credentials, &mut held, &mut heard, &mut telling, ends).await;
        shared.metrics.connected.set(0);
        if heard {
            failures = 0;
            told.forget();
        }
        let Err(error) = ended else { continue };
        failures += 1;
        shared.metrics.failures.inc();
        if failures % DOUBT == 0 {
            shared.doubt.notify_one();
        }
        told.tell("no stream from the operator; what is in force stays, trying again", &error);
        tokio::select! {
            () = sleep(shared.options.pace.retry(failures)) => {}
            () = ends.cancelled() => return,
        }
    }
}

/// Waits for a certificate that has not expired.
async fn valid(shared: &Shared) -> Arc<Credentials> {
    let mut credentials = shared.credentials.subscribe();
    let good = |one: &Option<Arc<Credentials>>| one.as_ref().is_some_and(|one| one.is_valid(SystemTime::now()));
    loop {
        let found = credentials.wait_for(good).await.ok().and_then(|found| found.clone());
        if let Some(found) = found {
            return found;
        }
        // An error would mean that the sender, which `shared` owns, is gone.
    }
}

impl Shared {
    fn told(&self) -> wire::Told {
        wire::Told { issuers: self.force.reports(), peers: self.peers.report(Instant::now()) }
    }
}

/// A stream that stands.
struct Line {
    answers: mpsc::Sender<DeltaDiscoveryRequest>,
    stream: Streaming<DeltaDiscoveryResponse>,
}

/// Connects and says what is held.
async fn open(
    shared: &Shared,
    credentials: &Credentials,
    held: &mut Held,
    told: &wire::Told,
) -> Result<Line, SessionError> {
    let tls = credentials.client_config(&authorities(shared).await);
    let channel = connect(shared, tls).await??;
    let (answers, inbound) = mpsc::channel(ANSWERS);
    held.begin();
    let hello = wire::hello(&shared.options.pod, held.epoch(), told, held.versions());
    answers.send(hello).await.map_err(|_| SessionError::Ended)?;
    let requests = unfold(inbound, async |mut inbound| Some((inbound.recv().await?, inbound)));
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let begun = timeout(shared.options.pace.connect, client.delta_aggregated_resources(Box::pin(requests))).await;
    let begun = begun.map_err(|_| Status::deadline_exceeded("the stream did not begin in time"))?;
    Ok(Line { answers, stream: begun?.into_inner() })
}

/// Ends well when there is a new certificate to connect with, and when everything ends.
async fn session(
    shared: &Shared,
    credentials: &Credentials,
    held: &mut Held,
    heard: &mut bool,
    telling: &mut Telling,
    ends: &CancellationToken,
) -> Result<(), SessionError> {
    let (pod, pace) = (&*shared.options.pod, shared.options.pace);
    let mut renewed = shared.credentials.subscribe();
    // There may be a newer one already.
    renewed.mark_changed();
    let mut told = shared.told();
    let opened = tokio::select! {
        opened = open(shared, credentials, held, &told) => opened,
        () = ends.cancelled() => return Ok(()),
    };
    let Line { answers, mut stream } = opened?;
    telling.begin();
    shared.metrics.connected.set(1);
    info!("connected to the operator");
    let mut ticks = interval(pace.report);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = stream.message() => {
                let message = message?.ok_or(SessionError::Ended)?;
                let (answer, refusal) = take(shared, held, message);
                answers.send(answer).await.map_err(|_| SessionError::Ended)?;
                if let Some(refusal) = refusal {
                    drop(answers);
                    part(stream, pace.connect).await;
                    return Err(refusal.into());
                }
                *heard = true;
            }
            _ = ticks.tick() => {
                let now = shared.told();
                if now != told {
                    answers.send(wire::report(pod, held.epoch(), &now)).await.map_err(|_| SessionError::Ended)?;
                    told = now;
                }
            }
            () = telling.due() => {
                if !telling.tell(shared, &answers).await {
                    return Err(SessionError::Ended);
                }
            }
            () = ends.cancelled() => {
                let told = timeout(pace.connect, telling.tell(shared, &answers)).await;
                drop(answers);
                if told == Ok(true) {
                    part(stream, pace.connect).await;
                }
                return Ok(());
            }
            Ok(()) = renewed.changed() => {
                let other = renewed.borrow_and_update().as_ref().is_some_and(|new| !new.is_same_identity(credentials));
                if other {
                    return Ok(());
                }
            }
        }
    }
}

/// Takes one message in, and says what to answer, and whether the stream is over with that.
fn take(shared: &Shared, held: &mut Held, message: DeltaDiscoveryResponse) -> (DeltaDiscoveryRequest, Option<Refusal>) {
    let wire::Message { nonce, incoming, removed } = wire::read(message);
    match held.take(incoming, removed) {
        Ok(None) => (wire::acknowledge(nonce, &[]), None),
        Ok(Some(applied)) => {
            let answer = wire::acknowledge(nonce, &applied.rejected);
            if let Some(authorities) = &applied.trust {
                trust(shared, authorities);
            }
            shared.force.put(applied);
            shared.copy.send_replace(Some(Copy::of(held)));
            (answer, None)
        }
        Err(refusal) => {
            shared.metrics.refused.inc();
            if !matches!(refusal, Refusal::Epoch { .. }) {
                held.doubt();
            }
            (wire::refuse(nonce, &refusal), Some(refusal))
        }
    }
}

/// The CA of the operator is being replaced: proxies with certificates of either are believed.
fn trust(shared: &Shared, authorities: &Arc<str>) {
    shared.credentials.send_if_modified(|current| {
        let Some(own) = current.as_ref().filter(|own| own.authorities() != authorities) else { return false };
        let Some(new) = own.trusting(authorities.clone()) else {
            warn!("the operator sent CA certificates that cannot be used; those of before stay");
            return false;
        };
        *current = Some(Arc::new(new));
        true
    });
}

/// Lets what was said last reach the operator before the stream is dropped: the operator ends it when it has heard everything.
async fn part(mut stream: Streaming<DeltaDiscoveryResponse>, patience: Duration) {
    let drained = async { while let Ok(Some(_)) = stream.message().await {} };
    // Either way the stream is over.
    let _ = timeout(patience, drained).await;
}
