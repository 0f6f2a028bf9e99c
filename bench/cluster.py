"""A cluster without nodes for measurements: etcd, kube-apiserver, and the product before them.

Owns what a chart and a kubelet would do: namespaces, permissions, pods on paper, their tokens. The same as `tests/src/apiserver.rs`
and `tests/src/operator.rs` do for tests.
"""
import atexit
import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common import ROOT, TARGET, Server, free_port, until

HOME, APPS = "gatewright", "apps"
GROUP = "/apis/gatewright.dev/v1alpha1"
PERMISSIONS = [
    ("gatewright.dev", ["authpolicies", "datasources"], ["list", "watch"]),
    ("gatewright.dev", ["authpolicies/status", "datasources/status"], ["patch"]),
    ("", ["secrets"], ["get", "list", "watch", "create", "patch", "update"]),
    ("", ["configmaps"], ["get", "list", "watch", "create", "patch"]),
    ("", ["namespaces"], ["list"]),
    ("", ["pods"], ["get"]),
    ("coordination.k8s.io", ["leases"], ["get", "create", "update"]),
    ("events.k8s.io", ["events"], ["create", "patch"]),
    ("authentication.k8s.io", ["tokenreviews"], ["create"]),
    ("rbac.authorization.k8s.io", ["clusterroles"], ["get"]),
]


class Api:
    """The API server as its administrator sees it; each thread has a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port, self.local = port, threading.local()

    def call(self, method: str, path: str, body: object = None, content: str = "application/json") -> dict:
        """One call; anything but success ends the program."""
        if not hasattr(self.local, "connection"):
            context = ssl._create_unverified_context()  # Its certificate is of its own making, on this machine.
            self.local.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        text = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        headers = {"authorization": "Bearer admin", "content-type": content}
        self.local.connection.request(method, path, text, headers)
        answer = self.local.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {data[:500]!r}")
        return json.loads(data)

    def apply(self, path: str, text: object) -> dict:
        return self.call("PATCH", f"{path}?fieldManager=bench&force=true", text, "application/apply-patch+yaml")

    def merge(self, path: str, patch: dict) -> None:
        self.call("PATCH", path, patch, "application/merge-patch+json")

    def all(self, calls: list[tuple], threads: int = 8) -> float:
        """Many calls at once; the seconds that they took."""
        begin = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda call: self.call(*call), calls))
        return time.monotonic() - begin


class Cluster:
    """Both processes, and what is started before them."""

    def __init__(self, gatewright: str | None) -> None:
        self.folder, self.servers = Path(tempfile.mkdtemp(prefix="gatewright-bench-")), []
        # However this ends, nothing goes on running.
        atexit.register(self.close)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.gatewright = gatewright or str(TARGET / "release" / "gatewright")
        tool = subprocess.run([str(ROOT / "tests" / "tools" / "install"), "kubernetes"], check=True, capture_output=True, text=True)
        programs = Path(tool.stdout.splitlines()[-1]).parent
        client, peer, port = free_port(), free_port(), free_port()
        urls = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.start("etcd", [
            str(programs / "etcd"), "--data-dir", self.file("etcd"), "--listen-client-urls", urls[0], "--advertise-client-urls", urls[0],
            "--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1], "--initial-cluster", f"default={urls[1]}",
            "--unsafe-no-fsync", "--log-level", "error"], client)
        self.keys()
        self.apiserver = self.start("kube-apiserver", [
            str(programs / "kube-apiserver"), "--bind-address", "127.0.0.1", "--secure-port", str(port), "--etcd-servers", urls[0],
            "--cert-dir", self.file("certs"), "--token-auth-file", self.file("tokens.csv"), "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-cluster-ip-range", "10.0.0.0/24",
            "--service-account-key-file", self.file("sa.pub"), "--service-account-signing-key-file", self.file("sa.key"),
            "--disable-admission-plugins", "ServiceAccount"], port)
        self.api = Api(port)
        until(lambda: self.answers("/readyz"))
        self.kubeconfig(port)
        self.install()
        self.xds, self.admin = free_port(), free_port()

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def start(self, name: str, command: list[str], port: int, **environment: str) -> Server:
        server = Server(name, command, port, self.folder / f"{name}.log", **environment)
        self.servers.append(server)
        return server.wait()

    def stop(self, server: Server) -> None:
        self.servers.remove(server)
        server.stop()

    def answers(self, path: str) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self.api.port, context=ssl._create_unverified_context())
        connection.request("GET", path, headers={"authorization": "Bearer admin"})
        return connection.getresponse().status == 200

    def keys(self) -> None:
        """The key that signs tokens of ServiceAccounts, and the tokens of people."""
        key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "sa.key").write_bytes(private)
        (self.folder / "sa.pub").write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
        (self.folder / "tokens.csv").write_text("admin,admin,1,system:masters\noperator,operator,2\n")

    def kubeconfig(self, port: int) -> None:
        cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
        (self.folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "operator"}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}))

    def install(self) -> None:
        """Definitions, namespaces, permissions and the account, as the charts would make them."""
        definitions = subprocess.run([self.gatewright, "crds"], check=True, capture_output=True, text=True).stdout
        for text in filter(str.strip, re.split(r"(?m)^---$", definitions)):
            name = re.search(r"(?m)^  name: (.+)$", text)[1]
            self.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", text)
        for name in (HOME, APPS):
            self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        rules = [{"apiGroups": [group], "resources": resources, "verbs": verbs} for group, resources, verbs in PERMISSIONS]
        role = "/apis/rbac.authorization.k8s.io/v1/"
        self.api.call("POST", f"{role}clusterroles", {"metadata": {"name": "operator"}, "rules": rules})
        self.api.call("POST", f"{role}clusterrolebindings", {
            "metadata": {"name": "operator"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
            "subjects": [{"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"}]})
        self.api.call("POST", f"/api/v1/namespaces/{HOME}/serviceaccounts", {"metadata": {"name": "gatewright-authz"}})
        until(lambda: self.answers(f"{GROUP}/authpolicies"))

    def operator(self) -> Server:
        """`gatewright operator`; it need not be ready."""
        return self.start("operator", [
            self.gatewright, "operator", "--namespace", HOME, "--service-name", "localhost", "--xds-address", f"127.0.0.1:{self.xds}",
            "--admin-address", f"127.0.0.1:{self.admin}"], self.admin, KUBECONFIG=self.file("kubeconfig"), POD_NAME="operator-0")

    def pod(self, name: str) -> Path:
        """A folder with what the kubelet would mount into a pod of the data plane, which is made on paper."""
        folder = self.folder / name
        folder.mkdir()
        pod = self.api.call("POST", f"/api/v1/namespaces/{HOME}/pods", {
            "metadata": {"name": name}, "spec": {"serviceAccountName": "gatewright-authz", "containers": [{"name": "authz", "image": "x"}]}})
        bound = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]}
        token = self.api.call("POST", f"/api/v1/namespaces/{HOME}/serviceaccounts/gatewright-authz/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": ["gatewright-operator"], "boundObjectRef": bound}})["status"]["token"]
        (folder / "token").write_text(token)
        path = f"/api/v1/namespaces/{HOME}/configmaps"
        maps = {one["metadata"]["name"]: one for one in self.api.call("GET", path)["items"]}
        (folder / "ca.crt").write_text(maps["gatewright-ca"]["data"]["ca.crt"])
        return folder

    def authz(self, pod: str, folder: Path) -> tuple[Server, int, int]:
        """`gatewright authz` with its check and admin ports; it need not be ready."""
        port, admin = free_port(), free_port()
        server = self.start(pod, [
            self.gatewright, "authz", "--operator", f"https://localhost:{self.xds}", "--pod-name", pod, "--operator-ca", str(folder / "ca.crt"),
            "--token-file", str(folder / "token"), "--data-dir", str(folder / "data"), "--authz-address", f"127.0.0.1:{port}",
            "--admin-address", f"127.0.0.1:{admin}"], admin)
        return server, port, admin

    def close(self) -> None:
        while self.servers:
            self.servers.pop().stop()
        shutil.rmtree(self.folder, ignore_errors=True)

