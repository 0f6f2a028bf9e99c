//! `gatewright envoy-config`: a complete bootstrap that keeps what our decisions rely on.
//!
//! What matters: nothing passes without a verdict (`failure_mode_allow: false`), paths reach us as the upstream will see them, the
//! client's address and scheme are Envoy's own, and every check is marked as coming from outside.

use std::{collections::BTreeSet, io::Write};

use authz::server::Address;
use crds::{
    compile::{Compiler, LastGood},
    snapshot::Entry,
};
use serde_json::{Value, json};

use crate::{check, cli::EnvoyConfigArgs, config, print};

const FILTER: &str = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const PROTOCOLS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const REPORTS: &str = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
const ACCESS_LOG: &str = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";

/// Exit 2 when the documents cannot be read.
pub(crate) fn command(args: &EnvoyConfigArgs, out: &mut impl Write) -> u8 {
    let objects = match config::load_whole(&args.config.paths) {
        Ok(objects) => objects,
        Err(code) => return code,
    };
    let compiled = Compiler::new(check::options(), LastGood::default()).compile(&objects);
    let (mut domains, mut reports) = (BTreeSet::new(), false);
    for entry in compiled.snapshot.entries() {
        match entry {
            Entry::InForce(one) => {
                domains.extend(one.hosts.iter().map(ToString::to_string));
                reports |= one.policy.rules.limits.connections.is_some();
            }
            Entry::Held(held) => domains.extend(held.hosts.iter().map(ToString::to_string)),
        }
    }
    print(
        out,
        serde_yaml::to_string(&bootstrap(args, &domains.into_iter().collect::<Vec<_>>(), reports))
            .map_err(|error| error.to_string()),
    )
}

/// With `reports`, connections are limited: what becomes of them is told to whoever counts them.
fn bootstrap(args: &EnvoyConfigArgs, domains: &[String], reports: bool) -> Value {
    json!({
        "admin": {"address": socket(&args.envoy_admin.ip().to_string(), args.envoy_admin.port())},
        "static_resources": {
            "listeners": [{
                "name": "gatewright",
                "address": socket(&args.listen.ip().to_string(), args.listen.port()),
                "per_connection_buffer_limit_bytes": 32768,
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager(domains, reports),
                }]}],
            }],
            "clusters": [upstream(args), authz(args)],
        },
    })
}

fn manager(domains: &[String], reports: bool) -> Value {
    let route =
        json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s", "idle_timeout": "300s"}});
    // Hosts that no policy holds are checked as well, and refused there: an unlisted host is never an open door.
    let mut hosts = vec![json!({"name": "everything-else", "domains": ["*"], "routes": [route.clone()]})];
    if !domains.is_empty() {
        hosts.insert(0, json!({"name": "policies", "domains": domains, "routes": [route]}));
    }
    let mut manager = json!({
        "@type": MANAGER,
        "stat_prefix": "gatewright",
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_trailing_host_dot": true,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST", "idle_timeout": "3600s"},
        "http2_protocol_options": {"max_concurrent_streams": 100, "initial_stream_window_size": 65536, "initial_connection_window_size": 1_048_576},
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "300s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [{"name": "envoy.access_loggers.stdout", "typed_config": {"@type": ACCESS_LOG, "log_format": {"json_format": access_log()}}}],
        "route_config": {
            "name": "gatewright",
            "ignore_port_in_host_matching": true,
            "virtual_hosts": hosts,
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": {
                "@type": PER_ROUTE,
                "check_settings": {"context_extensions": {"gatewright.dev/traffic": "external"}},
            }},
        },
        "http_filters": [
            {"name": "envoy.filters.http.ext_authz", "typed_config": filter()},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
    });
    if reports {
        self::reports(&mut manager);
    }
    manager
}

/// A check ends with the handshake: that the connection still is there, and that it ended, is told by the access log, which goes to
/// whoever was asked. What people read stays one line a request.
fn reports(manager: &mut Value) {
    let Some(manager) = manager.as_object_mut() else { return };
    if let Some(logs) = manager.get_mut("access_log").and_then(Value::as_array_mut) {
        for log in logs.iter_mut().filter_map(Value::as_object_mut) {
            log.insert("filter".to_owned(), json!({"log_type_filter": {"types": ["DownstreamEnd"]}}));
        }
        logs.push(json!({
            "name": "envoy.access_loggers.http_grpc",
            "filter": {"header_filter": {"header": {"name": "upgrade", "present_match": true}}},
            "typed_config": {"@type": REPORTS, "common_config": {
                "log_name": "gatewright",
                "transport_api_version": "V3",
                // Not kept back: who closes a connection may open the next at once.
                "buffer_size_bytes": 0,
                "grpc_service": {"envoy_grpc": {"cluster_name": "gatewright-authz"}},
            }},
        }));
    }
    // A third of the time that a connection counts without a word.
    manager.insert("access_log_options".to_owned(), json!({"access_log_flush_interval": "30s"}));
}

fn filter() -> Value {
    json!({
        "@type": FILTER,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "gatewright-authz"}, "timeout": "0.2s"},
        "failure_mode_allow": false,
        "status_on_error": {"code": "ServiceUnavailable"},
        "encode_raw_headers": true,
        // An answer of ours that named the path, the host or an Envoy header would be a bug: refuse it there as well. One header is
        // meant: it ends a WebSocket when the token does, and ignored it would leave the connection open.
        "validate_mutations": true,
        "decoder_header_mutation_rules": {
            "allow_all_routing": false, "allow_envoy": false,
            "allow_expression": {"regex": "x-envoy-upstream-stream-duration-ms"},
        },
    })
}

/// No query: it may hold what must not be kept.
fn access_log() -> Value {
    json!({
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "gatewright": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:gatewright.dev)%",
    })
}

fn upstream(args: &EnvoyConfigArgs) -> Value {
    let (host, port) = &args.upstream;
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
    json!({
        "name": "upstream",
        "type": kind,
        "connect_timeout": "2s",
        // A name such as localhost often has an IPv6 address that nobody listens on.
        "dns_lookup_family": "V4_PREFERRED",
        "load_assignment": assignment("upstream", &socket(host, *port)),
    })
}

fn authz(args: &EnvoyConfigArgs) -> Value {
    let address = match &args.authz {
        Address::Tcp(address) => socket(&address.ip().to_string(), address.port()),
        Address::Unix(path) => json!({"pipe": {"path": path}}),
    };
    json!({
        "name": "gatewright-authz",
        "type": "STATIC",
        "connect_timeout": "0.2s",
        "load_assignment": assignment("gatewright-authz", &address),
        "health_checks": [{
            "timeout": "1s", "interval": "5s", "unhealthy_threshold": 2, "healthy_threshold": 1, "no_traffic_interval": "5s",
            "grpc_health_check": {"service_name": "envoy.service.auth.v3.Authorization"},
        }],
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOLS,
            "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}},
        }},
    })
}

fn assignment(name: &str, address: &Value) -> Value {
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]})
}

fn socket(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}
