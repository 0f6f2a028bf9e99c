"""Stands in for cq's server, which is in no registry: its routes and which credential each takes, and its own checks of them.

Only the standard library, so that nothing of what is tested takes part in judging it. It knows the two secrets that cq has
(CQ_JWT_SECRET, CQ_API_KEY_PEPPER) and one key record (CQ_KEY_ID, CQ_KEY_HASH, CQ_KEY_USER). It listens on CQ_PORT, else on a
free port until its standard input ends. Prints the port first, then one line of JSON a request: method, path, who it is to cq,
status, and the digest of the credential.
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UNITS: dict[str, dict] = {}


def user_of_token(header: str | None) -> tuple[str | None, str]:
    """cq's `get_current_user`: HS256 under its own secret, `exp` if there is one, `sub`."""
    if not header or not header.startswith("Bearer "):
        return None, "Missing or invalid authorization header"
    bad = None, "Invalid or expired token"
    try:
        signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
        head, payload = (json.loads(unpadded(part)) for part in signed.split("."))
        good = hmac.new(os.environ["CQ_JWT_SECRET"].encode(), signed.encode(), hashlib.sha256).digest()
        if head["alg"] != "HS256" or not hmac.compare_digest(good, unpadded(signature)):
            return bad
        if "exp" in payload and payload["exp"] <= time.time():
            return bad
        return payload["sub"], ""
    except (ValueError, KeyError, TypeError):
        return bad


def user_of_key(header: str | None) -> tuple[str | None, str]:
    """cq's `require_api_key`: whatever is wrong, one answer."""
    parts = (header or "").removeprefix("Bearer ").split(".")
    if not (header or "").startswith("Bearer ") or len(parts) != 4 or parts[:2] != ["cqa", "v1"]:
        return None, "Invalid API key"
    hashed = hmac.new(os.environ["CQ_API_KEY_PEPPER"].encode(), parts[3].encode(), hashlib.sha256).hexdigest()
    good = parts[2] == os.environ["CQ_KEY_ID"] and hmac.compare_digest(hashed, os.environ["CQ_KEY_HASH"])
    return (os.environ["CQ_KEY_USER"], "") if good else (None, "Invalid API key")


def unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/v1/knowledge":
            self.answer(200, {"data": [hidden(unit) for unit in UNITS.values()]})
        elif path == "/api/v1/knowledge/stats":
            self.answer(200, {"total_units": len(UNITS), "tier_counts": {"private": len(UNITS)}})
        elif path == "/api/v1/health":
            self.answer(200, {"status": "ok"})
        elif path.startswith("/api/v1/review/") or path == "/api/v1/users/me":
            user, why = user_of_token(self.headers["authorization"])
            self.answer(200, {"username": user}, user) if user else self.answer(401, {"detail": why})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        user, why = user_of_key(self.headers["authorization"])
        if not user:
            return self.answer(401, {"detail": why})
        now, parts = datetime.now(timezone.utc).isoformat(), self.path.split("/")
        if self.path == "/api/v1/knowledge":
            unit = {"id": "ku_" + os.urandom(16).hex(), **json.loads(body), "created_by": user, "tier": "private",
                    "evidence": {"confidence": 0.5, "confirmations": 1, "first_observed": now, "last_confirmed": now}}
            UNITS[unit["id"]] = unit
            return self.answer(201, unit, user)
        unit = UNITS.get(parts[4]) if len(parts) == 6 else None
        if unit is None:
            return self.answer(404, {"detail": "Knowledge unit not found"}, user)
        if parts[5] == "confirmations":
            unit["evidence"]["confirmations"] += 1
        elif parts[5] == "flags":
            unit.setdefault("flags", []).append({"reason": json.loads(body)["reason"], "timestamp": now})
        return self.answer(201, unit, user)

    def answer(self, status: int, body: dict, user: str | None = None) -> None:
        data = json.dumps(body).encode()
        seen = {"method": self.command, "path": self.path, "user": user, "status": status,
                "identity": self.headers["x-auth-subject"],
                "credential": hashlib.sha256((self.headers["authorization"] or "").encode()).hexdigest()}
        print(json.dumps(seen), flush=True)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


def hidden(unit: dict) -> dict:
    """Who wrote it is not shown to readers."""
    return {name: value for name, value in unit.items() if name != "created_by"}


port = int(os.environ.get("CQ_PORT", "0"))
server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
print(server.server_port, flush=True)
if port:
    server.serve_forever()
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
