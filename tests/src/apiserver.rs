//! A real etcd and kube-apiserver in user space, on ports of their own: the API that the operator lives by, without nodes.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aws_lc_rs::{
    encoding::AsDer,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    PeerError,
    process::Process,
    product, tools,
    wait::{self, LONG},
};

/// The token of a person who may do everything.
const ADMIN: &str = "admin";
/// The token of the user `operator`, who may do what a test lets it.
pub const OPERATOR: &str = "operator";

/// Both processes. Killed when dropped, the API server first: it hangs when etcd goes before it.
#[derive(Debug)]
pub struct ApiServer {
    /// `https://host:port`, with a certificate of its own making.
    pub url: String,
    client: reqwest::Client,
    apiserver: Option<Process>,
    etcd: Option<Process>,
    ports: (u16, u16, u16),
    bin: PathBuf,
    home: TempDir,
}

/// What the API server answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts both on an empty store, with our CRDs.
    pub async fn start() -> Result<Self, PeerError> {
        let server = Self::start_without_crds().await?;
        server.apply_crds().await?;
        Ok(server)
    }

    /// Starts both on an empty store.
    pub async fn start_without_crds() -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        // Where other projects' tests look for the two programs.
        let bin = match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) => PathBuf::from(folder),
            None => tools::installed("kubernetes")?.parent().map(PathBuf::from).unwrap_or_default(),
        };
        write_keys(&home)?;
        let ports = free_ports()?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .danger_accept_invalid_certs(true)
            .timeout(LONG)
            .build()
            .map_err(|error| PeerError::unreadable("the client of the API server", &error))?;
        let url = format!("https://127.0.0.1:{}", ports.2);
        let mut server = Self { url, client, apiserver: None, etcd: None, ports, bin, home };
        server.launch_etcd()?;
        server.launch_apiserver()?;
        server.until_ready().await?;
        Ok(server)
    }

    /// Creates the CRDs that the product prints, and waits until they are served.
    pub async fn apply_crds(&self) -> Result<(), PeerError> {
        let printed = product::command(&["crds"]).await?;
        for text in printed.output.split("\n---\n").filter(|text| text.contains("kind: CustomResourceDefinition")) {
            let name = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("name: ").filter(|name| name.contains(".gatewright.dev")));
            let name = name.ok_or_else(|| PeerError::unreadable("gatewright crds", &"a CRD without a name"))?;
            let path =
                format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=tests&force=true");
            self.apply_text(&path, text).await?;
        }
        for kind in ["authpolicies", "datasources"] {
            wait::until(&format!("{kind} to be served"), LONG, || async {
                let reply = self.get(&format!("/apis/gatewright.dev/v1alpha1/{kind}")).await.ok()?;
                (reply.status == 200).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Stops the API server; etcd stays.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts it again on the same port.
    pub async fn start_apiserver(&mut self) -> Result<(), PeerError> {
        self.launch_apiserver()?;
        self.until_ready().await
    }

    /// Stops both for a moment, and takes a copy of everything that is stored, the one before it forgotten.
    pub async fn back_up(&mut self) -> Result<(), PeerError> {
        self.move_store("etcd", "backup").await
    }

    /// Stops both, and starts them with what [`ApiServer::back_up`] copied: versions run backwards.
    pub async fn restore(&mut self) -> Result<(), PeerError> {
        self.move_store("backup", "etcd").await
    }

    async fn move_store(&mut self, from: &str, to: &str) -> Result<(), PeerError> {
        self.apiserver = None;
        self.etcd = None;
        let (from, to) = (self.home.path().join(from), self.home.path().join(to));
        if to.exists() {
            fs::remove_dir_all(&to).map_err(PeerError::io(to.display().to_string()))?;
        }
        copy(&from, &to)?;
        self.launch_etcd()?;
        self.start_apiserver().await
    }

    /// A kubeconfig for `token` by way of `server`.
    pub fn kubeconfig(&self, name: &str, server: &str, token: &str) -> Result<PathBuf, PeerError> {
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]\nusers: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        let path = self.home.path().join(format!("{name}.kubeconfig"));
        fs::write(&path, text).map_err(PeerError::io(name))?;
        Ok(path)
    }

    /// Reads as administrator.
    pub async fn get(&self, path: &str) -> Result<Reply, PeerError> {
        self.call(Method::GET, path, None, Vec::new()).await
    }

    /// Creates as administrator.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Reply, PeerError> {
        self.call(Method::POST, path, Some("application/json"), object.to_string().into_bytes()).await
    }

    /// Deletes as administrator.
    pub async fn delete(&self, path: &str) -> Result<Reply, PeerError> {
        self.call(Method::DELETE, path, None, Vec::new()).await
    }

    /// Changes some fields as administrator.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Reply, PeerError> {
        self.call(Method::PATCH, path, Some("application/merge-patch+json"), patch.to_string().into_bytes()).await
    }

    /// `kubectl apply --server-side` of one document of YAML or JSON; anything but success is an error.
    pub async fn apply_text(&self, path: &str, text: &str) -> Result<Value, PeerError> {
        let reply =
            self.call(Method::PATCH, path, Some("application/apply-patch+yaml"), text.as_bytes().to_vec()).await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply.body);
        }
        Err(PeerError::unreadable(path, &reply.body))
    }

    /// The certificates that its own is signed by.
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("certs/apiserver.crt")
    }

    /// A new token of an account, for these audiences; without any, for the API server. `bound`: the object that it ends with.
    pub async fn account_token(
        &self,
        namespace: &str,
        account: &str,
        audiences: &[&str],
        bound: &Value,
    ) -> Result<String, PeerError> {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "boundObjectRef": bound}});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let reply = self.create(&path, &request).await?;
        let token = reply.body["status"]["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| PeerError::unreadable(path, &reply.body))
    }

    async fn call(&self, method: Method, path: &str, content: Option<&str>, body: Vec<u8>) -> Result<Reply, PeerError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(ADMIN).body(body);
        if let Some(content) = content {
            request = request.header("content-type", content);
        }
        let unreadable = |error: reqwest::Error| PeerError::unreadable(path, &error);
        let answer = request.send().await.map_err(unreadable)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(unreadable)?;
        Ok(Reply { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    async fn until_ready(&mut self) -> Result<(), PeerError> {
        wait::until("the API server to be ready", LONG * 2, || {
            let alive = self.apiserver.as_mut().map_or(Ok(()), Process::must_run);
            let ready = self.client.get(format!("{}/readyz", self.url)).bearer_auth(ADMIN).send();
            async move {
                match alive {
                    Err(error) => Some(Err(error)),
                    Ok(()) => ready.await.ok().filter(|answer| answer.status().is_success()).map(|_| Ok(())),
                }
            }
        })
        .await?
    }

    fn launch_etcd(&mut self) -> Result<(), PeerError> {
        let (client, peer, _) = self.ports;
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(self.bin.join("etcd"));
        command.arg("--data-dir").arg(self.home.path().join("etcd")).stdin(Stdio::null());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync", "--log-level", "error"]);
        self.etcd = Some(Process::start("etcd", &mut command, self.home.path().join("etcd.log"))?);
        Ok(())
    }

    fn launch_apiserver(&mut self) -> Result<(), PeerError> {
        let file = |name: &str| self.home.path().join(name).display().to_string();
        let mut command = Command::new(self.bin.join("kube-apiserver"));
        command.stdin(Stdio::null());
        command.args(["--bind-address", "127.0.0.1", "--secure-port", &self.ports.2.to_string()]);
        command.args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.ports.0), "--cert-dir", &file("certs")]);
        command.args(["--token-auth-file", &file("tokens.csv"), "--authorization-mode", "RBAC"]);
        command.args([
            "--service-account-issuer",
            "https://kubernetes.default.svc",
            "--service-cluster-ip-range",
            "10.0.0.0/24",
        ]);
        command.args([
            "--service-account-key-file",
            &file("sa.pub"),
            "--service-account-signing-key-file",
            &file("sa.key"),
        ]);
        // Nobody makes ServiceAccounts' tokens or nodes here.
        command.args(["--disable-admission-plugins", "ServiceAccount", "--v", "1"]);
        self.apiserver = Some(Process::start("kube-apiserver", &mut command, self.home.path().join("apiserver.log"))?);
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.apiserver = None;
        self.etcd = None;
    }
}

/// A folder with everything in it.
fn copy(from: &Path, to: &Path) -> Result<(), PeerError> {
    let failed = || PeerError::io(format!("a copy of {}", from.display()));
    fs::create_dir_all(to).map_err(failed())?;
    for entry in fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(failed())?;
        }
    }
    Ok(())
}

/// The key that signs tokens of ServiceAccounts, and the tokens of people.
fn write_keys(home: &TempDir) -> Result<(), PeerError> {
    let refused = |_| PeerError::unreadable("the key of ServiceAccounts", &"it cannot be made");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(refused)?;
    let write = |name: &str, label: &str, der: &[u8]| {
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
        fs::write(home.path().join(name), pem).map_err(PeerError::io(name))
    };
    write("sa.key", "PRIVATE KEY", key.to_pkcs8v1().map_err(refused)?.as_ref())?;
    // The API server does not take the public half out of a private key of this form.
    write("sa.pub", "PUBLIC KEY", key.public_key().as_der().map_err(refused)?.as_ref())?;
    let tokens = format!("{ADMIN},admin,1,system:masters\n{OPERATOR},operator,2\n");
    fs::write(home.path().join("tokens.csv"), tokens).map_err(PeerError::io("tokens.csv"))
}

/// Ports that were free a moment ago. Held together, so that they differ.
fn free_ports() -> Result<(u16, u16, u16), PeerError> {
    let one = || TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a free port"));
    let port = |listener: &TcpListener| listener.local_addr().map(|at| at.port()).map_err(PeerError::io("a free port"));
    let (a, b, c) = (one()?, one()?, one()?);
    Ok((port(&a)?, port(&b)?, port(&c)?))
}
