//! A real etcd and a real kube-apiserver on free ports, in user space: what a cluster takes and refuses.
//!
//! Owns: starting and ending the two, and a client that is their administrator. There is no controller and no node:
//! nothing runs, nothing is collected. `KUBEBUILDER_ASSETS` names another folder with both programs.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aws_lc_rs::{
    encoding::AsDer,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use kube::{
    Client, Config,
    api::{Api, DynamicObject, Patch, PatchParams},
    config::AuthInfo,
    core::{ApiResource, GroupVersionKind, TypeMeta},
    discovery::{self, Scope},
};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    PeerError,
    process::Process,
    tools,
    wait::{self, LONG},
};

const HOST: &str = "127.0.0.1";
const TOKEN: &str = "administrator-of-the-test";
/// Ports are free when they are chosen, and may be another's when they are bound.
const ATTEMPTS: usize = 3;

/// The running pair. Killed when dropped, API server first: it hangs when etcd goes before it.
#[derive(Debug)]
pub struct Cluster {
    address: String,
    authority: Vec<u8>,
    _apiserver: Process,
    _etcd: Process,
    _home: TempDir,
}

/// The folder with etcd, kube-apiserver, kubectl and Helm.
pub fn programs() -> Result<PathBuf, PeerError> {
    let program = tools::installed("kubernetes")?;
    Ok(program.parent().map(Path::to_path_buf).unwrap_or_default())
}

impl Cluster {
    /// Starts both and waits until the API server is ready.
    pub async fn start() -> Result<Self, PeerError> {
        let mut attempt = 1;
        loop {
            match Self::try_start().await {
                Err(PeerError::Ended { output, .. }) if attempt < ATTEMPTS && output.contains("address already in use") => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_start() -> Result<Self, PeerError> {
        let programs = match env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) => folder.into(),
            None => programs()?,
        };
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let [client, peer, secure] = free_ports()?;
        let mut etcd = start_etcd(&programs, home.path(), client, peer)?;
        write_service_account_keys(home.path())?;
        let mut apiserver = start_apiserver(&programs, home.path(), client, secure)?;
        let address = format!("https://{HOST}:{secure}");
        let certificate = home.path().join("certificates/apiserver.crt");
        let authority = wait::until("kube-apiserver to be ready", LONG * 2, || {
            let alive = etcd.must_run().and_then(|()| apiserver.must_run());
            let (address, certificate) = (&address, &certificate);
            async move {
                match alive {
                    Err(error) => Some(Err(error)),
                    Ok(()) => ready(address, certificate).await.map(Ok),
                }
            }
        })
        .await??;
        Ok(Self { address, authority, _apiserver: apiserver, _etcd: etcd, _home: home })
    }

    /// A client that may do everything.
    pub fn client(&self) -> Result<Client, PeerError> {
        self.client_as(None)
    }

    /// A client of somebody else, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub fn client_as(&self, user: Option<&str>) -> Result<Client, PeerError> {
        let unreadable = |error: &dyn ToString| PeerError::unreadable("the API server's address or certificate", &error.to_string());
        let mut config = Config::new(self.address.parse().map_err(|error: http::uri::InvalidUri| unreadable(&error))?);
        config.root_cert = Some(certificates(&self.authority));
        config.auth_info = AuthInfo {
            token: Some(SecretString::from(TOKEN.to_owned())),
            impersonate: user.map(str::to_owned),
            ..AuthInfo::default()
        };
        Client::try_from(config).map_err(|error| unreadable(&error))
    }

    /// The API of an object as documents write it, in its own namespace.
    pub async fn api(client: &Client, document: &Value) -> Result<(Api<DynamicObject>, DynamicObject), kube::Error> {
        let object: DynamicObject = serde_json::from_value(document.clone()).map_err(kube::Error::SerdeError)?;
        let types = object.types.clone().unwrap_or_default();
        let (resource, scope) = resource(client, &types).await?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        let api = match scope {
            Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
            Scope::Cluster => Api::all_with(client.clone(), &resource),
        };
        Ok((api, object))
    }

    /// Creates an object, refusing what the schema does not know, as `kubectl apply` does.
    pub async fn create(client: &Client, document: &Value, dry_run: bool) -> Result<DynamicObject, kube::Error> {
        let (api, object) = Self::api(client, document).await?;
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        // kube's own `create` cannot ask for strict validation.
        let request = http::Request::post(format!("{}?fieldManager=tests&fieldValidation=Strict{dry_run}", api.resource_url()))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?)
            .map_err(kube::Error::HttpError)?;
        client.request(request).await
    }

    /// Applies an object on the server's side, whoever else owns its fields.
    pub async fn apply(client: &Client, document: &Value, dry_run: bool) -> Result<DynamicObject, kube::Error> {
        let (api, object) = Self::api(client, document).await?;
        let parameters = PatchParams { dry_run, ..PatchParams::apply("tests").force().validation_strict() };
        let name = object.metadata.name.clone().unwrap_or_default();
        api.patch(&name, &parameters, &Patch::Apply(&object)).await
    }
}

async fn resource(client: &Client, types: &TypeMeta) -> Result<(ApiResource, Scope), kube::Error> {
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let (resource, capabilities) =
        discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, &types.kind)).await?;
    Ok((resource, capabilities.scope))
}

fn free_ports<const N: usize>() -> Result<[u16; N], PeerError> {
    // All are held until all are chosen, so that they differ.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((HOST, 0)).map_err(PeerError::io("a free port"))?;
        *port = listener.local_addr().map_err(PeerError::io("a free port"))?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn start_etcd(programs: &Path, home: &Path, client: u16, peer: u16) -> Result<Process, PeerError> {
    let (client, peer) = (format!("http://{HOST}:{client}"), format!("http://{HOST}:{peer}"));
    let mut command = Command::new(programs.join("etcd"));
    command.args(["--name", "test", "--log-level", "warn", "--unsafe-no-fsync", "--data-dir"]).arg(home.join("etcd"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("test={peer}")]).stdin(Stdio::null());
    Process::start("etcd", &mut command, home.join("etcd.log"))
}

fn start_apiserver(programs: &Path, home: &Path, etcd: u16, port: u16) -> Result<Process, PeerError> {
    let tokens = home.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},admin,admin,system:masters\n")).map_err(PeerError::io("the token file"))?;
    let mut command = Command::new(programs.join("kube-apiserver"));
    command.arg(format!("--etcd-servers=http://{HOST}:{etcd}")).arg(format!("--secure-port={port}"));
    command.args([&format!("--bind-address={HOST}"), &format!("--advertise-address={HOST}")]);
    // No node and no controller: endpoints would be refused on loopback, and nobody makes ServiceAccounts.
    command.args(["--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount"]);
    command.args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"]);
    command.args(["--service-account-issuer=https://kubernetes.default.svc", "--v=1"]);
    command.arg(format!("--cert-dir={}", home.join("certificates").display()));
    command.arg(format!("--token-auth-file={}", tokens.display()));
    command.arg(format!("--service-account-key-file={}", home.join("accounts.pub").display()));
    command.arg(format!("--service-account-signing-key-file={}", home.join("accounts.key").display()));
    command.stdin(Stdio::null());
    Process::start("kube-apiserver", &mut command, home.join("apiserver.log"))
}

fn write_service_account_keys(home: &Path) -> Result<(), PeerError> {
    let broken = |what: &str| PeerError::unreadable("a key for ServiceAccount tokens", &what);
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| broken("it cannot be generated"))?;
    let private = pair.to_pkcs8v1().map_err(|_| broken("it cannot be written"))?;
    let public = pair.public_key().as_der().map_err(|_| broken("its public half cannot be written"))?;
    let write = |name: &str, label: &str, der: &[u8]| {
        let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der));
        fs::write(home.join(name), text).map_err(PeerError::io(name))
    };
    write("accounts.key", "PRIVATE KEY", private.as_ref())?;
    write("accounts.pub", "PUBLIC KEY", public.as_ref())
}

/// Its certificates, once it serves with them and says that it is ready.
async fn ready(address: &str, certificate: &Path) -> Option<Vec<u8>> {
    let pem = fs::read(certificate).ok()?;
    let mut client = reqwest::Client::builder().no_proxy();
    for one in reqwest::Certificate::from_pem_bundle(&pem).ok()? {
        client = client.add_root_certificate(one);
    }
    let request = client.build().ok()?.get(format!("{address}/readyz")).bearer_auth(TOKEN);
    request.send().await.ok()?.error_for_status().ok()?;
    Some(pem)
}

/// The bytes inside the PEM blocks.
fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .filter_map(|block| {
            let body: String = block.split("-----END").next()?.split_whitespace().collect();
            BASE64.decode(body).ok()
        })
        .collect()
}
