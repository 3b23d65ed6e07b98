"""The face towards peers: who they are, and what the intentions let them do."""

from collections.abc import Callable

from weft.clock import Clock
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer

from ..errors import CallerDenied
from ..h2.block import Field, Head
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
from .side import Side, is_grpc

CALLER_FIELD = b"x-forwarded-client-cert"
_DENIED = ANSWERS[CallerDenied]


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
            is_grpc(head),
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
