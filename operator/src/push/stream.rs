//! One stream: one change at a time, the newest when the one before is answered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use authz::channel::wire::{EPOCH, FENCED, PARTLY, PEERS, REJECTIONS_TYPE, REPORTS, USES};
use crds::push::{Name, PeerReport, RESOURCE_TYPE, Rejection, Report, State};
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    google::{protobuf::value::Kind, rpc},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::{
    Inner,
    audiences::Cell,
    clients::{Client, Entry},
    outgoing::Outgoing,
    table::{Audience, Diff, Encoded, Published, Table},
};
use crate::leader::EPOCHS;

/// How long a peer may take to say what it wants.
const HELLO: Duration = Duration::from_secs(10);

/// A peer that proved itself.
pub(super) struct Peer {
    /// `namespace/pod`.
    pub(super) name: String,
    pub(super) audience: Audience,
    /// The end of its certificate's life, and with it of the stream.
    pub(super) not_after: SystemTime,
}

/// Where messages go.
pub(super) type Outbound = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// The state of one stream.
struct Stream {
    inner: Arc<Inner>,
    peer: Peer,
    entry: Entry,
    cell: Arc<Cell>,
    has: Has,
    /// The highest leadership the peer has seen.
    seen: u64,
    counter: u64,
    /// The change that is sent, or not answered yet.
    outgoing: Option<Outgoing>,
    /// The leadership and the CA certificates that the peer has.
    epoch: u64,
    trust: Option<Arc<Encoded>>,
    /// The CA certificates that it has once the change under way is answered.
    considered: Option<Arc<Encoded>>,
}

/// What a peer has in force.
enum Has {
    /// What it said at the beginning.
    Said(HashMap<String, String>),
    /// A table of ours.
    Table(Arc<Table>),
}

/// Until either side ends it.
pub(super) async fn run(inner: Arc<Inner>, peer: Peer, inbound: Streaming<DeltaDiscoveryRequest>, outbound: Outbound) {
    let name = peer.name.clone();
    inner.metrics.clients.inc();
    let ended = serve(inner.clone(), peer, inbound, &outbound).await;
    inner.metrics.clients.dec();
    match ended {
        Ok(()) => info!(replica = name, "a data plane left"),
        Err(status) => {
            warn!(replica = name, reason = status.message(), "a data plane was let go");
            // Nobody hears it if the peer is gone already.
            let _ = outbound.try_send(Err(status));
        }
    }
}

async fn serve(
    inner: Arc<Inner>,
    peer: Peer,
    mut inbound: Streaming<DeltaDiscoveryRequest>,
    outbound: &Outbound,
) -> Result<(), Status> {
    let hello = timeout(HELLO, inbound.message()).await;
    let hello = hello.map_err(|_| Status::deadline_exceeded("say what you want"))??;
    let Some(hello) = hello else { return Ok(()) };
    if hello.type_url != RESOURCE_TYPE {
        return Err(Status::invalid_argument(format!("the only type here is {RESOURCE_TYPE}")));
    }
    let lifetime = peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let ends = CancellationToken::new();
    let mut stream = Stream::begin(inner.clone(), peer, hello, ends.clone());
    let (mut published, mut epoch, mut trust) =
        (inner.published.subscribe(), inner.epoch.clone(), inner.trust.subscribe());
    let expired = sleep(lifetime);
    tokio::pin!(expired);
    loop {
        let (newest, leads, believed) =
            (published.borrow_and_update().clone(), *epoch.borrow_and_update(), trust.borrow_and_update().clone());
        stream.begin_change(&newest, leads, believed.as_ref());
        let sending = stream.outgoing.as_ref().is_some_and(|outgoing| !outgoing.is_sent());
        tokio::select! {
            permit = outbound.reserve(), if sending => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(outgoing) = &mut stream.outgoing {
                    let message = outgoing.next();
                    inner.metrics.messages.inc();
                    inner.metrics.resources.inc_by(message.resources.len() as u64);
                    permit.send(Ok(message));
                }
            }
            message = inbound.message() => {
                // A broken stream is one that ended.
                let Ok(Some(message)) = message else { return Ok(()) };
                stream.hear(message)?;
            }
            Ok(()) = published.changed() => {}
            Ok(()) = epoch.changed() => {}
            Ok(()) = trust.changed() => {}
            () = ends.cancelled() => return Err(Status::aborted("another stream of this pod replaced this one")),
            () = inner.ends.cancelled() => return Err(Status::unavailable("the operator ends; try another replica")),
            () = &mut expired => return Err(Status::unauthenticated("the certificate expired; connect with a new one")),
        }
    }
}

// === impl Stream ===

impl Stream {
    fn begin(inner: Arc<Inner>, peer: Peer, hello: DeltaDiscoveryRequest, ends: CancellationToken) -> Self {
        let client = Client {
            name: peer.name.clone(),
            audience: peer.audience.clone(),
            acknowledged: 0,
            rejected: BTreeMap::new(),
            reports: Vec::new(),
            peers: PeerReport::default(),
            ends,
        };
        let entry = inner.clients.add(inner.stream_id(), client);
        let cell = inner.audiences.cell(&peer.audience);
        info!(replica = peer.name, holds = hello.initial_resource_versions.len(), "a data plane connected");
        let mut stream = Self {
            inner,
            peer,
            entry,
            cell,
            has: Has::Said(hello.initial_resource_versions),
            seen: 0,
            counter: 0,
            outgoing: None,
            epoch: 0,
            trust: None,
            considered: None,
        };
        stream.note(hello.node.as_ref());
        stream
    }

    /// Begins the next change, if there is one and the one before is answered. A leadership older than what the peer has seen stays
    /// silent: it would be refused.
    fn begin_change(&mut self, published: &Arc<Published>, epoch: u64, trust: Option<&Arc<Encoded>>) {
        if self.outgoing.is_some() || published.counter == 0 || epoch == 0 || epoch < self.seen {
            return;
        }
        let table = self.cell.table(published, &self.peer.audience);
        let (first, diff) = match &self.has {
            Has::Said(held) => (true, Arc::new(Diff::from_held(held, &table))),
            Has::Table(has) => (false, self.cell.way(has, &table)),
        };
        let new_trust = self.new_trust(trust);
        if !first && diff.is_empty() && epoch == self.epoch && new_trust.is_none() {
            self.carry_on(table);
            return;
        }
        self.counter += 1;
        self.considered = trust.cloned();
        let state = State { epoch, counter: self.counter, policies: table.policies() };
        self.outgoing = Some(Outgoing::new(table, diff, new_trust, state));
    }

    /// The CA certificates, if the peer has others.
    fn new_trust(&self, trust: Option<&Arc<Encoded>>) -> Option<Arc<Encoded>> {
        let trust = trust?;
        let has = match (&self.trust, &self.has) {
            (Some(own), _) => own.version == trust.version,
            (None, Has::Said(held)) => held.get(&Name::Trust.to_string()) == Some(&trust.version),
            (None, Has::Table(_)) => false,
        };
        (!has).then(|| trust.clone())
    }

    /// One message of the peer: an answer, a report, or both.
    fn hear(&mut self, message: DeltaDiscoveryRequest) -> Result<(), Status> {
        self.note(message.node.as_ref());
        if message.response_nonce.is_empty() {
            return Ok(());
        }
        let rejections = match message.error_detail {
            None => Vec::new(),
            Some(detail) if detail.code == PARTLY => {
                self.inner.metrics.rejections.inc();
                rejections(&detail)
            }
            Some(detail) => {
                self.inner.metrics.refusals.inc();
                let why = if detail.code == FENCED { "a newer leadership was seen" } else { "a change was incomplete" };
                return Err(Status::aborted(format!("refused: {why}")));
            }
        };
        // Only the answer to the last message says what is in force.
        let answered = |outgoing: &Outgoing| outgoing.last.as_ref() == Some(&message.response_nonce);
        if let Some(done) = self.outgoing.take_if(|outgoing| answered(outgoing)) {
            self.settle(done, rejections);
        }
        Ok(())
    }

    /// Nothing changed for this audience: what the peer has in force is the newest.
    fn carry_on(&mut self, table: Arc<Table>) {
        let counter = table.counter;
        self.has = Has::Table(table);
        self.entry.update(|client| std::mem::replace(&mut client.acknowledged, counter) != counter);
    }

    /// The peer has this change in force, but for what it refused.
    fn settle(&mut self, done: Outgoing, refused: Vec<Rejection>) {
        let published = self.inner.published.borrow().clone();
        let (audience, counter) = (&self.peer.audience, done.table.counter);
        self.entry.update(|client| client.acknowledge(counter, refused, |name| published.readers(audience, name)));
        self.epoch = done.state.epoch;
        self.trust = self.considered.take();
        self.has = Has::Table(done.table);
    }

    /// What a node says of itself.
    fn note(&mut self, node: Option<&Node>) {
        let Some(fields) = node.and_then(|node| node.metadata.as_ref()).map(|metadata| &metadata.fields) else {
            return;
        };
        let text = |name| match fields.get(name).and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(text)) => Some(text.as_str()),
            _ => None,
        };
        if let Some(epoch) = text(EPOCH).and_then(|text| text.parse().ok()).filter(|epoch| *epoch < EPOCHS) {
            self.seen = self.seen.max(epoch);
            // Only our own are believed: any pod could claim a leadership that nobody can follow.
            if self.peer.audience == Audience::Own {
                self.inner.saw(epoch);
            }
        }
        if let Some(uses) = text(USES) {
            self.inner.hear_uses(&self.peer.audience, uses);
        }
        let reports: Option<Vec<Report>> = text(REPORTS).and_then(|text| serde_json::from_str(text).ok());
        if let Some(reports) = reports {
            self.entry.update(|client| std::mem::replace(&mut client.reports, reports) != client.reports);
        }
        let peers: Option<PeerReport> = text(PEERS).and_then(|text| serde_json::from_str(text).ok());
        if let Some(peers) = peers {
            self.entry.update(|client| std::mem::replace(&mut client.peers, peers) != client.peers);
        }
    }
}

fn rejections(detail: &rpc::Status) -> Vec<Rejection> {
    let details = detail.details.iter().filter(|one| one.type_url == REJECTIONS_TYPE);
    details.filter_map(|one| serde_json::from_slice::<Vec<Rejection>>(&one.value).ok()).flatten().collect()
}
