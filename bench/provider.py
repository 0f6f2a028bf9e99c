"""An issuer for measurements: a key set that can change, be late or fail, and answers to questions about opaque tokens.

Owns what it serves and how often it was asked; signs nothing.
"""
import contextlib
import http.server
import json
import random
import threading
import time


class Provider:
    """Serves on a port of its own until the process ends."""

    def __init__(self, published: list[dict]) -> None:
        self.published, self.delay, self.faults, self.asked, self.failed = published, 0.0, 0.0, 0, 0
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, {"keys": provider.published})

            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["content-length"])).decode()
                provider.answer(self, {"active": "token=good-" in asked, "sub": "alice", "exp": int(time.time()) + 600})

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.keys = f"http://127.0.0.1:{server.server_port}/keys"
        self.introspection = f"http://127.0.0.1:{server.server_port}/introspect"

    def answer(self, peer: http.server.BaseHTTPRequestHandler, content: dict) -> None:
        self.asked += 1
        if self.delay:
            time.sleep(self.delay)
        body, status = json.dumps(content).encode(), 200
        if random.random() < self.faults:
            self.failed += 1
            # In turn: an error, an end in the middle, nothing at all.
            match self.failed % 3:
                case 0:
                    status = 500
                case 1:
                    body = body[: len(body) // 2]
                case _:
                    return
        # Whoever asked may have given up.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send_response(status)
            peer.send_header("content-type", "application/json")
            peer.send_header("content-length", str(len(json.dumps(content))))
            peer.end_headers()
            peer.wfile.write(body)
