"""One HTTP connection, with the patience that we have for its client.

aiohttp bounds what a head and a body may hold, and how long an idle connection stays. This adds how many
there may be, and how long a head may take to arrive and an answer to be taken: a sweep over all connections,
every other second, costs a request nothing.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from weft.aio import Tasks

from ..limits import settings as bounds
from ..limits.guard import Limits
from ..limits.refusals import Limit
from ..limits.source import source_of

SWEEP_S = 2.0
_ACKED_AT, _NOT_SENT_AT = 120, 144  # of tcpi_bytes_acked (64 bits) and tcpi_notsent_bytes (32)
FULL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection(RequestHandler):
    """`source` is "" until it has a place, and for Unix sockets."""

    __slots__ = ("_connections", "_head_since", "_is_tls", "_place", "_sent", "_sent_at", "_wire", "source")

    def __init__(self, connections: "Connections", *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._wire: asyncio.Transport | None = None  # ours to the end; aiohttp forgets it when it closes
        self._place = self._is_tls = False
        self._head_since: float | None = None  # when the first byte of a head came that is not whole
        self._sent = 0  # bytes that the client had taken at `_sent_at`
        self._sent_at: float | None = None
        self.source = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.source = source_of(peer[0]) if peer else ""
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        if not self._connections.take(self):
            self._wire.write(FULL)
            self._wire.close()
            return
        self._place = True
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._place:
            self._connections.drop(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._place:
            return
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._head_since = None
        elif self._head_since is None:
            self._head_since = self._loop.time()

    def overdue(self, now: float) -> Limit | None:
        """What this client has taken too long for."""
        if self._head_since is not None and now - self._head_since > bounds.HEAD_TIMEOUT_S:
            return Limit.SLOW_HEAD
        return Limit.SLOW_READER if self._stalls(now) else None

    def _stalls(self, now: float) -> bool:
        """Whether it is owed something, and takes next to nothing of it."""
        assert self._wire is not None
        may_owe = self._paused or self._wire.is_closing() or self._wire.get_write_buffer_size()
        if not may_owe and not self._is_tls:  # a TLS transport hides what waits beneath it
            self._sent_at = None
            return False
        sent, waits = progress(self._wire)
        if not may_owe and not waits:
            self._sent_at = None
            return False
        if self._sent_at is None:
            self._sent, self._sent_at = sent, now
        elif now - self._sent_at >= bounds.STALL_S:
            if sent - self._sent < bounds.READ_BYTES_PER_S_MIN * bounds.STALL_S:
                if waits or self._wire.get_write_buffer_size():
                    return True
                self.abort()  # it has all, and does not hang up
            self._sent, self._sent_at = sent, now
        return False

    def abort(self) -> None:
        assert self._wire is not None
        self._wire.abort()


def progress(wire: asyncio.Transport) -> tuple[int, int]:
    """Bytes that the other end has acknowledged since the connection began, and those that the kernel has and
    may not send yet: what Linux (4.6 and later) says in struct tcp_info."""
    handle = wire.get_extra_info("socket").fileno()
    if handle < 0:
        return 0, 0  # gone; the loop is about to say so
    kernel = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=handle)
    try:
        info = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _NOT_SENT_AT + 4)
    finally:
        kernel.detach()
    acked, not_sent = info[_ACKED_AT : _ACKED_AT + 8], info[_NOT_SENT_AT:]
    return int.from_bytes(acked, sys.byteorder), int.from_bytes(not_sent, sys.byteorder)


class Connections(web.Server):
    """All of a server's, on every port; makes them for the event loop. `sweep` has to run."""

    def __init__(self, handler: Callable[..., Any], limits: Limits, **options: Any) -> None:
        super().__init__(handler, **options)
        self._limits = limits
        self._open: set[Connection] = set()
        self._tasks = Tasks()

    def begin(self) -> None:
        self._tasks.spawn(self._sweep(), "slow HTTP clients")

    async def end(self) -> None:
        await self._tasks.close()

    def __call__(self) -> RequestHandler:
        return Connection(self, self, loop=self._loop, **self._kwargs)

    def take(self, connection: Connection) -> bool:
        """A place for it; False: there is none."""
        if limit := self._limits.connections.enter(connection.source):
            self._limits.refused(limit, connection.source)
            return False
        self._open.add(connection)
        return True

    def drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._limits.connections.leave(connection.source)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = self._loop.time()
            for connection in list(self._open):
                if limit := connection.overdue(now):
                    self._limits.refused(limit, connection.source)
                    connection.abort()
