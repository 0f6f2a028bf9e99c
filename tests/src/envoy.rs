//! A real Envoy whose every request is checked by the product: the two listeners that users have.
//!
//! `hardened` normalises and rejects what a careful operator's listener does; `plain` is Envoy's default and hands
//! everything through raw, so the product must stand on its own there.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    PeerError,
    client::plain_client,
    process::Process,
    tools,
    wait::{self, LONG},
};

/// What Envoy answers when it got no verdict. The product never does, so the two cannot be confused.
pub const NO_VERDICT: u16 = 511;
/// Chooses, by name, the context extensions of a request; see [`Options::extensions`].
pub const EXTENSIONS_HEADER: &str = "x-test-extensions";
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// How Envoy is set up around the product.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a check may take.
    pub timeout: Duration,
    /// Name → context extensions, in force for requests whose [`EXTENSIONS_HEADER`] is the name.
    pub extensions: BTreeMap<String, BTreeMap<String, String>>,
    /// `failure_mode_allow`: the setting nobody should use.
    pub allow_on_failure: bool,
    /// Whether it reports upgraded connections to the product, every second while they last.
    pub reports: bool,
    /// A third listener, over TLS, which wants a certificate of clients.
    pub tls: Option<Tls>,
}

/// A listener over TLS; all in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who signs the certificates of clients.
    pub authority: String,
    /// The listener's own.
    pub certificate: String,
    /// And its key.
    pub key: String,
}

/// A running Envoy. Killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    /// The listener with Envoy's defaults.
    pub plain: SocketAddr,
    /// The listener with every protection on.
    pub hardened: SocketAddr,
    /// The listener over TLS, if one was asked for.
    pub tls: Option<SocketAddr>,
    /// Its admin listener.
    pub admin: SocketAddr,
    _process: Process,
}

impl Default for Options {
    fn default() -> Self {
        // Generous: a loaded test machine must not turn an answer into a timeout.
        Self {
            timeout: Duration::from_secs(5),
            extensions: BTreeMap::new(),
            allow_on_failure: false,
            reports: false,
            tls: None,
        }
    }
}

impl Envoy {
    /// Starts it before `upstream`, asking `authz` (`host:port` or `unix:PATH`). Its files go to `folder`.
    pub async fn start(authz: &str, upstream: SocketAddr, options: &Options, folder: &Path) -> Result<Self, PeerError> {
        let program = match std::env::var_os("ENVOY") {
            Some(other) => other.into(),
            None => tools::installed("envoy")?,
        };
        let (config, admin_file) = (folder.join("envoy.json"), folder.join("envoy-admin"));
        let bootstrap = bootstrap(&endpoint(authz)?, upstream, options).to_string();
        fs::write(&config, bootstrap).map_err(PeerError::io(config.display().to_string()))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", "1", "-l", "warn", "--disable-hot-restart"]).stdin(Stdio::null());
        let mut process = Process::start("envoy", &mut command, folder.join("envoy.log"))?;

        let admin: SocketAddr = wait::until("envoy's admin address", LONG, || {
            let written = process.must_run().map(|()| fs::read_to_string(&admin_file).ok()?.trim().parse().ok());
            async move { written.transpose() }
        })
        .await??;
        wait::until("envoy to serve", LONG, || async { get(admin, "/ready").await.filter(|body| body == "LIVE\n") })
            .await?;
        let listeners = get(admin, "/listeners?format=json").await.unwrap_or_default();
        let bound = |name: &str| bound(&listeners, name);
        let tls = options.tls.as_ref().map(|_| bound("tls")).transpose()?;
        Ok(Self { plain: bound("plain")?, hardened: bound("hardened")?, tls, admin, _process: process })
    }
}

async fn get(admin: SocketAddr, path: &str) -> Option<String> {
    let answer = plain_client().ok()?.get(format!("http://{admin}{path}")).send().await.ok()?;
    answer.text().await.ok()
}

/// The port that a listener got.
fn bound(listeners: &str, name: &str) -> Result<SocketAddr, PeerError> {
    let unreadable = || PeerError::unreadable("envoy's list of listeners", &listeners);
    let list: Value = serde_json::from_str(listeners).map_err(|_| unreadable())?;
    let statuses = list["listener_statuses"].as_array().ok_or_else(unreadable)?;
    let address = statuses.iter().find(|one| one["name"] == name).map(|one| &one["local_address"]["socket_address"]);
    let port = address.and_then(|address| u16::try_from(address["port_value"].as_u64()?).ok());
    port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).ok_or_else(unreadable)
}

// === the bootstrap ===

fn bootstrap(authz: &Value, upstream: SocketAddr, options: &Options) -> Value {
    let hardened = json!({
        "normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": true, "strip_any_host_port": true, "strip_trailing_host_dot": true,
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
    });
    let upstream = socket_address(upstream);
    let mut listeners = vec![listener("hardened", &hardened, options), listener("plain", &json!({}), options)];
    listeners.extend(options.tls.as_ref().map(|tls| over_tls(listener("tls", &hardened, options), tls)));
    json!({
        "admin": {"address": socket_address(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                cluster("upstream", &upstream, &json!({"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}})),
                cluster("authz", authz, &json!({"explicit_http_config": {"http2_protocol_options": {}}})),
            ],
        },
    })
}

fn listener(name: &str, settings: &Value, options: &Options) -> Value {
    let chosen = options.extensions.iter().map(|(name, extensions)| {
        json!({
            "match": {"prefix": "/", "headers": [{"name": EXTENSIONS_HEADER, "string_match": {"exact": name}}]},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": {
                "@type": format!("{TYPES}.filters.http.ext_authz.v3.ExtAuthzPerRoute"),
                "check_settings": {"context_extensions": extensions}}},
        })
    });
    // CONNECT needs a route of its own to get as far as the check.
    let connect = json!({"match": {"connect_matcher": {}}, "route": {"cluster": "upstream",
        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}});
    let everything = json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}});
    let routes: Vec<Value> = std::iter::once(connect).chain(chosen).chain([everything]).collect();
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.ext_authz", "typed_config": ext_authz(name, options)},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")}},
        ],
    });
    if options.reports {
        manager["access_log_options"] = json!({"access_log_flush_interval": "1s"});
        manager["access_log"] = json!([{
            "name": "envoy.access_loggers.http_grpc",
            "filter": {"header_filter": {"header": {"name": "upgrade", "present_match": true}}},
            "typed_config": {
                "@type": format!("{TYPES}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"),
                "common_config": {
                    "log_name": "gatewright", "transport_api_version": "V3", "buffer_size_bytes": 0,
                    "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}},
                },
            },
        }]);
    }
    for (key, value) in settings.as_object().into_iter().flatten() {
        manager[key] = value.clone();
    }
    json!({"name": name, "address": socket_address(SocketAddr::from(([127, 0, 0, 1], 0))),
           "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]})
}

/// Only who shows a certificate of the authority gets through: what Envoy then says about it is verified.
fn over_tls(mut listener: Value, tls: &Tls) -> Value {
    listener["filter_chains"][0]["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"inline_string": tls.certificate}, "private_key": {"inline_string": tls.key}}],
            "validation_context": {"trusted_ca": {"inline_string": tls.authority}},
        },
    }});
    listener
}

fn ext_authz(listener: &str, options: &Options) -> Value {
    let mut filter = json!({
        "@type": format!("{TYPES}.filters.http.ext_authz.v3.ExtAuthz"), "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": format!("{:.3}s", options.timeout.as_secs_f64())},
        "failure_mode_allow": options.allow_on_failure, "status_on_error": {"code": NO_VERDICT},
        "encode_raw_headers": listener == "hardened",
    });
    if listener == "hardened" {
        filter["validate_mutations"] = json!(true);
        filter["decoder_header_mutation_rules"] = json!({"allow_all_routing": false, "allow_envoy": false,
            "allow_expression": {"regex": "x-envoy-upstream-stream-duration-ms"}});
    }
    filter
}

fn cluster(name: &str, address: &Value, protocol: &Value) -> Value {
    let mut options = protocol.clone();
    options["@type"] = json!(format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"));
    json!({"name": name, "type": "STATIC", "connect_timeout": "1s",
           "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
           "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}})
}

fn endpoint(authz: &str) -> Result<Value, PeerError> {
    match authz.strip_prefix("unix:") {
        Some(path) => Ok(json!({"pipe": {"path": path}})),
        None => {
            authz.parse().map(socket_address).map_err(|error| PeerError::unreadable(format!("address {authz}"), &error))
        }
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
