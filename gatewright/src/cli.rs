//! Flags and their help. The only place that names environment variables.

mod cluster;
mod network;
mod telemetry;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use authz::server::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use cluster::ClusterArgs;
pub use network::NetworkArgs;
pub use telemetry::{AuditSubject, TelemetryArgs};

const EXAMPLES: &str = "\
Examples:
  gatewright check policies/                        verdicts, as the status conditions of a cluster would say them
  gatewright run --config policies/                 serve Envoy's ext_authz on 127.0.0.1:9001
  gatewright explain --config policies/ --host api.example.com --path /v1/x \\
      --header \"authorization: Bearer $TOKEN\"       why this request is allowed or refused
  gatewright envoy-config --config policies/ --upstream 127.0.0.1:8080 > envoy.yaml
  gatewright crds | kubectl apply --server-side -f -

Exit codes: 0 done or allowed, 1 refused or failed, 2 usage or unreadable files.";

/// Decides for Envoy which requests may pass, from AuthPolicy documents, and tells the service behind who is calling.
#[derive(Debug, Parser)]
#[command(name = "gatewright", version, after_help = EXAMPLES, arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve ext_authz from files, without Kubernetes. Edits are in force within a second.
    Run(RunArgs),
    /// Serve ext_authz in a cluster, as an operator says. Policies in force survive a restart without the operator.
    Authz(AuthzArgs),
    /// Hand the policies of a cluster to every `authz`, and say in their status what is in force.
    Operator(OperatorArgs),
    /// Compile documents and print one verdict per object. Exit 1 if any is not accepted.
    Check(CheckArgs),
    /// Decide one request step by step, by the same function that `run` serves. Exit 1 if it is refused.
    Explain(ExplainArgs),
    /// Print a complete, hardened Envoy bootstrap for a policy set.
    EnvoyConfig(EnvoyConfigArgs),
    /// Send one check to an authz server, as a proxy does, and compare the answer. Exit 1 if it is another.
    Probe(crate::probe::ProbeArgs),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Mint, hash, list and revoke API keys. Talks to no cluster: it reads and writes Secret documents in files.
    #[command(subcommand)]
    Apikey(crate::apikey::Action),
    /// Print a completion script: `source <(gatewright completions bash)`.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Where documents are.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Files or folders with AuthPolicy, Secret and ConfigMap documents (YAML or JSON, several a file). Repeatable.
    #[arg(long = "config", value_name = "PATH", required = true, num_args = 1..)]
    pub paths: Vec<PathBuf>,
}

/// `gatewright run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Documents.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where Envoy asks: IP:PORT or unix:PATH. Port 0 is chosen by the system.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001", env = "GATEWRIGHT_AUTHZ_ADDRESS")]
    pub authz_address: Address,
    /// Where upstreams find the public halves of our signing keys: /.well-known/jwks.json and /.well-known/openid-configuration.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9002", env = "GATEWRIGHT_BROKER_ADDRESS")]
    pub broker_address: SocketAddr,
    /// The iss of tokens that we sign with keys of our own, and the URL under which upstreams reach the broker listener [default:
    /// http://BROKER-ADDRESS].
    #[arg(long, value_name = "URL", env = "GATEWRIGHT_SIGNING_ISSUER")]
    pub signing_issuer: Option<String>,
    /// Health, metrics and the live state.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9003", env = "GATEWRIGHT_ADMIN_ADDRESS")]
    pub admin_address: SocketAddr,
    /// Where last good versions and keys survive a restart [default: $XDG_STATE_HOME/gatewright or ~/.local/state/gatewright].
    #[arg(long, value_name = "DIR", env = "GATEWRIGHT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What every serving process takes.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// Write the bound addresses here as JSON once ready.
    #[arg(long, value_name = "PATH")]
    pub addresses_file: Option<PathBuf>,
    /// Networks.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// The API server.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How long readiness waits for the keys of every issuer, such as 5s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub startup_key_timeout: Duration,
    /// How long keys stay in force after they should have been refreshed, while their issuer cannot be reached.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub max_stale_keys: Duration,
    /// Longest time a check may wait. Keep it under the proxy's own timeout (Envoy: 200ms).
    #[arg(long, value_name = "DURATION", default_value = "150ms", value_parser = duration)]
    pub check_timeout: Duration,
    /// Checks under way at once; one more is refused with 503.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_checks: u32,
    /// Memory for verified tokens, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub token_cache: u32,
    /// Threads that decide [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: Option<u16>,
    /// How often the last use of API keys is told to the operator or, without one, written to the data folder.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = period)]
    pub key_use_interval: Duration,
    /// How long checks under way may take to finish after SIGTERM.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Log filter, such as `debug` or `authz=debug,info`. `PUT /log-level` changes it while running.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "GATEWRIGHT_LOG")]
    pub log_level: String,
    /// Log format [default: text on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORMAT", env = "GATEWRIGHT_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Traces and the audit log.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// `gatewright authz`.
#[derive(Debug, Args)]
pub struct AuthzArgs {
    /// The operator, as https://HOST:PORT.
    #[arg(long, value_name = "URL", value_parser = https, env = "GATEWRIGHT_OPERATOR")]
    pub operator: String,
    /// The operator's CA certificates (ConfigMap gatewright-ca). The file may come later; until then nobody is believed.
    #[arg(long, value_name = "FILE", default_value = "/etc/gatewright/ca/ca.crt")]
    pub operator_ca: PathBuf,
    /// A ServiceAccount token of audience `gatewright-operator`, projected into the pod.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/gatewright/token")]
    pub token_file: PathBuf,
    /// Where Envoy asks: IP:PORT or unix:PATH. TLS, but on loopback and on Unix sockets.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9001", env = "GATEWRIGHT_AUTHZ_ADDRESS")]
    pub authz_address: Address,
    /// Health, metrics and the live state.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9003", env = "GATEWRIGHT_ADMIN_ADDRESS")]
    pub admin_address: SocketAddr,
    /// Where policies in force, keys and the certificate survive a restart.
    #[arg(long, value_name = "DIR", env = "GATEWRIGHT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// 32 bytes that seal what is in the data folder (Secret gatewright-seal). Without it only public keys are kept.
    #[arg(long, value_name = "FILE")]
    pub seal_key_file: Option<PathBuf>,
    /// The name of this pod.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "authz")]
    pub pod_name: String,
    /// The process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// `gatewright operator`.
#[derive(Debug, Args)]
pub struct OperatorArgs {
    /// The operator's own namespace [default: the pod's].
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespaces whose policies are looked after [default: all of them].
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", num_args = 1.., value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Namespaces whose Secrets and ConfigMaps may be watched [default: those of policies]. What policies name elsewhere is read every
    /// 30 s.
    #[arg(long = "values-namespace", value_name = "NAMESPACE", num_args = 1.., value_delimiter = ',')]
    pub values_namespaces: Vec<String>,
    /// The Secret of the operator's namespace that holds the CA to sign with, as cert-manager keeps it: tls.crt, a CA, and tls.key
    /// [default: the operator makes a CA of its own].
    #[arg(long, value_name = "NAME")]
    pub tls_secret: Option<String>,
    /// The ClusterRole of this installation that everything the operator makes belongs to, so that it goes with it [default: none].
    #[arg(long = "owner-cluster-role", value_name = "NAME")]
    pub owner: Option<String>,
    /// Hosts that policies of a namespace may have, repeatable. Without any, every namespace may have any host.
    #[arg(long = "grant", value_name = "NAMESPACE=HOST", value_parser = grant)]
    pub grants: Vec<(String, crds::hosts::HostPattern)>,
    /// Where data planes connect.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9004", env = "GATEWRIGHT_XDS_ADDRESS")]
    pub xds_address: SocketAddr,
    /// Health, metrics and the live state.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9003", env = "GATEWRIGHT_ADMIN_ADDRESS")]
    pub admin_address: SocketAddr,
    /// The operator's Service: data planes dial NAME.NAMESPACE.svc.
    #[arg(long, value_name = "NAME", default_value = "gatewright-operator")]
    pub service_name: String,
    /// The operator's own ServiceAccount.
    #[arg(long, value_name = "NAME", default_value = "gatewright-operator")]
    pub service_account: String,
    /// The ServiceAccount of the data planes beside the operator.
    #[arg(long, value_name = "NAME", default_value = "gatewright-authz")]
    pub authz_service_account: String,
    /// The Service by which proxies reach those.
    #[arg(long, value_name = "NAME", default_value = "gatewright-authz")]
    pub authz_service_name: String,
    /// The iss of tokens that are signed with keys of our own, and the URL under which upstreams reach the admin listener of the data planes
    /// [default: http://AUTHZ-SERVICE.NAMESPACE.svc:9003].
    #[arg(long, value_name = "URL", env = "GATEWRIGHT_SIGNING_ISSUER")]
    pub signing_issuer: Option<String>,
    /// The name of this pod: no two replicas share one.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "gatewright-operator")]
    pub pod_name: String,
    /// How often the leader writes the last use of API keys into Secrets gatewright-last-used-N beside their records.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = period)]
    pub key_use_interval: Duration,
    /// How long a watch may say nothing before it is given up and everything listed again. API servers say something every minute.
    #[arg(long, value_name = "DURATION", default_value = "150s", value_parser = period)]
    pub watch_silence: Duration,
    /// The address of this pod, at which other replicas reach it while it leads.
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pub pod_ip: Option<std::net::IpAddr>,
    /// Log filter, such as `debug` or `operator=debug,info`. `PUT /log-level` changes it while running.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "GATEWRIGHT_LOG")]
    pub log_level: String,
    /// Log format [default: text on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORMAT", env = "GATEWRIGHT_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `gatewright check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or folders.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Missing Secrets and ConfigMaps are errors too.
    #[arg(long)]
    pub strict: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `gatewright explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Documents.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The host, as in the request.
    #[arg(long, value_name = "HOST")]
    pub host: String,
    /// The method.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// Path and query.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// A request header, repeatable. Its value is never printed.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The scheme that the proxy saw.
    #[arg(long, default_value = "https")]
    pub scheme: String,
    /// The client's address that the proxy reports.
    #[arg(long, value_name = "IP")]
    pub source: Option<std::net::IpAddr>,
    /// The name in a client certificate that the proxy verified, such as spiffe://cluster.local/ns/a/sa/b.
    #[arg(long, value_name = "NAME")]
    pub client_certificate: Option<String>,
    /// The policy that the proxy names, as namespace/name.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The proxy says that the request came from outside.
    #[arg(long)]
    pub external: bool,
    /// Decide as of this time instead of now.
    #[arg(long, value_name = "RFC3339")]
    pub now: Option<jiff::Timestamp>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Networks.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// The API server.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `gatewright envoy-config`.
#[derive(Debug, Args)]
pub struct EnvoyConfigArgs {
    /// Documents.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The application, as HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub upstream: (String, u16),
    /// Where Envoy listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where `gatewright run` listens: IP:PORT or unix:PATH.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub authz: Address,
    /// Where Envoy's own admin listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub envoy_admin: SocketAddr,
}

/// Durations as the documents write them.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    crds::v1alpha1::Duration(text.to_owned()).parse().map_err(|error| error.to_string())
}

/// Where `run` keeps what it has to, unless told otherwise: the XDG base directory for state.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("gatewright"))
}

/// A time after which something is done again: none would be a loop without a pause.
fn period(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("write a time above zero, such as 5m".to_owned()) } else { Ok(time) }
}

fn grant(text: &str) -> Result<(String, crds::hosts::HostPattern), String> {
    let (namespace, host) = text.split_once('=').ok_or("write it as NAMESPACE=HOST")?;
    let host = crds::hosts::HostPattern::parse(host).map_err(|error| error.to_string())?;
    Ok((namespace.to_owned(), host))
}

fn https(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "write it as https://HOST:PORT")?;
    let plain = uri.path() == "/" && uri.query().is_none() && uri.host().is_some();
    if uri.scheme_str() == Some("https") && plain {
        Ok(text.to_owned())
    } else {
        Err("write it as https://HOST:PORT".to_owned())
    }
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    // The text is not repeated: it may be a credential that lost its name.
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("the name is empty or holds a blank".to_owned());
    }
    Ok((name, value.trim().to_owned()))
}

fn host_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("write it as HOST:PORT")?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or("the port is no number between 1 and 65535")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(|char: char| char.is_whitespace() || char == '/') {
        return Err("the host is empty or no host name".to_owned());
    }
    Ok((host.to_owned(), port))
}
