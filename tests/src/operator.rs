//! The product in a cluster without nodes: `gatewright operator` before a real API server, and `gatewright authz` as a pod that
//! exists on paper. Each operator has a fault proxy of its own.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    PeerError,
    apiserver::{ApiServer, OPERATOR},
    client::plain_client,
    fault_proxy::FaultProxy,
    grpc,
    process::{Finished, Process},
    product::binary,
    wait::{self, LONG},
};

/// The operator's own namespace.
pub const HOME: &str = "gatewright";
/// The namespace of the policies.
pub const APPS: &str = "apps";

/// What the operator may do: API group, resource, verbs. The charts grant the same.
pub const PERMISSIONS: [(&str, &str, &[&str]); 12] = [
    ("gatewright.dev", "authpolicies", &["list", "watch"]),
    ("gatewright.dev", "datasources", &["list", "watch"]),
    ("gatewright.dev", "authpolicies/status", &["patch"]),
    ("gatewright.dev", "datasources/status", &["patch"]),
    ("", "secrets", &["get", "list", "watch", "create", "patch", "update"]),
    ("", "configmaps", &["get", "list", "watch", "create", "patch"]),
    ("", "namespaces", &["list"]),
    ("", "pods", &["get"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
    ("events.k8s.io", "events", &["create", "patch"]),
    ("authentication.k8s.io", "tokenreviews", &["create"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["get"]),
];

/// A running operator. Killed when dropped.
pub struct Operator {
    /// Everything between it and the API server.
    pub proxy: FaultProxy,
    pod: String,
    ports: (u16, u16),
    kubeconfig: PathBuf,
    owner: String,
    flags: Vec<String>,
    process: Option<Process>,
    home: TempDir,
}

/// A running data plane. Killed when dropped.
pub struct DataPlane {
    ports: (u16, u16),
    process: Option<Process>,
    operator: u16,
    home: TempDir,
}

/// Namespaces, permissions and accounts, as the charts would make them.
pub async fn install(api: &ApiServer) -> Result<(), PeerError> {
    for name in [HOME, APPS] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.create("/api/v1/namespaces", &namespace).await?;
    }
    permit(api, |_, _, _| true).await?;
    let subject = json!({"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"kind": "ClusterRole", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "operator"},
        "subjects": [subject], "roleRef": role});
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gatewright-authz"}});
    api.create(&format!("/api/v1/namespaces/{HOME}/serviceaccounts"), &account).await?;
    Ok(())
}

/// Lets the operator do those of [`PERMISSIONS`] that `keep` (group, resource, verb) holds for.
pub async fn permit(api: &ApiServer, keep: impl Fn(&str, &str, &str) -> bool) -> Result<(), PeerError> {
    let rules: Vec<Value> = PERMISSIONS
        .iter()
        .map(|(group, resource, verbs)| {
            let verbs: Vec<&&str> = verbs.iter().filter(|verb| keep(group, resource, verb)).collect();
            json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
        })
        .filter(|rule| rule["verbs"].as_array().is_some_and(|verbs| !verbs.is_empty()))
        .collect();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "operator"}, "rules": rules});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/operator?fieldManager=tests&force=true";
    api.apply_text(path, &role.to_string()).await.map(|_| ())
}

// === impl Operator ===

impl Operator {
    /// Starts one; it need not be ready.
    pub async fn start(api: &ApiServer, pod: &str) -> Result<Self, PeerError> {
        let mut operator = Self::prepare(api, pod).await?;
        operator.launch()?;
        Ok(operator)
    }

    /// Everything but the process.
    pub async fn prepare(api: &ApiServer, pod: &str) -> Result<Self, PeerError> {
        Self::prepare_as(api, pod, OPERATOR, "operator").await
    }

    /// The same with another token, and another ClusterRole that everything belongs to.
    pub async fn prepare_as(api: &ApiServer, pod: &str, token: &str, owner: &str) -> Result<Self, PeerError> {
        let proxy = FaultProxy::start(&api.url).await?;
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let kubeconfig = api.kubeconfig(pod, &proxy.url(), token)?;
        Ok(Self {
            proxy,
            pod: pod.to_owned(),
            ports: free_ports()?,
            kubeconfig,
            owner: owner.to_owned(),
            flags: Vec::new(),
            process: None,
            home,
        })
    }

    /// With more flags, from the next start on.
    pub fn flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    /// Starts the process.
    pub fn launch(&mut self) -> Result<(), PeerError> {
        let mut command = Command::new(binary()?);
        command.args(["operator", "--namespace", HOME, "--service-name", "localhost", "--key-use-interval", "1s"]);
        command.args(["--owner-cluster-role", &self.owner]).args(&self.flags);
        command.args(["--xds-address", &format!("127.0.0.1:{}", self.ports.0)]);
        command.args(["--admin-address", &format!("127.0.0.1:{}", self.ports.1)]);
        command.env("KUBECONFIG", &self.kubeconfig).env("POD_NAME", &self.pod).stdin(Stdio::null());
        self.process = Some(Process::start("gatewright operator", &mut command, self.home.path().join("log"))?);
        Ok(())
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal by name.
    pub fn signal(&mut self, name: &str) -> Result<(), PeerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(name))
    }

    /// Sends SIGTERM and waits for its end.
    pub async fn stop(&mut self) -> Result<Finished, PeerError> {
        self.signal("TERM")?;
        match self.process.as_mut() {
            Some(process) => process.finish().await,
            None => Err(PeerError::unreadable("the operator", &"it was not started")),
        }
    }

    /// Fails if it has ended.
    pub fn must_run(&mut self) -> Result<(), PeerError> {
        self.process.as_mut().map_or(Ok(()), Process::must_run)
    }

    /// Waits until it says that it is ready; fails if it ends instead.
    pub async fn until_ready(&mut self) -> Result<(), PeerError> {
        let (port, process) = (self.ports.1, &mut self.process);
        let ready = wait::until("the operator to be ready", LONG, || {
            let alive = process.as_mut().map_or(Ok(()), Process::must_run);
            async move {
                match alive {
                    Err(error) => Some(Err(error)),
                    Ok(()) => (admin(port, "/readyz").await.0 == 200).then_some(Ok(())),
                }
            }
        });
        match ready.await {
            Ok(result) => result,
            Err(late) => {
                let (_, missing) = admin(port, "/readyz").await;
                Err(PeerError::unreadable(format!("{late}; missing: {missing}"), &self.output()))
            }
        }
    }

    /// Status and body of a path of its admin listener; status 0 when nobody answers.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        admin(self.ports.1, path).await
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

// === impl DataPlane ===

impl DataPlane {
    /// Starts one against that operator; it need not be ready. `pod` must be new.
    pub async fn start(api: &ApiServer, operator: &Operator, pod: &str) -> Result<Self, PeerError> {
        Self::start_with(api, operator, pod, &[]).await
    }

    /// The same with more flags.
    pub async fn start_with(
        api: &ApiServer,
        operator: &Operator,
        pod: &str,
        flags: &[&str],
    ) -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let token = token(api, pod).await?;
        std::fs::write(home.path().join("token"), token).map_err(PeerError::io("token"))?;
        let kube_token = api.account_token(HOME, "gatewright-authz", &[], &Value::Null).await?;
        std::fs::write(home.path().join("kube-token"), kube_token).map_err(PeerError::io("kube-token"))?;
        let mut plane = Self { ports: free_ports()?, process: None, operator: operator.ports.0, home };
        plane.take_authorities(api).await?;
        plane.launch(pod, api, flags)?;
        Ok(plane)
    }

    /// The CA certificates, as the kubelet would mount them.
    async fn take_authorities(&self, api: &ApiServer) -> Result<(), PeerError> {
        let path = format!("/api/v1/namespaces/{HOME}/configmaps/gatewright-ca");
        let bundle = wait::until("ConfigMap gatewright-ca", LONG, || async {
            api.get(&path).await.ok()?.body["data"]["ca.crt"].as_str().map(str::to_owned)
        })
        .await?;
        std::fs::write(self.home.path().join("ca.crt"), bundle).map_err(PeerError::io("ca.crt"))
    }

    fn launch(&mut self, pod: &str, api: &ApiServer, flags: &[&str]) -> Result<(), PeerError> {
        let mut command = Command::new(binary()?);
        command.args(["authz", "--operator", &format!("https://localhost:{}", self.operator), "--pod-name", pod]);
        command.args(["--key-use-interval", "1s", "--allow-network=127.0.0.0/8"]);
        command.arg("--operator-ca").arg(self.home.path().join("ca.crt"));
        command.arg("--token-file").arg(self.home.path().join("token"));
        command.args(["--kube-api-server", &api.url, "--kube-ca-file"]).arg(api.ca_file());
        command.arg("--kube-token-file").arg(self.home.path().join("kube-token"));
        command.arg("--data-dir").arg(self.home.path().join("data"));
        command.args(["--authz-address", &format!("127.0.0.1:{}", self.ports.0)]);
        command.args(["--admin-address", &format!("127.0.0.1:{}", self.ports.1)]);
        command.args(flags).stdin(Stdio::null());
        self.process = Some(Process::start("gatewright authz", &mut command, self.home.path().join("log"))?);
        Ok(())
    }

    /// How a `GET /` of this host is answered: 200 if it may pass, else the refusal's status; 0 when nobody answers.
    pub async fn answer(&self, host: &str) -> u16 {
        self.answer_with(host, &[]).await
    }

    /// The same with headers.
    pub async fn answer_with(&self, host: &str, headers: &[(&str, &str)]) -> u16 {
        let address = format!("127.0.0.1:{}", self.ports.0);
        match grpc::send(&address, grpc::check(host, headers)).await {
            Ok(Ok(response)) if grpc::allows(&response) => 200,
            Ok(Ok(response)) => refusal(&response),
            _ => 0,
        }
    }

    /// Waits until a host is answered so.
    pub async fn until_answer(&self, host: &str, status: u16) -> Result<(), PeerError> {
        let what = format!("{status} for {host}");
        let waited = wait::until(&what, LONG, || async { (self.answer(host).await == status).then_some(()) });
        match waited.await {
            Ok(()) => Ok(()),
            Err(late) => {
                Err(PeerError::unreadable(format!("{late}, it is {}", self.answer(host).await), &self.output()))
            }
        }
    }

    /// A header that the upstream gets with a `GET /` of this host; none if the request may not pass.
    pub async fn upstream_header(&self, host: &str, headers: &[(&str, &str)], name: &str) -> Option<String> {
        use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
        let address = format!("127.0.0.1:{}", self.ports.0);
        let response = grpc::send(&address, grpc::check(host, headers)).await.ok()?.ok()?;
        let Some(HttpResponse::OkResponse(allowed)) = response.http_response else { return None };
        let mut set = allowed.headers.into_iter().filter_map(|option| option.header);
        let header = set.find(|header| header.key == name)?;
        if header.raw_value.is_empty() { Some(header.value) } else { String::from_utf8(header.raw_value).ok() }
    }

    /// Status and body of a path of its admin listener; status 0 when nobody answers.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        admin(self.ports.1, path).await
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        admin(self.ports.1, "/readyz").await.0 == 200
    }

    /// The folder of its state.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

fn refusal(response: &envoy_types::pb::envoy::service::auth::v3::CheckResponse) -> u16 {
    use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => {
            denied.status.as_ref().and_then(|status| u16::try_from(status.code).ok()).unwrap_or_default()
        }
        _ => 0,
    }
}

/// A token of the data plane's account, bound to a pod of this name, which is made for it.
async fn token(api: &ApiServer, pod: &str) -> Result<String, PeerError> {
    let container = json!({"name": "authz", "image": "localhost/gatewright"});
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "labels": {"app": "authz"}},
        "spec": {"serviceAccountName": "gatewright-authz", "containers": [container]}});
    let made = api.create(&format!("/api/v1/namespaces/{HOME}/pods"), &manifest).await?;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": made.body["metadata"]["uid"]});
    api.account_token(HOME, "gatewright-authz", &["gatewright-operator"], &bound).await
}

async fn admin(port: u16, path: &str) -> (u16, String) {
    let Ok(client) = plain_client() else { return (0, String::new()) };
    match client.get(format!("http://127.0.0.1:{port}{path}")).send().await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(_) => (0, String::new()),
    }
}

/// Two ports that were free a moment ago. Held together, so that they differ.
fn free_ports() -> Result<(u16, u16), PeerError> {
    let one = || TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a free port"));
    let port = |listener: &TcpListener| listener.local_addr().map(|at| at.port()).map_err(PeerError::io("a free port"));
    let (a, b) = (one()?, one()?);
    Ok((port(&a)?, port(&b)?))
}
