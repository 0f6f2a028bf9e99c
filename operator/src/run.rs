//! The operator as a whole: which part is given what, and what ends it.
//!
//! Owns start, order and end. If any part ends by itself, everything does: half an operator is worse than a restart.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use authz::server::{Pending, PublishMetrics, Readiness, Registry};
use crds::{
    compile::{LastGood, Options},
    hosts::HostPattern,
};
use kube::Client;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    bundle::{Bundles, KubePlaces},
    definitions, denied,
    identity::{self, Identity, IdentityError, KubeProofs, KubeStore, Lives},
    last_good::{self, LastGoodStore},
    leader::{self, Durations, Leader},
    owner::Owner,
    push::{self, PACE, Push, USES_PACE},
    reconcile::{Desired, Reconciler, Reports, Scope},
    signing::{self, Signing},
    status::{Gate, KubeEvents, Statuses},
    trouble::{Teller, Troubles},
    usage::{Keeper, KubeStores},
    watch::{Call, Patience},
};

/// Who we are and what we look after.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// Our pod: the holder of the lease.
    pub pod: String,
    /// `HOST:PORT` at which other replicas reach this one.
    pub address: Option<String>,
    /// Our ServiceAccount.
    pub account: String,
    /// The Service that data planes dial.
    pub service: String,
    /// The ServiceAccount of our own data planes.
    pub authz_account: String,
    /// The Service by which proxies reach them.
    pub authz_service: String,
    /// The `iss` of tokens signed with keys of our own; `None`: where our data planes publish them.
    pub signing_issuer: Option<String>,
    /// Namespaces whose objects are looked after; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Namespaces whose Secrets and ConfigMaps may be watched; empty: the same.
    pub values_namespaces: Vec<String>,
    /// The Secret of our namespace that holds the CA; `None`: we make one.
    pub given: Option<String>,
    /// The ClusterRole that everything we make belongs to.
    pub owner: Option<String>,
    /// Hosts that policies of a namespace may have; empty: any.
    pub grants: BTreeMap<String, Vec<HostPattern>>,
    /// How often the last use of API keys is written.
    pub key_uses_every: Duration,
    /// How long watches may be silent.
    pub patience: Patience,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Without identity nobody can be served.
    #[error("no identity: {0}")]
    Identity(#[from] IdentityError),
    /// The listener for data planes.
    #[error("the listener for data planes: {0}")]
    Serve(#[from] io::Error),
    /// A part ended that should not.
    #[error("a background task ended: {0}; the process ends with it rather than doing half its work")]
    Task(&'static str),
}

/// An operator that is about to run.
pub struct Operator {
    client: Client,
    owner: Owner,
    settings: Settings,
    metrics: PublishMetrics,
    kept: last_good::Metrics,
    push: Push,
    leader: Leader,
    campaign: tokio::task::JoinHandle<()>,
    highest: watch::Sender<u64>,
    starting: Pending,
    troubles: (Troubles, Teller),
    /// Ends the campaign, which gives the lease back.
    ends: CancellationToken,
}

/// Longest time that giving the lease back may take.
const FAREWELL: Duration = Duration::from_secs(8);
/// How often the CA is looked after.
const LOOK: Duration = Duration::from_secs(10);
/// The Lease.
const LEASE: &str = "gatewright-operator";

// === impl Operator ===

impl Operator {
    /// Takes part in the election from now on. Call it inside the runtime that shall do the work.
    pub fn new(client: Client, settings: Settings, registry: &mut Registry, readiness: &Readiness) -> Self {
        let client = denied::counted(client, registry);
        let (highest, heard) = watch::channel(0);
        let ends = CancellationToken::new();
        let campaign = leader::Settings {
            namespace: settings.namespace.clone(),
            name: LEASE.to_owned(),
            identity: settings.pod.clone(),
            address: settings.address.clone(),
            durations: Durations::default(),
        };
        let owner = Owner::new(client.clone(), settings.owner.as_deref());
        let (leader, campaign) = Leader::start(client.clone(), owner.clone(), campaign, heard, ends.clone());
        let options = push::Options {
            namespace: settings.namespace.clone(),
            account: settings.authz_account.clone(),
            operator_account: settings.account.clone(),
            proofs: Arc::new(KubeProofs::new(client.clone())),
            pace: PACE,
            uses: USES_PACE.min(settings.key_uses_every),
        };
        let push = Push::new(options, leader.epoch(), registry);
        let (metrics, kept) = (PublishMetrics::register(registry), last_good::Metrics::register(registry));
        let troubles = Troubles::new(client.clone(), &settings.namespace, &settings.pod, registry);
        let starting = readiness.wait_for("policies of the cluster");
        let campaign = tokio::spawn(campaign);
        Self { client, owner, settings, metrics, kept, push, leader, campaign, highest, starting, troubles, ends }
    }

    /// What it was told, for the live state: no secret is among it.
    pub fn shown(&self) -> serde_json::Value {
        let Settings { namespace, pod, watch_namespaces, grants, .. } = &self.settings;
        serde_json::json!({ "namespace": namespace, "pod": pod, "watchNamespaces": watch_namespaces, "grants": grants })
    }

    /// Works until `shutdown`; then the lease is given back.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            client,
            owner,
            settings,
            metrics,
            kept,
            push,
            leader,
            mut campaign,
            highest,
            starting,
            troubles,
            ends,
        } = self;
        let (troubles, teller) = troubles;
        let streams = push.clone();
        let work = async {
            let identity = identity(&client, &owner, &settings, &leader).await?;
            let store = Arc::new(KubeStore::new(client.clone(), &settings.namespace, owner.clone()));
            let signing =
                Signing::new(store.clone(), identity.seal(), signing_issuer(&settings), push.clone(), signing::LOOK);
            let (kept, last_good) = LastGoodStore::load(store, identity.seal(), kept).await;
            info!("what was in force before is known");
            let call = Call::new(client.clone());
            let events = Arc::new(KubeEvents::new(client.clone(), &settings.pod));
            let (statuses, writer) =
                Statuses::new(call.clone(), Arc::new(LeaderGate(leader.clone())), events, troubles.clone());
            let reports = Kept { statuses, last_good: kept.clone() };
            let scope = scope(&settings);
            let standings = push.changes();
            let reconciler = Reconciler::new(
                call.clone(),
                &scope,
                last_good,
                push.clone(),
                reports,
                (metrics, troubles.clone()),
                starting,
            );
            let places = Arc::new(KubePlaces::new(client.clone(), &settings.pod, owner));
            let bundles = Bundles::new(places, Arc::new(identity.clone()), &settings.namespace);
            let uses = Keeper::new(Arc::new(KubeStores::new(client.clone())), settings.key_uses_every);
            let ended = tokio::select! {
                served = push::serve(listener, push.clone(), identity.clone(), shutdown.clone()) => {
                    served?;
                    "the listener for data planes"
                }
                what = reconciler.run(call, &scope, standings) => what,
                () = writer.run() => "status",
                () = teller.run() => "events of troubles",
                () = definitions::follow(Call::new(client.clone()), troubles.clone()) => "definitions",
                () = note_leading(leader.is_leading(), &troubles) => "leadership",
                () = kept.run(&leader) => "last good versions",
                () = signing.run(|| leader.guard().is_some_and(|guard| guard.holds())) => "signing keys",
                () = uses.run(&push, &leader) => "last uses of API keys",
                () = bundles.run(&leader) => "certificates of proxies",
                () = push.report_to(&identity, leader.address()) => "reports to the leader",
                () = tell(push.highest_epoch(), &highest) => "leaderships of data planes",
            };
            Err(RunError::Task(ended))
        };
        let ended = tokio::select! {
            biased;
            // The listener ends with the work; those who are connected hear of it, and have as long as the lease takes.
            () = shutdown.cancelled() => {
                streams.end();
                Ok(())
            }
            ended = work => ended,
            _ = &mut campaign => return Err(RunError::Task("election")),
        };
        ends.cancel();
        if timeout(FAREWELL, campaign).await.is_err() {
            warn!("the election did not end in time");
        }
        ended
    }
}

/// The leader makes what is missing; others wait for it.
async fn identity(
    client: &Client,
    owner: &Owner,
    settings: &Settings,
    leader: &Leader,
) -> Result<Identity, IdentityError> {
    let settings = identity::Settings {
        namespace: settings.namespace.clone(),
        pod: settings.pod.clone(),
        account: settings.account.clone(),
        service: settings.service.clone(),
        authz_account: settings.authz_account.clone(),
        authz_service: settings.authz_service.clone(),
        given: settings.given.clone(),
        lives: Lives::default(),
        look: LOOK,
    };
    Identity::start(client.clone(), owner.clone(), settings, leader.is_leading()).await
}

/// The admin listener of our data planes, by their Service.
fn signing_issuer(settings: &Settings) -> String {
    let Settings { namespace, authz_service, signing_issuer, .. } = settings;
    signing_issuer.clone().unwrap_or_else(|| format!("http://{authz_service}.{namespace}.svc:9003"))
}

fn scope(settings: &Settings) -> Scope {
    let options = Options {
        lone_policy_answers_all: false,
        fallback_namespace: Some(settings.namespace.clone()),
        grants: settings.grants.clone(),
        workloads_without_own_keys: true,
        many_replicas: true,
    };
    Scope {
        namespaces: settings.watch_namespaces.clone(),
        values: settings.values_namespaces.clone(),
        options,
        patience: settings.patience,
    }
}

/// Into the metrics.
async fn note_leading(mut leading: watch::Receiver<bool>, troubles: &Troubles) {
    loop {
        troubles.leading(*leading.borrow_and_update());
        if leading.changed().await.is_err() {
            // The election is over, and with it the process.
            std::future::pending::<()>().await;
        }
    }
}

/// From the channel to the election, which is there first.
async fn tell(mut from: watch::Receiver<u64>, to: &watch::Sender<u64>) {
    loop {
        to.send_replace(*from.borrow_and_update());
        if from.changed().await.is_err() {
            return;
        }
    }
}

/// Statuses and last good versions, as the reconciler leaves them.
struct Kept {
    statuses: Statuses,
    last_good: LastGoodStore,
}

impl Reports for Kept {
    fn statuses(&mut self, desired: Vec<Desired>) {
        self.statuses.wish(desired);
    }

    fn hold(&mut self) {
        self.statuses.hold();
    }

    fn last_good(&mut self, last_good: &LastGood) {
        self.last_good.keep(last_good);
    }
}

/// A leader writes once other replicas had the time to tell it what their data planes have in force: until then it would take the silence of
/// those for news. What the leader before it wrote stays meanwhile.
struct LeaderGate(Leader);

impl Gate for LeaderGate {
    fn may_write(&self) -> bool {
        self.0.guard().is_some_and(|guard| guard.holds()) && self.0.is_settled()
    }
}
