//! `gatewright authz` as a process, against an operator of this process: readiness, TLS, a restart alone, the end.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use authz::server::Registry;
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
};
use operator::{
    identity::{Identity, Kept, Lives, ProofError, Proofs, Settings, Store, StoreError, Workload},
    push::{self, PACE, Push},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The API server's part.
#[derive(Default)]
struct Api(Mutex<BTreeMap<String, Kept>>);

#[tonic::async_trait]
impl Store for Api {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        Ok(self.0.lock().await.get(name).cloned())
    }

    async fn write(&self, name: &str, data: BTreeMap<String, Vec<u8>>, _: Option<String>) -> Result<Kept, StoreError> {
        let kept = Kept { data, version: "1".to_owned() };
        self.0.lock().await.insert(name.to_owned(), kept.clone());
        Ok(kept)
    }
}

#[tonic::async_trait]
impl Proofs for Api {
    async fn prove(&self, token: &str) -> Result<Workload, ProofError> {
        if token != "the-token" {
            return Err(ProofError::Refused("it is not valid here"));
        }
        let (namespace, account) = ("gatewright".to_owned(), "gatewright-authz".to_owned());
        Ok(Workload { namespace, account, pod: "authz-0".to_owned() })
    }

    async fn labels(&self, _: &str, _: &str) -> Result<BTreeMap<String, String>, ProofError> {
        Ok(BTreeMap::new())
    }
}

/// The process; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(folder: &Path, operator: SocketAddr, admin: SocketAddr) -> Self {
        let file = |name: &str| folder.join(name).display().to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_gatewright"))
            .args(["authz", "--operator", &format!("https://localhost:{}", operator.port())])
            .args(["--operator-ca", &file("ca.crt"), "--token-file", &file("token")])
            .args(["--authz-address", "0.0.0.0:0", "--admin-address", &admin.to_string()])
            .args(["--data-dir", &file("data"), "--seal-key-file", &file("seal")])
            .args(["--addresses-file", &file("addresses.json"), "--log-format", "json"])
            .stderr(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Asks it to end, as a node does.
    fn end(&mut self) -> bool {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.0.wait().unwrap().success()
    }
}

/// The admin listener's answer: status and body, or nothing yet.
async fn ready(admin: SocketAddr) -> Option<(bool, String)> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some((answer.starts_with("HTTP/1.1 200"), answer))
}

async fn until_ready(admin: SocketAddr, expected: impl Fn(bool, &str) -> bool, log: &Path) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some((ready, body)) = ready(admin).await
            && expected(ready, &body)
        {
            return;
        }
        assert!(Instant::now() < end, "not in time; {}", fs::read_to_string(log).unwrap());
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_with_a_state_and_a_certificate_and_restarts_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let api = Arc::new(Api::default());
    let settings = Settings {
        namespace: "gatewright".to_owned(),
        pod: "operator-0".to_owned(),
        account: "gatewright-operator".to_owned(),
        service: "localhost".to_owned(),
        authz_account: "gatewright-authz".to_owned(),
        authz_service: "gatewright-authz".to_owned(),
        given: None,
        lives: Lives::default(),
        look: Duration::from_secs(30),
    };
    let (_leader, leads) = watch::channel(true);
    let identity = Identity::start_with(api.clone(), api.clone(), settings, leads).await.unwrap();
    let options = push::Options {
        namespace: "gatewright".to_owned(),
        account: "gatewright-authz".to_owned(),
        operator_account: "gatewright-operator".to_owned(),
        proofs: api,
        pace: PACE,
        uses: PACE,
    };
    let (_epoch, epochs) = watch::channel(1);
    let push = Push::new(options, epochs, &mut Registry::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let operator = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(push::serve(listener, push.clone(), identity.clone(), shutdown.clone()));

    let log = write("log", b"");
    write("token", b"the-token\n");
    write("seal", &[9; 32]);
    let admin = free().await;
    let mut process = Process::start(folder.path(), operator, admin);
    // The ConfigMap comes after the pod, and the policies after that.
    let missing = |ready: bool, body: &str| !ready && body.contains("operator state") && body.contains("certificate");
    until_ready(admin, missing, &log).await;
    write("ca.crt", identity.ca_bundle().borrow().as_bytes());
    let mut objects = Objects::default();
    objects.read(
        "cluster",
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: p, namespace: a}\nspec: {externalHostnames: [x.test], requireAuth: false}",
    );
    let pushed = Compiler::new(Options::default(), LastGood::default()).compile(&objects).pushed;
    push.publish(pushed, Arc::new(objects));
    until_ready(admin, |ready, _| ready, &log).await;
    let addresses = fs::read_to_string(folder.path().join("addresses.json")).unwrap();
    assert!(!addresses.contains("broker"), "{addresses}");
    // At most a second after the change.
    let (copy, end) = (folder.path().join("data/state.sealed"), Instant::now() + Duration::from_secs(10));
    while !copy.exists() {
        assert!(Instant::now() < end, "no copy; {}", fs::read_to_string(&log).unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(process.end(), "{}", fs::read_to_string(&log).unwrap());

    // The one that used token and key; the next process writes its log anew.
    let used = fs::read_to_string(&log).unwrap();
    assert!(used.contains("connected to the operator"), "{used}");
    assert!(!used.contains("the-token") && !used.contains("PRIVATE KEY"));

    shutdown.cancel();
    served.await.unwrap().unwrap();
    let mut process = Process::start(folder.path(), operator, admin);
    until_ready(admin, |ready, _| ready, &log).await;
    assert!(process.end());
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("the state of before the restart is in force"), "{log}");
    assert!(!log.contains("the-token") && !log.contains("PRIVATE KEY"));
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, b"short").unwrap();
    let key = key.display().to_string();
    for (args, code, word) in [
        (vec!["authz"], 2, "--operator"),
        (vec!["authz", "--operator", "http://operator:9004"], 2, "https"),
        (vec!["authz", "--operator", "https://operator:9004/path"], 2, "https"),
        (vec!["authz", "--operator", "https://operator:9004", "--seal-key-file", &key], 1, "32 bytes"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_gatewright")).args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }
}
