//! Operators and data planes of one machine, and the API server's part in it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use authz::{
    channel::{Channel, Options, Pace},
    jwks::{self, KeyCache},
    seal::KEY_LEN,
    server::{Registry, SnapshotCell},
    signers::OwnKeys,
    uses::Ledger,
};
use crds::{
    compile::{Compiled, Compiler, LastGood},
    documents::Objects,
};
use operator::{
    identity::{Identity, Kept, Lives, ProofError, Proofs, Settings, Store, StoreError, Workload},
    push::{self, Push, Standing},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The API server's part: Secrets, tokens and labels.
#[derive(Default)]
pub(crate) struct Api {
    secrets: Mutex<BTreeMap<String, Kept>>,
    pub(crate) reads: AtomicU64,
    writes: AtomicU64,
    pub(crate) away: AtomicBool,
    pub(crate) labels: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

#[tonic::async_trait]
impl Store for Api {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.answers().map_err(StoreError::Unavailable)?;
        Ok(self.secrets.lock().get(name).cloned())
    }

    async fn write(
        &self,
        name: &str,
        data: BTreeMap<String, Vec<u8>>,
        version: Option<String>,
    ) -> Result<Kept, StoreError> {
        self.answers().map_err(StoreError::Unavailable)?;
        let mut secrets = self.secrets.lock();
        if secrets.get(name).map(|kept| kept.version.clone()) != version {
            return Err(StoreError::Conflict);
        }
        let version = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        let kept = Kept { data, version };
        secrets.insert(name.to_owned(), kept.clone());
        Ok(kept)
    }
}

#[tonic::async_trait]
impl Proofs for Api {
    /// A token of these tests reads `AUDIENCE NAMESPACE ACCOUNT POD`.
    async fn prove(&self, token: &str) -> Result<Workload, ProofError> {
        self.answers().map_err(ProofError::Unavailable)?;
        let [audience, namespace, account, pod] = token.split(' ').collect::<Vec<_>>()[..] else {
            return Err(ProofError::Refused("it is not valid here"));
        };
        if audience != "gatewright-operator" {
            return Err(ProofError::Refused("it is for another audience"));
        }
        Ok(Workload { namespace: namespace.to_owned(), account: account.to_owned(), pod: pod.to_owned() })
    }

    async fn labels(&self, namespace: &str, pod: &str) -> Result<BTreeMap<String, String>, ProofError> {
        self.answers().map_err(ProofError::Unavailable)?;
        Ok(self.labels.lock().get(&format!("{namespace}/{pod}")).cloned().unwrap_or_default())
    }
}

impl Api {
    /// How many Secrets there are.
    pub(crate) fn secrets(&self) -> usize {
        self.secrets.lock().len()
    }

    /// What a Secret holds.
    pub(crate) fn secret(&self, name: &str) -> Option<Kept> {
        self.secrets.lock().get(name).cloned()
    }

    /// Somebody writes a Secret of one entry.
    pub(crate) fn put(&self, name: &str, entry: &str, value: Vec<u8>) {
        let version = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        self.secrets.lock().insert(name.to_owned(), Kept { data: [(entry.to_owned(), value)].into(), version });
    }

    /// Somebody empties what a Secret holds.
    pub(crate) fn damage(&self, name: &str) {
        let version = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        if let Some(kept) = self.secrets.lock().get_mut(name) {
            kept.data.values_mut().for_each(Vec::clear);
            kept.version = version;
        }
    }

    /// Somebody deletes a Secret.
    pub(crate) fn forget(&self, name: &str) {
        self.secrets.lock().remove(name);
    }

    fn answers(&self) -> Result<(), String> {
        if self.away.load(Ordering::Relaxed) { Err("no route to host".to_owned()) } else { Ok(()) }
    }
}

/// One replica of the operator.
pub(crate) struct Operator {
    pub(crate) push: Push,
    pub(crate) identity: Identity,
    pub(crate) address: SocketAddr,
    pub(crate) epoch: watch::Sender<u64>,
    pub(crate) leader: watch::Sender<bool>,
    registry: Registry,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

pub(crate) fn settings(lives: Lives) -> Settings {
    Settings {
        namespace: "gatewright".to_owned(),
        pod: "operator-0".to_owned(),
        account: "gatewright-operator".to_owned(),
        service: "localhost".to_owned(),
        authz_account: "gatewright-authz".to_owned(),
        authz_service: "gatewright-authz".to_owned(),
        given: None,
        lives,
        look: Duration::from_millis(20),
    }
}

impl Operator {
    pub(crate) async fn start(api: &Arc<Api>, epoch: u64) -> Self {
        Self::start_with(api, epoch, Lives::default()).await
    }

    pub(crate) async fn start_with(api: &Arc<Api>, epoch: u64, lives: Lives) -> Self {
        Self::start_as(api, epoch, settings(lives)).await
    }

    pub(crate) async fn start_as(api: &Arc<Api>, epoch: u64, settings: Settings) -> Self {
        let (leader, leads) = watch::channel(true);
        let identity = Identity::start_with(api.clone(), api.clone(), settings, leads).await.unwrap();
        let options = push::Options {
            namespace: "gatewright".to_owned(),
            account: "gatewright-authz".to_owned(),
            operator_account: "gatewright-operator".to_owned(),
            proofs: api.clone(),
            pace: push::PACE,
            uses: push::PACE,
        };
        let (epoch, epochs) = watch::channel(epoch);
        let mut registry = Registry::default();
        let push = Push::new(options, epochs, &mut registry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(push::serve(listener, push.clone(), identity.clone(), shutdown.clone()));
        Self { push, identity, address, epoch, leader, registry, shutdown, served }
    }

    /// Compiles these documents and publishes what is in force.
    pub(crate) fn publish(&self, documents: &[String]) {
        let (compiled, objects) = compile(documents);
        self.push.publish(compiled.pushed, Arc::new(objects));
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(&self.registry, name)
    }

    /// Waits until a policy stands so.
    pub(crate) async fn stands(&self, policy: &str, standing: &Standing) {
        until(&format!("{policy} is {standing:?}"), || self.push.standings().policies.get(policy) == Some(standing))
            .await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
    }
}

pub(crate) fn compile(documents: &[String]) -> (Compiled, Objects) {
    let mut objects = Objects::default();
    objects.read("cluster", &documents.join("\n---\n"));
    assert_eq!(objects.unreadable, []);
    let options = crds::compile::Options {
        fallback_namespace: Some("gatewright".to_owned()),
        ..crds::compile::Options::default()
    };
    (Compiler::new(options, LastGood::default()).compile(&objects), objects)
}

/// A policy for one host; `keyed`: it reads the Secret of [`secret`].
pub(crate) fn policy(namespace: &str, name: &str, host: &str, rest: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: {namespace}, generation: 1}}\n\
         spec: {{externalHostnames: [{host}]{rest}}}"
    )
}

/// What a policy may say about its keys.
pub(crate) const KEYED: &str =
    ", authenticators: [{name: app, jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}]";
/// A policy that asks nobody.
pub(crate) const OPEN: &str = ", requireAuth: false";

pub(crate) fn secret(namespace: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: app, namespace: {namespace}}}\nstringData: {{jwt: {value}, other: not-for-anybody}}"
    )
}

/// One data plane.
pub(crate) struct DataPlane {
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) credentials: watch::Receiver<Option<Arc<authz::channel::Credentials>>>,
    pub(crate) in_force: watch::Receiver<bool>,
    pub(crate) rejected: authz::server::Dump,
    pub(crate) signers: Arc<OwnKeys>,
    pub(crate) peers: Arc<authz::server::Peers>,
    pub(crate) registry: Registry,
    pub(crate) uses: Arc<Ledger>,
    ends: CancellationToken,
    run: JoinHandle<()>,
    /// Its files live as long as it does.
    _folder: Arc<tempfile::TempDir>,
}

/// How a data plane is started.
pub(crate) struct Start {
    pub(crate) token: String,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) seal: Option<[u8; KEY_LEN]>,
    pub(crate) authorities: Option<String>,
}

impl Start {
    /// One of the operator's own.
    pub(crate) fn own(pod: &str) -> Self {
        Self::of("gatewright", "gatewright-authz", pod)
    }

    pub(crate) fn of(namespace: &str, account: &str, pod: &str) -> Self {
        Self {
            token: format!("gatewright-operator {namespace} {account} {pod}"),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            seal: Some([3; KEY_LEN]),
            authorities: None,
        }
    }

    /// Starts it towards this operator.
    pub(crate) fn run(&self, operator: &Operator) -> DataPlane {
        self.towards(operator.address, &operator.identity.ca_bundle().borrow())
    }

    /// Starts it towards this address.
    pub(crate) fn towards(&self, address: SocketAddr, authorities: &str) -> DataPlane {
        let file = |name: &str, text: &str| -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let uses = Arc::new(Ledger::default());
        let key_file = self.folder.path().join("seal");
        match self.seal {
            Some(key) => std::fs::write(&key_file, key).unwrap(),
            None => drop(std::fs::remove_file(&key_file)),
        }
        let options = Options {
            operator: format!("https://localhost:{}", address.port()),
            authorities_file: file("ca.crt", self.authorities.as_deref().unwrap_or(authorities)),
            token_file: file("token", &self.token),
            pod: "pod".to_owned(),
            data_dir: Some(self.folder.path().join("data")),
            seal_key_file: Some(key_file),
            uses: uses.clone(),
            pace: Pace {
                retry_first: Duration::from_millis(10),
                retry_last: Duration::from_millis(100),
                report: Duration::from_millis(20),
                uses: Duration::from_millis(20),
                write: Duration::from_millis(10),
                rewrite: Duration::from_millis(20),
                ..Pace::default()
            },
        };
        let mut registry = Registry::default();
        let snapshots = Arc::new(SnapshotCell::default());
        let keys = KeyCache::new(jwks::Options::default(), &mut Registry::default()).unwrap();
        let channel = Channel::new(options, snapshots.clone(), keys, &mut registry);
        let ends = CancellationToken::new();
        let (credentials, in_force, rejected) = (channel.credentials(), channel.in_force(), channel.rejected());
        let signers = channel.signers();
        let peers = channel.peers();
        DataPlane {
            snapshots,
            credentials,
            in_force,
            rejected,
            signers,
            peers,
            registry,
            run: tokio::spawn(channel.run(ends.clone())),
            uses,
            ends,
            _folder: self.folder.clone(),
        }
    }
}

impl DataPlane {
    /// Names of the policies in force, in order; one that is only held has a `!`.
    pub(crate) fn policies(&self) -> Vec<String> {
        let snapshot = self.snapshots.load_full();
        let mut names: Vec<String> = snapshot
            .entries()
            .iter()
            .map(|entry| match entry {
                crds::snapshot::Entry::InForce(one) => one.policy.name.to_string(),
                crds::snapshot::Entry::Held(held) => format!("!{}", held.name),
            })
            .collect();
        names.sort();
        names
    }

    /// The policy that answers for a host.
    pub(crate) fn answers(&self, host: &str) -> Option<String> {
        self.snapshots.load_full().for_host(host).map(|entry| entry.name().to_string())
    }

    pub(crate) async fn holds(&self, policies: &[&str]) {
        until(&format!("the data plane holds {policies:?}"), || self.policies() == policies).await;
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(&self.registry, name)
    }

    pub(crate) async fn stop(self) {
        self.run.abort();
        let _ = self.run.await;
    }

    /// Ends as the process does when it is told to.
    pub(crate) async fn end(self) {
        self.ends.cancel();
        self.run.await.unwrap();
    }
}

fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("the metric is there");
    line.parse().unwrap()
}

/// Waits for a condition, and fails with its name after ten seconds.
pub(crate) async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(Duration::from_secs(10), what, condition).await;
}

/// Waits for a condition, and fails with its name after this time.
pub(crate) async fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
