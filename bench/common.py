"""What the measurements share: where things are, processes, ports, waiting.

Owns no measurement. Nothing here asserts a time: a machine that is slow today is no defect.
"""
import base64
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatewright"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def build(gatewright: str | None) -> None:
    """The load, and the product unless another binary is given."""
    command = ["cargo", "build", "--locked", "--release", "-p", "bench", *([] if gatewright else ["-p", "gatewright"])]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)}, check=True)


class Server:
    """A process that listens on a port of its own."""

    def __init__(self, name: str, command: list[str], port: int, log: Path, **environment: str) -> None:
        self.name, self.port, self.log = name, port, log
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(log, "ab"),
                                        env={**os.environ, **environment})

    def wait(self) -> "Server":
        for _ in range(6000):
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended with {self.process.returncode}; its log is {self.log}")
            if listens(self.port):
                return self
            time.sleep(0.005)
        sys.exit(f"{self.name} does not listen; its log is {self.log}")

    def cpu(self) -> float:
        """Seconds of CPU since the start."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self, which: str = "VmRSS") -> float:
        """Memory now, or with VmHWM the most it ever was; 0 of a process that has ended."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(which)), 0) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def ready(admin: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def until(condition, patience: float = 120.0) -> float:
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > patience:
            sys.exit("gave up waiting")
        time.sleep(0.005)
    return time.monotonic() - begin
