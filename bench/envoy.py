"""What a token costs at a real Envoy: no filter, ext_authz with different servers, and Envoy's own jwt_authn.

Owns the bootstrap: one Envoy with one worker and a listener for each way, whose route answers by itself, so that nothing but
the filter differs. Like every figure it asserts nothing.
"""
import json
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from common import ROOT, Server, free_port, listens, until
from world import ISSUER, Bench, Issuer, keys, policy, references

CONNECTIONS = 32
TYPES = "type.googleapis.com/envoy.extensions"
CLAIMS = {"sub": "x-auth-sub", "email": "x-auth-email", "name": "x-auth-name"}


def through_envoy(bench: Bench) -> None:
    """The same RS256 token at every listener in turn."""
    issuer = Issuer()
    authz = references(bench, issuer, "always_ok")
    authz["tcp"], _ = bench.run(keys(issuer) + policy(issuer))
    socket = bench.folder / "authz.sock"
    authz["unix"], _ = bench.run(keys(issuer) + policy(issuer), authz=f"unix:{socket}")
    clusters = {"always_ok": tcp(authz["always_ok"].port), "tcp": tcp(authz["tcp"].port), "unix": {"pipe": {"path": str(socket)}}}
    # Each way: its filters, and whose time it takes beside Envoy's.
    ways = {
        "no filter": ([], None),
        "always_ok": ([ext_authz("always_ok")], authz["always_ok"]),
        "gatewright TCP": ([ext_authz("tcp")], authz["tcp"]),
        "gatewright Unix": ([ext_authz("unix")], authz["unix"]),
        "jwt_authn": ([jwt_authn(issuer, {})], None),
        "its cache": ([jwt_authn(issuer, {"jwt_cache_config": {"jwt_cache_size": 1000}})], None),
    }
    envoy, ports = start(bench, {name: filters for name, (filters, _) in ways.items()}, clusters)
    for name in ways:
        if name not in ("no filter", "always_ok") and status(ports[name]) not in (401, 403):
            sys.exit(f"{name} lets in who has no token")
    token = bench.folder / "token"
    token.write_text(issuer.token() + "\n")
    rounds: dict[str, list[dict]] = {name: [] for name in ways}
    for _ in range(bench.arguments.rounds):
        for name, (_, server) in ways.items():
            rounds[name].append(load(bench, [envoy, *([server] if server else [])], ports[name], token))
    print(f"envoy: one RS256 token, {CONNECTIONS} connections of HTTP/1.1, one worker of Envoy")
    table({name: {figure: statistics.median(one[figure] for one in all) for figure in all[0]} for name, all in rounds.items()}, bench.arguments.seconds)


def status(port: int) -> int:
    """Of a request without a token."""
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"host": "api.example.com"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def load(bench: Bench, servers: list[Server], port: int, token: Path) -> dict:
    before = sum(server.cpu() for server in servers)
    shown = subprocess.run([str(bench.checks.with_name("requests")), f"127.0.0.1:{port}", str(token), "--connections", str(CONNECTIONS),
                            "--seconds", str(bench.arguments.seconds)], check=True, capture_output=True, text=True).stdout
    counted = json.loads(shown)
    counted["cpu_us"] = (sum(server.cpu() for server in servers) - before) / max(counted["checks"], 1) * 1e6
    return counted


def table(measured: dict[str, dict], seconds: int) -> None:
    first, base = measured["no filter"], measured["always_ok"]
    print(f"{'way':<17}{'requests/s':>11}{'CPU us':>9}{'on top':>8}{'ratio':>7}{'p50 us':>8}{'p99 us':>8}{'ratio':>7}{'not allowed':>13}")
    for name, one in measured.items():
        print(f"{name:<17}{one['checks'] / seconds:>11.0f}{one['cpu_us']:>9.1f}{one['cpu_us'] - first['cpu_us']:>8.1f}{one['cpu_us'] / base['cpu_us']:>7.2f}"
              f"{one['p50']:>8.0f}{one['p99']:>8.0f}{one['p99'] / base['p99']:>7.2f}{one['checks'] - one['allowed']:>13.0f}")


# === the bootstrap ===


def start(bench: Bench, ways: dict[str, list], clusters: dict[str, dict]) -> tuple[Server, dict[str, int]]:
    ports, admin = {name: free_port() for name in ways}, free_port()
    bootstrap = {
        "admin": {"address": tcp(admin)},
        "static_resources": {
            "listeners": [listener(name, ports[name], filters) for name, filters in ways.items()],
            "clusters": [cluster(name, address) for name, address in clusters.items()],
        },
    }
    file = bench.folder / "envoy.json"
    file.write_text(json.dumps(bootstrap))
    program = subprocess.run([ROOT / "tests" / "tools" / "install", "envoy"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    server = bench.start("envoy", [program, "-c", str(file), "--concurrency", "1", "-l", "warn", "--disable-hot-restart"], admin)
    until(lambda: all(listens(port) for port in ports.values()))
    return server, ports


def tcp(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, address: dict) -> dict:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    protocol = {"@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol}}


def listener(name: str, port: int, filters: list) -> dict:
    answer = {"status": 200, "body": {"inline_string": "ok"}}
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
        "use_remote_address": True, "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": answer}]}]},
        "http_filters": [*filters, router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": tcp(port), "filter_chains": [chain]}


def ext_authz(server: str) -> dict:
    """As `gatewright envoy-config` writes it, but for the time that an answer may take: a slow one is measured, not refused."""
    return {"name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": f"{TYPES}.filters.http.ext_authz.v3.ExtAuthz", "transport_api_version": "V3", "encode_raw_headers": True, "validate_mutations": True,
        "grpc_service": {"envoy_grpc": {"cluster_name": server}, "timeout": "5s"}}}


def jwt_authn(issuer: Issuer, cache: dict) -> dict:
    provider = {"issuer": ISSUER, "audiences": ["api"], "local_jwks": {"inline_string": json.dumps({"keys": [issuer.jwk]})},
                "claim_to_headers": [{"claim_name": claim, "header_name": header} for claim, header in CLAIMS.items()], **cache}
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": {
        "@type": f"{TYPES}.filters.http.jwt_authn.v3.JwtAuthentication", "providers": {"sso": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "sso"}}]}}
