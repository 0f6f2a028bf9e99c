"""What the figures share: an issuer and its tokens, policies, the product and reference servers as processes, loads in turn, tables.

Owns no measurement. A script that imports this asserts nothing: a machine that is slow today is no defect.
"""
import argparse
import hashlib
import hmac
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from common import CACHE, ROOT, TARGET, Server, b64, build, free_port, ready, until

ISSUER = "https://sso.example.com"


class Issuer:
    """A key pair and the tokens it signs."""

    def __init__(self, kid: str = "a") -> None:
        self.kid, self.key = kid, rsa.generate_private_key(65537, 2048)
        numbers = self.key.public_key().public_numbers()
        size = lambda number: b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        self.jwk = {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": size(numbers.n), "e": size(numbers.e)}

    def token(self, kid: str | None = None, **claims: object) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": kid or self.kid}
        body = {"iss": ISSUER, "aud": "api", "sub": "alice", "email": "alice@example.com", "name": "Alice Example",
                "iat": now, "exp": now + 3600, "jti": "0" * 32, "groups": ["a-group-of-some-length"] * 6, **claims}
        signed = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, body))
        return f"{signed}.{b64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def shared(secret: str, **claims: object) -> str:
    """A token that this secret signs."""
    body = {"sub": "alice", "exp": int(time.time()) + 3600, **claims}
    signed = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, body))
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


class Bench:
    """Built programs, a folder, and what was started."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder, self.servers = arguments, Path(tempfile.mkdtemp(prefix="gatewright-bench-")), []
        build(arguments.gatewright)
        self.gatewright = Path(arguments.gatewright or TARGET / "release" / "gatewright")
        self.checks = TARGET / "release" / "checks"

    def baseline(self) -> Path:
        source = Path(self.arguments.baseline)
        if not (source / "Cargo.toml").is_file():
            sys.exit(f"{source} holds no reference servers; give their folder with --baseline")
        copy = CACHE / "baseline"
        shutil.copytree(source, copy, dirs_exist_ok=True)
        subprocess.run(["cargo", "build", "--release", "--manifest-path", str(copy / "Cargo.toml"),
                        "--target-dir", str(copy / "target")], check=True)
        return copy / "target" / "release" / "limit"

    def start(self, name: str, command: list[str], port: int) -> Server:
        server = Server(name, command, port, self.folder / f"{name}.log")
        self.servers.append(server)
        return server.wait()

    def run(self, documents: str, *more: str, authz: str | None = None, prefix: list[str] | None = None) -> tuple[Server, int]:
        """`gatewright run` on these documents, and its admin port. `authz`: a Unix socket instead of a port; `prefix`: a command that
        runs the rest of its line."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        # Beside each other: what the process keeps is no document.
        config = folder / "config"
        config.mkdir()
        (config / "policies.yaml").write_text(documents)
        port, admin = free_port(), free_port()
        server = self.start(f"gatewright-{port}", [
            *(prefix or []), str(self.gatewright), "run", "--config", str(config), "--data-dir", str(folder / "data"),
            f"--authz-address={authz or f'127.0.0.1:{port}'}", "--broker-address=127.0.0.1:0", f"--admin-address=127.0.0.1:{admin}",
            *more], admin if authz else port)
        until(lambda: ready(admin))
        server.config = config
        return server, admin

    def load(self, server: Server, tokens: list[str], *more: str) -> dict:
        """One load, with the CPU that the server used for it."""
        file = self.folder / f"tokens-{len(tokens)}-{hashlib.sha256(''.join(tokens).encode()).hexdigest()[:8]}"
        file.write_text("\n".join(tokens) + "\n")
        before = server.cpu()
        shown = subprocess.run([str(self.checks), f"127.0.0.1:{server.port}", str(file), *more],
                               check=True, capture_output=True, text=True).stdout
        file.unlink()
        counted = json.loads(shown)
        counted["cpu_us"] = (server.cpu() - before) / max(counted["checks"], 1) * 1e6
        return counted

    def close(self) -> None:
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def policy(issuer: Issuer, name: str = "api", hosts: str = "api.example.com", more: str = "") -> str:
    return f"""apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata: {{name: {name}, namespace: demo}}
spec:
  externalHostnames: ["{hosts}"]
  authenticators: [{{name: sso, jwt: {{issuer: '{ISSUER}', audiences: [api], jwks: {{configMapKeyRef: {{name: keys, key: jwks}}}}}}}}]
{more}---
"""


def keys(issuer: Issuer) -> str:
    jwks = json.dumps({"keys": [issuer.jwk]})
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: keys, namespace: demo}}\ndata: {{jwks: '{jwks}'}}\n---\n"


def compare(bench: Bench, servers: dict[str, Server], tokens: dict[str, list[str]], *more: str) -> dict[str, dict]:
    """The servers in turn, round after round; the median of each figure."""
    rounds: dict[str, list[dict]] = {name: [] for name in servers}
    for _ in range(bench.arguments.rounds):
        for name, server in servers.items():
            rounds[name].append(bench.load(server, tokens[name], *more))
    return {name: {figure: statistics.median(one[figure] for one in all) for figure in all[0]}
            for name, all in rounds.items()}


def table(measured: dict[str, dict], base: str, seconds: int) -> None:
    print(f"{'server':<14}{'checks/s':>10}{'ratio':>7}{'CPU us':>9}{'ratio':>7}{'p50 us':>8}{'p99 us':>8}{'ratio':>7}{'not allowed':>13}")
    first = measured[base]
    for name, one in measured.items():
        print(f"{name:<14}{one['checks'] / seconds:>10.0f}{one['checks'] / first['checks']:>7.2f}"
              f"{one['cpu_us']:>9.2f}{one['cpu_us'] / first['cpu_us']:>7.2f}{one['p50']:>8.0f}{one['p99']:>8.0f}"
              f"{one['p99'] / first['p99']:>7.2f}{one['checks'] - one['allowed']:>13.0f}")


def references(bench: Bench, issuer: Issuer, *kinds: str) -> dict[str, Server]:
    limit = str(bench.baseline())
    jwks = bench.folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [issuer.jwk]}))
    servers = {}
    for kind in kinds:
        port = free_port()
        more = [] if kind == "always_ok" else [str(jwks), ISSUER, "api"]
        servers[kind] = bench.start(kind, [limit, kind, f"127.0.0.1:{port}", *more], port)
    return servers
