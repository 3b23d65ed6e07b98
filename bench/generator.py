# Hot path: bench W3 (it shares two cores with the proxies it loads)
"""Our own load generator: unary gRPC calls in a closed loop, a fixed number of them.

A process of its own: `python -m bench.generator --port P --connections C --streams S --requests N
[--varying]`; prints one JSON line. Unlike h2load it can give every request its own `traceparent` and
`grpc-timeout`, written as grpc C-core writes them: an indexed run, then literals without indexing.
Each response must be complete and its grpc-status 0, or the run fails.
"""

import argparse
import asyncio
import json
import os
import sys
from time import perf_counter
from typing import cast

import hpack
import uvloop

from . import frames
from .workloads import MESSAGE_BYTES, METHOD_PATH, percentile

_MESSAGE = frames.grpc_message(b"q" * MESSAGE_BYTES)
_DATA_HEAD = frames.frame(frames.DATA, frames.END_STREAM, 0, _MESSAGE)[:5]
_TRACEPARENT = frames.literal_prefix("traceparent", 55)
_TIMEOUT = frames.literal_prefix("grpc-timeout", 8)
_TIMEOUT_SHORTEST_US = 5_000_000
_TIMEOUT_SPREAD_US = 4_000_000
_CREDIT_AT_BYTES = 2**30
_MEMO_MAX = 10_000  # response blocks remembered per connection


def request_fields(authority: str) -> list[tuple[str, str]]:
    return [
        (":scheme", "http"),
        (":method", "POST"),
        (":authority", authority),
        (":path", METHOD_PATH),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "weft-bench"),
        ("grpc-accept-encoding", "identity"),
    ]


def varying_literals(number: int) -> bytes:
    """A traceparent (W3C Trace Context), not sampled, and a grpc-timeout that no other request has."""
    ids = os.urandom(24).hex()
    timeout_us = _TIMEOUT_SHORTEST_US + number * 7919 % _TIMEOUT_SPREAD_US
    text = f"00-{ids[:32]}-{ids[32:]}-00"
    return b"".join((_TRACEPARENT, text.encode(), _TIMEOUT, b"%07du" % timeout_us))


class Run:
    """What the connections share: how many requests are left, and what became of the others."""

    def __init__(self, requests: int, varying: bool) -> None:
        self.left = requests
        self.pending = requests
        self.varying = varying
        self.latencies_s: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))

    def finished(self, latency_s: float) -> None:
        self.latencies_s.append(latency_s)
        self.pending -= 1
        if not self.pending and not self.done.done():
            self.done.set_result(None)


class Caller(asyncio.Protocol):
    """One connection with `streams` calls in flight."""

    def __init__(self, run: Run, authority: str, streams: int) -> None:
        self._run = run
        self._free = streams
        self._rest = b""
        self._window = 0  # nothing is sent before the peer's SETTINGS
        self._received = 0
        self._stream = 1
        self._started: dict[int, float] = {}
        blocks = frames.Blocks(request_fields(authority))
        self._block, self._again = blocks.first[0], blocks.again[0]
        self._decoder = hpack.Decoder()
        self._memo: dict[bytes, bool] = {}  # blocks that leave the table as it is -> ends well

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            frames.PREFACE
            + frames.settings({frames.SETTINGS_ENABLE_PUSH: 0})
            + frames.window_update(0, frames.WINDOW_MAX - frames.WINDOW_DEFAULT)
        )

    def connection_lost(self, error: Exception | None) -> None:
        if self._run.pending:
            self._run.fail(f"a connection was lost with requests to go ({error or 'closed by the proxy'})")

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        out: list[bytes] = []
        while end - position >= frames.HEAD_BYTES:
            length, kind, flags, stream = frames.head_at(data, position)
            after = position + frames.HEAD_BYTES + length
            if after > end:
                break
            if kind == frames.DATA:
                self._received += length
                if flags & frames.END_STREAM:
                    self._run.fail("a response ended without trailers")
            elif kind == frames.HEADERS:
                self._headers(flags, stream, data[position + frames.HEAD_BYTES : after])
            else:
                self._control(kind, flags, stream, data[position + frames.HEAD_BYTES : after], out)
            position = after
        self._rest = data[position:]
        self._call(out)
        if self._received > _CREDIT_AT_BYTES:
            out.append(frames.window_update(0, self._received))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        ok = self._memo.get(block)
        if ok is None:
            if not flags & frames.END_HEADERS or flags & (frames.PADDED | frames.PRIORITY):
                self._run.fail("a response head is padded, prioritised or continued")
                return
            ok = self._decode(block)
        if flags & frames.END_STREAM:
            if not ok:
                self._run.fail(f"stream {stream} ended without grpc-status 0")
                return
            self._free += 1
            self._run.finished(perf_counter() - self._started.pop(stream))

    def _decode(self, block: bytes) -> bool:
        """Whether the block says grpc-status 0. Remembered if it left the dynamic table as it was."""
        table = self._decoder.header_table
        before = [id(entry) for entry in table.dynamic_entries]
        ok = (b"grpc-status", b"0") in list(self._decoder.decode(block, raw=True))
        if before != [id(entry) for entry in table.dynamic_entries]:
            self._memo.clear()
        elif len(self._memo) < _MEMO_MAX:
            self._memo[block] = ok
        return ok

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, out: list[bytes]) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            if frames.parse_settings(payload).get(frames.SETTINGS_HEADER_TABLE_SIZE, 4096) < 4096:
                self._run.fail("the proxy allows less than 4096 bytes of HPACK table")
            self._window += frames.WINDOW_DEFAULT
            out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in (frames.RST_STREAM, frames.GOAWAY, frames.CONTINUATION) and self._run.pending:
            self._run.fail(f"the proxy sent a frame of type {kind} with {payload[:80]!r}")

    def _call(self, out: list[bytes]) -> None:
        run = self._run
        while self._free and run.left and self._window >= len(_MESSAGE):
            run.left -= 1
            self._free -= 1
            self._window -= len(_MESSAGE)
            block = self._block + varying_literals(run.left) if run.varying else self._block
            self._block = self._again
            stream = self._stream.to_bytes(4, "big")
            head = b"\x00" + len(block).to_bytes(2, "big") + b"\x01\x04"
            out += (head, stream, block, _DATA_HEAD, stream, _MESSAGE)
            self._started[self._stream] = perf_counter()
            self._stream += 2


async def generate(
    port: int, connections: int, streams: int, requests: int, varying: bool
) -> dict[str, float]:
    loop, run = asyncio.get_running_loop(), Run(requests, varying)
    authority = f"127.0.0.1:{port}"
    began = perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Caller(run, authority, streams), "127.0.0.1", port)
    await run.done
    seconds = perf_counter() - began
    latencies = sorted(run.latencies_s)
    return {
        "requests": len(latencies),
        "seconds": seconds,
        "p50_ms": percentile(latencies, 0.50) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.generator")
    for name in ("port", "connections", "streams", "requests"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--varying", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        print(json.dumps(uvloop.run(generate(**vars(_arguments())))))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
