#!/usr/bin/env python3
"""A service that Gatewright asks: whose a credential is, whether a caller is still active, whose a resource is.

Runs with Python 3.9 or newer and nothing else. The tables below stand for your database.
Every question is a POST with JSON; every answer is 200 with JSON. Anything else is a failure of this service, and the client
behind the gateway gets 503. The schema is in docs/remote.md.

usage: server.py [--address HOST] [--port PORT]     prints {"url": "http://HOST:PORT"} when it listens; port 0 takes a free one
"""
import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Keys of the application: who they are, and in which tenant.
KEYS = {
    "demo_alice": {"sub": "alice", "email": "alice@example.com", "name": "Alice", "tenant": "one"},
    "demo_bob": {"sub": "bob", "email": "bob@example.com", "name": "Bob", "tenant": "two"},
    "demo_carol": {"sub": "carol", "tenant": "one"},
}
EXPIRED = {"demo_old"}
# Who may come in at the moment, and as what.
ROLES = {"alice": ["admin"], "bob": ["member"]}
# Whose threads are whose.
OWNERS = {"t1": "alice", "t2": "bob"}


def verify(question: dict) -> dict:
    """Whose a credential is. The header x-tenant comes along because the policy names it in forwardHeaders."""
    key, tenant = question["credential"], question["headers"].get("x-tenant")
    if key in EXPIRED:
        return {"authenticated": False, "reason": "expired"}
    claims = KEYS.get(key)
    if claims is None or tenant not in (None, claims["tenant"]):
        return {"authenticated": False}
    return {"authenticated": True, "claims": claims}


def active(question: dict) -> dict:
    """Whether a caller is still active, and what he may do."""
    roles = ROLES.get(question["principal"]["subject"])
    return {"active": False} if roles is None else {"active": True, "roles": roles}


def owner(question: dict) -> dict:
    """Whose a resource is: null for one that nobody has yet."""
    owner = OWNERS.get(question["resource"])
    return {"owner": None if owner is None else owner == question["principal"]["subject"]}


ANSWERS = {"/verify": verify, "/active": active, "/owner": owner}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Gatewright keeps connections

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        answer = ANSWERS.get(self.path)
        if answer is None:
            return self.reply(404, {})
        try:
            self.reply(200, answer(json.loads(body)))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.reply(400, {})

    def reply(self, status: int, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged: a question holds a credential."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers Gatewright's questions from tables in this file.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    chosen = parser.parse_args()
    server = ThreadingHTTPServer((chosen.address, chosen.port), Handler)
    host, port = server.server_address[:2]
    print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
