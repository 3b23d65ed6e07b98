"""The two faces of a sidecar: what is decided for a request, once per head and snapshot.

`Side.plan` is called when a head is new on its connection or the snapshot has changed (`epoch`), and hangs
its decision on the head. What it read is what the decision depends on: the head itself, the connection's
proven caller, and the snapshot; nothing else may be read here.
"""

import asyncio
from collections.abc import Callable

from weft.clock import Clock
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer

from ..errors import CallerDenied, MalformedRequest
from ..h2.block import Field, Head
from ..h2.errors import ErrorCode
from ..h2.outbox import Outbox
from ..identity import TlsContexts
from ..policy.authorize import Authorizer
from ..respond import ANSWERS, Answer
from ..snapshot import Inbound
from ..telemetry import Direction, Telemetry
from .downstream import Downstream
from .exchange import Exchange, Plan, answer
from .peer import prove
from .pool import Pool

# More would not be served well by one process; each holds about 40 kB.
CONNECTIONS_MAX = 8192
CALLER_FIELD = b"x-forwarded-client-cert"
_DENIED = ANSWERS[CallerDenied]
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
        self.connections: set[Downstream] = set()
        self.emptied: asyncio.Event | None = None  # set when the last connection has gone
        self.counted = telemetry.connections(self.direction, self.peer_kind)

    def accept(self) -> asyncio.BaseProtocol:
        """A protocol for a connection that is being accepted."""
        return Downstream(self.outbox, self)

    def admit(self, conn: Downstream) -> bool:
        """May this connection be served? Decided before a byte of it is read."""
        if len(self.connections) >= CONNECTIONS_MAX:
            self.counted.refuse("too_many")
            return False
        if not self.recognise(conn):
            return False
        self.connections.add(conn)
        self.counted.opened += 1
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

    async def empty(self) -> None:
        """Waits until no connection is left."""
        while self.connections:
            self.emptied = asyncio.Event()
            await self.emptied.wait()

    def plan(self, conn: Downstream, head: Head) -> None:
        """Decides for this head, on this connection, and hangs the decision on it."""
        plan = self.decide(conn, head)
        if not _is_sound(head) or (head.method == b"CONNECT" and not conn.connects):
            plan.refusal = _MALFORMED
        head.plan = plan
        head.plan_for = self.epoch

    def decide(self, conn: Downstream, head: Head) -> Plan:
        raise NotImplementedError


def _is_sound(head: Head) -> bool:
    """RFC 9113 section 8.3.1: Host may not contradict :authority."""
    authorities = {value.lower() for name, value in head.fields if name in (b":authority", b"host")}
    return len(authorities) <= 1


def _is_grpc(head: Head) -> bool:
    content_type = head.value(b"content-type") or b""
    return content_type[: len(_GRPC)] == _GRPC and content_type[len(_GRPC) : len(_GRPC) + 1] in b"+;"


class Outbound(Side):
    """A loopback listener on which the application reaches one upstream."""

    direction = Direction.OUTBOUND
    peer_kind = "app"

    def __init__(self, outbox: Outbox, pool: Pool, telemetry: Telemetry, source: str) -> None:
        super().__init__(outbox, pool, telemetry)
        self.series = telemetry.series(self.direction, source, pool.name)

    def decide(self, conn: Downstream, head: Head) -> Plan:
        return Plan(head.fields, self.pool, self.series, _is_grpc(head), head.method == b"HEAD")


class InboundSide(Side):
    """The mTLS listener: peers with a proven identity, and the intentions on them."""

    direction = Direction.INBOUND
    peer_kind = "mesh"

    def __init__(
        self,
        outbox: Outbox,
        pool: Pool,
        telemetry: Telemetry,
        *,
        own: SpiffeId,
        tls: Callable[[], TlsContexts],
        clock: Clock,
    ) -> None:
        super().__init__(outbox, pool, telemetry)
        self.own = own
        self._tls = tls
        self._clock = clock
        self._authorizer = Authorizer((), False)

    def recognise(self, conn: Downstream) -> bool:
        assert conn.aio is not None
        try:
            conn.proven = prove(conn.aio, self._tls(), self._clock.wall())
        except UntrustedPeer:
            self.counted.refuse("untrusted")
            return False
        conn.verdict = self._authorizer.decide(conn.proven.identity)
        return True

    def decide(self, conn: Downstream, head: Head) -> Plan:
        caller, verdict = conn.proven, conn.verdict
        assert caller is not None and verdict is not None
        forwarded = f"By={self.own};Hash={caller.fingerprint};URI={caller.identity}".encode()
        fields: tuple[Field, ...] = tuple(field for field in head.fields if field[0] != CALLER_FIELD)
        plan = Plan(
            (*fields, (CALLER_FIELD, forwarded)),
            self.pool,
            self.telemetry.series(self.direction, caller.identity.service, self.own.service),
            _is_grpc(head),
            head.method == b"HEAD",
        )
        if not verdict.allowed:
            plan.refusal = denial(verdict.reason)
        return plan

    def configure(self, inbound: Inbound) -> None:
        """New rules: every open connection is judged again, now."""
        self._authorizer = Authorizer(inbound.rules, inbound.default_allow)
        self.epoch = object()
        for conn in list(self.connections):
            self._judge(conn)

    def _judge(self, conn: Downstream) -> None:
        """Where the caller may call nothing any more, its open streams end and the connection goes."""
        assert conn.proven is not None
        conn.verdict = self._authorizer.decide(conn.proven.identity)
        if conn.verdict.allowed:
            return
        how = denial(conn.verdict.reason)
        for stream in list(conn.streams.values()):
            assert isinstance(stream, Exchange)
            answer(stream, how)
        conn.drain()


def denial(reason: str) -> Answer:
    return _DENIED._replace(grpc_message=f"{_DENIED.grpc_message} ({reason})")
