"""The application behind this sidecar: what it speaks, declared or found out, and the pools to it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol as Shape
from typing import TypeVar

from ..h2 import frames, settings
from ..h2.block import Head
from ..snapshot import Address, Protocol
from .endpoint import Endpoint, Lane
from .pool import Pool
from .singles import SinglePool
from .tcp import TcpUpstream

# A server of HTTP/1.1 answers the preface of HTTP/2 at once with an error, or closes.
PROBE_S = 1.0
AnyPool = TypeVar("AnyPool", bound=Pool)
_SPEAKS_HTTP2 = (Protocol.HTTP2, Protocol.GRPC)


class MakePool(Shape):
    """Makes a pool to the application."""

    def __call__(self, kind: type[AnyPool], **more: object) -> AnyPool: ...


class Http2Pool(Pool):
    """Says when the application cannot be reached, or is not what it was."""

    on_failed: Callable[[], None] | None = None

    def _connect_failed(self, endpoint: Endpoint, lane: Lane, why: str) -> None:
        super()._connect_failed(endpoint, lane, why)
        if self.on_failed is not None:
            self.on_failed()


class Undecided(SinglePool):
    """Where requests wait until it is known what the application speaks."""

    decided: Callable[[Protocol], Pool]
    _asking = False

    def _connect_more(self, endpoint: Endpoint, lane: Lane) -> None:
        if not self._asking:
            self._asking = True
            self._tasks.spawn(self._ask(endpoint), f"find out what {endpoint.address} speaks")

    async def _ask(self, endpoint: Endpoint) -> None:
        try:
            protocol = await speaks(endpoint.address, self.connect_timeout_s)
        except OSError as error:  # TimeoutError is one
            self._asking = False
            self._connect_failed(endpoint, endpoint, str(error) or type(error).__name__)
        else:
            self._asking = False
            pool = self.decided(protocol)
            for exchange in list(endpoint.pending):
                self._dequeue(exchange, endpoint)
                pool.send(exchange)
        self.outbox.flush()


async def connect(address: Address, timeout_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection beside those of pools. Raises OSError."""
    async with asyncio.timeout(timeout_s):
        if address.path:
            return await asyncio.open_unix_connection(address.path)
        return await asyncio.open_connection(address.host, address.port)


async def speaks(address: Address, connect_timeout_s: float) -> Protocol:
    """Asks with the preface of HTTP/2 (RFC 9113 section 3.3). Raises OSError."""
    reader, writer = await connect(address, connect_timeout_s)
    try:
        writer.write(frames.PREFACE + frames.settings(settings.ours(client=True)))
        async with asyncio.timeout(PROBE_S):
            first = await reader.readexactly(frames.HEADER_BYTES)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return Protocol.HTTP
    finally:
        writer.close()
    _, _, kind, _, sid = frames.HEADER.unpack(first)
    return Protocol.HTTP2 if kind == frames.SETTINGS and sid == 0 else Protocol.HTTP


class App:
    """`changed` is called when requests should be planned anew."""

    def __init__(self, make: MakePool) -> None:
        self.http2 = make(Http2Pool)
        self.http1 = make(SinglePool)
        self.tcp = make(SinglePool, make=TcpUpstream)
        self.undecided = make(Undecided)
        self.undecided.decided = self._decided
        self.http2.on_failed = self.http1.on_failed = self._forget
        self.others: Sequence[Pool] = (self.http1, self.tcp, self.undecided)
        self.changed: Callable[[], None] = lambda: None
        self.declared = Protocol.UNKNOWN
        self.found = Protocol.UNKNOWN
        self._address: Address | None = None

    def configure(self, address: Address, declared: Protocol, connect_timeout_s: float) -> None:
        """From a new snapshot."""
        if address != self._address or declared is not self.declared:
            self.found = Protocol.UNKNOWN
        self._address, self.declared = address, declared
        for pool in (self.http2, *self.others):
            pool.connect_timeout_s = connect_timeout_s
            pool.configure([Endpoint(str(address), address)])

    def pool(self, head: Head, grpc: bool) -> Pool:
        """Where requests of this head go."""
        if head.method == b"CONNECT":
            return self.tcp
        if head.protocol:  # an upgrade: applications know it from HTTP/1.1
            return self.http1
        return self.http2 if grpc else self.http

    @property
    def http(self) -> Pool:
        """Where plain requests go."""
        spoken = self.found if self.declared is Protocol.UNKNOWN else self.declared
        if spoken in _SPEAKS_HTTP2:
            return self.http2
        return self.undecided if spoken is Protocol.UNKNOWN else self.http1

    def _decided(self, protocol: Protocol) -> Pool:
        self.found = protocol
        self.changed()
        return self.http2 if protocol is Protocol.HTTP2 else self.http1

    def _forget(self) -> None:
        """It may be another program when it comes back."""
        if self.found is not Protocol.UNKNOWN:
            self.found = Protocol.UNKNOWN
            self.changed()
