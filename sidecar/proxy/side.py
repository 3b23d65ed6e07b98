"""What both faces of a sidecar have in common: callers, and what is decided once per head and snapshot.

`Side.plan` is called when a head is new on its connection or the snapshot has changed (`epoch`), and hangs
its decision on the head. What it read is what the decision depends on: the head itself, the connection's
proven caller, and the snapshot; nothing else may be read here.
"""

import asyncio
import contextlib
from collections.abc import Callable

from ..errors import MalformedRequest
from ..h2.block import Head
from ..h2.errors import ErrorCode
from ..h2.outbox import Outbox
from ..h2.settings import HEADER_LIST_BYTES_MAX
from ..respond import ANSWERS
from ..telemetry import Direction, Telemetry
from .detect import Sniffer, Spoken
from .downstream import PROMOTED, Downstream
from .exchange import Plan
from .observe import Observer
from .pool import Pool

# More would not be served well by one process; each holds about 40 kB.
CONNECTIONS_MAX = 8192
LOOK_S = 0.1  # how late it is noticed that a silent connection has gone
_MALFORMED = ANSWERS[MalformedRequest]._replace(reset_code=ErrorCode.PROTOCOL_ERROR)
_GRPC = b"application/grpc"


class Side:
    """One listener's callers and decisions."""

    direction: Direction
    peer_kind: str

    def __init__(self, outbox: Outbox, pool: Pool, telemetry: Telemetry) -> None:
        self.outbox = outbox
        self.pool = pool
        self.telemetry = telemetry
        self.epoch: object = object()  # memos of plans are void when it changes
        self.reads = PROMOTED  # fields that plans depend on: decoded into the head, whatever a caller does
        self.connections: set[Downstream] = set()
        self.connections_max = CONNECTIONS_MAX
        self.header_list_max = HEADER_LIST_BYTES_MAX
        self.authority = b""  # of HTTP/1.0 requests, which need not say it, and of streams of bytes
        self.leaving = False  # the process ends: connections end once what they carry has, new ones too
        self.sniffing: set[Sniffer] = set()  # connections that have not said yet what they speak
        self.emptied: asyncio.Event | None = None  # set when the last connection has gone
        self.counted = telemetry.connections(self.direction, self.peer_kind)
        self.observer: Observer | None = None  # of single requests, while somebody wants to see them

    def accept(self) -> asyncio.BaseProtocol:
        """A protocol for a connection that is being accepted."""
        return Downstream(self.outbox, self)

    def sniff(self, choose: Callable[[Spoken], asyncio.Protocol | None]) -> asyncio.BaseProtocol:
        """A protocol for a connection that must first say what it speaks."""
        return Sniffer(choose, self.sniffing)

    def admit(self, conn: Downstream) -> bool:
        """May this connection be served? Decided before a byte of it is read."""
        if len(self.connections) >= self.connections_max:
            self.counted.refuse("too_many")
            return False
        if not self.recognise(conn):
            return False
        conn.decoder.promote(self.reads)  # as of now: they may have changed during the handshake
        self.connections.add(conn)
        self.counted.opened += 1
        if self.leaving:  # it was accepted, or shook hands, before the listener closed
            asyncio.get_running_loop().call_soon(conn.drain)
        return True

    def recognise(self, conn: Downstream) -> bool:
        """Who is it? On loopback nobody asks."""
        return True

    def lost(self, conn: Downstream) -> None:
        if conn in self.connections:
            self.connections.remove(conn)
            if self.emptied is not None and not self.connections:
                self.emptied.set()
            self.counted.closed += 1

    def read(self, names: frozenset[bytes]) -> None:
        """From now on plans read these fields, besides those that they always do."""
        reads = PROMOTED | names
        if reads != self.reads:
            self.reads = reads
            for conn in self.connections:
                conn.decoder.promote(reads)

    def limit_heads(self, header_list_max: int) -> None:
        """Heads of requests may have so many octets. Peers were told otherwise on the connections that there
        are: those end, once what they carry has."""
        if header_list_max != self.header_list_max:
            self.header_list_max = header_list_max
            self._drain_all()

    def drain(self) -> None:
        """Every connection ends once what it carries has."""
        self.cut_silent()
        self._drain_all()

    def go_away(self) -> None:
        """As `drain`, of a process that ends: who has said nothing yet may still ask something."""
        self.leaving = True
        self._drain_all()

    def _drain_all(self) -> None:
        for conn in list(self.connections):
            conn.drain()

    def cut_silent(self) -> None:
        """Ends connections that have said nothing."""
        for sniffer in list(self.sniffing):
            sniffer.abort()

    async def empty(self) -> None:
        """Waits until no connection is left."""
        while self.connections or self.sniffing:
            self.emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self.sniffing else None):
                    await self.emptied.wait()

    def plan(self, conn: Downstream, head: Head) -> None:
        """Decides for this head, on this connection, and hangs the decision on it."""
        plan = self.decide(conn, head)
        if not _is_sound(head) or (head.method == b"CONNECT" and not conn.connects):
            plan.refusal = _MALFORMED
        head.plan = plan
        head.plan_for = self.epoch

    def observe(self, observer: Observer | None) -> None:
        """From now on it looks at each new request; None: nobody does."""
        self.observer = observer

    def decide(self, conn: Downstream, head: Head) -> Plan:
        raise NotImplementedError


def _is_sound(head: Head) -> bool:
    """RFC 9113 section 8.3.1: Host may not contradict :authority."""
    authorities = {value.lower() for name, value in head.fields if name in (b":authority", b"host")}
    return len(authorities) <= 1


def is_grpc(head: Head) -> bool:
    content_type = head.value(b"content-type") or b""
    return content_type[: len(_GRPC)] == _GRPC and content_type[len(_GRPC) : len(_GRPC) + 1] in b"+;"
