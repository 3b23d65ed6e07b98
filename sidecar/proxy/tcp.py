# Hot path: bench/switch.py
"""Bytes of a protocol that nobody parses: one connection is one stream, opened by CONNECT.

Between sidecars the stream lies on the pooled mTLS connection (RFC 9113 section 8.5): the peer has proved who
it is, and the intention is asked before a byte of it reaches the application. What holds for streams holds
here: windows on both sides, half-close as END_STREAM, a reset as RST_STREAM.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from ..events import TCP_BYTES
from ..h2.block import NO_EXTRA
from ..h2.fields import request_head, response_head
from ..http1.message import Message
from ..telemetry import Call
from .exchange import Exchange, Plan
from .http1_downstream import Http1Downstream
from .http1_upstream import Http1Upstream

if TYPE_CHECKING:
    from ..h2.outbox import Outbox
    from ..telemetry import Count, Telemetry
    from .endpoint import Endpoint
    from .side import Side

IDLE_S = 3600  # without a byte either way, as Envoy's default
_RAW = b"tcp"
_OPENED = b"opened"
_OK = Message(response_head(((b":status", b"200"),)), NO_EXTRA, b"1.1")


def counts(telemetry: "Telemetry", call: Call) -> "tuple[Count, Count]":
    """Of the bytes of a call: from the caller, and to it."""
    labels = (call.direction.value, call.source, call.destination)
    return telemetry.count(TCP_BYTES, *labels, "sent"), telemetry.count(TCP_BYTES, *labels, "received")


def connect_message(authority: bytes) -> Message:
    """The head of a stream of bytes to `authority`."""
    message = Message(request_head(((b":method", b"CONNECT"), (b":authority", authority))), NO_EXTRA, b"1.1")
    message.method = b"CONNECT"
    return message


class TcpDownstream(Http1Downstream):
    """A caller's connection whose bytes go on as they are."""

    def __init__(self, outbox: "Outbox", side: "Side") -> None:
        super().__init__(outbox, side)
        self.connects = True
        self.counts: tuple[Count, Count] | None = None  # bytes from the caller, and to it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.closing:
            return
        self.outbox.now = self.outbox.clock()
        self.message = self.memo[_RAW] = connect_message(self.side.authority)
        self.sid = 1
        self.tunnel = self.receiving = True
        self.reader.frame_tunnel()
        self.on_block(1, _RAW, 0)
        if self.message.head.plan is not None:
            self.counts = counts(self.side.telemetry, cast(Plan, self.message.head.plan).series.call)
        self.outbox.flush()

    def data_received(self, data: bytes) -> None:
        if self.counts is not None:
            self.counts[0].value += len(data)
        super().data_received(data)

    def write(self, data: bytes) -> None:
        if self.counts is not None:
            self.counts[1].value += len(data)
        super().write(data)

    def _write_head(self, made: bytes, end: int, parts: list[bytes]) -> None:
        """An answer of 200 is the stream's opening; any other is a refusal, and bytes have no word for it."""
        if made[10:11] != b"2":
            self.abort()

    def _cut(self, code: int, parts: list[bytes]) -> None:
        if parts and self.transport is not None:
            self.transport.write(b"".join(parts))
        if self.complete:
            self.finish()
        else:
            self.abort()

    def drain(self) -> None:
        """It cannot be told: it ends when its owner ends it, or when the time to drain is over."""
        self.draining = 1

    def on_second(self) -> None:
        if self.silent_s >= IDLE_S:
            self.abort()


class TcpUpstream(Http1Upstream):
    """A connection to the application for one stream of bytes."""

    early = b""
    counts: "tuple[Count, Count] | None" = None  # bytes to the application, and from it

    def open(self, exchange: Exchange, endpoint: "Endpoint") -> None:
        super().open(exchange, endpoint)
        self.counts = counts(exchange.conn.side.telemetry, exchange.plan.series.call)
        self.headed = self.tunnel = True
        self.keep_alive = False
        self.reader.frame_tunnel()
        self.memo[_OPENED] = _OK
        self.on_block(self.sid, _OPENED, 0)
        if self.early:
            early, self.early = self.early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """What a server says before it is asked waits for the stream."""
        if self.sid in self.streams:
            if self.counts is not None:
                self.counts[1].value += len(data)
            super().data_received(data)
        elif not self.served and not self.closing:
            self.early += data

    def write(self, data: bytes) -> None:
        if self.counts is not None:
            self.counts[0].value += len(data)
        super().write(data)

    def _write_head(self, made: bytes, end: int, parts: list[bytes]) -> None:
        """The application knows nothing of it."""

    def on_second(self) -> None:
        if not self.streams:
            super().on_second()
