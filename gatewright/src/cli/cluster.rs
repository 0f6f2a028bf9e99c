//! Flags about the API server that signs and judges ServiceAccount tokens.

use std::{path::PathBuf, sync::Arc};

use authz::cluster::Cluster;
use clap::Args;
use url::Url;

/// The API server, for authenticators of kind `serviceAccount`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The API server whose ServiceAccount tokens policies may accept, as https://HOST:PORT [default: that of the pod].
    #[arg(long, value_name = "URL", value_parser = server, env = "GATEWRIGHT_KUBE_API_SERVER")]
    pub kube_api_server: Option<Url>,
    /// Its CA certificates. The file is read for each request.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")]
    pub kube_ca_file: PathBuf,
    /// A token that it accepts from us. The file is read for each request.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token")]
    pub kube_token_file: PathBuf,
}

// === impl ClusterArgs ===

impl ClusterArgs {
    /// The one that was named, else that of the pod we are in.
    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        let server = self.kube_api_server.clone().or_else(of_pod)?;
        Some(Cluster::new(server, self.kube_ca_file.clone(), self.kube_token_file.clone()))
    }
}

/// As kubelet tells every pod.
fn of_pod() -> Option<Url> {
    let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (host, port) = (told("KUBERNETES_SERVICE_HOST")?, told("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Url::parse(&format!("https://{host}:{port}")).ok()
}

fn server(text: &str) -> Result<Url, String> {
    super::https(text)?;
    Url::parse(text).map_err(|_| "write it as https://HOST:PORT".to_owned())
}
